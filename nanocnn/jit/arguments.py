"""The arguments of a kernel call as a block of 64-bit words, for compiled code to read.

An array is its address and its shape, a number is its bits, a tuple is its items one after the
other. What numba has to know besides are the types: for each combination a kernel is compiled once,
with an entry that reads its arguments from such a block. The executor (executor.py) can therefore
call any kernel without knowing it.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

INT64 = ir.IntType(64)
ALIGN = 64  # bytes of a cache line: work memory begins at one
SLACK = 64  # items behind the end of each buffer, for reads of whole vectors


class Types(tuple[Any, ...]):
    """The argument types of a kernel; equal ones are one object, which is quick to look up."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Arguments:
    """What a kernel is called with: numba's `types`, the `block` of words, and what it points to.

    `sizes`: the work memory that the running thread has to give, as (items, dtype). The kernel gets
    it as a tuple of arrays before the other arguments; `memory` is its size in bytes.
    """

    def __init__(self, values: tuple[Any, ...], sizes: Sequence[tuple[int, Any]] = ()) -> None:
        self.values = contiguous(values)
        self.contiguous = _same(self.values, values)
        self.buffers, self.memory = len(sizes), 0
        words: list[int] = []
        keys: list[Any] = []
        for items, dtype in sizes:
            words += self.memory, items + SLACK
            self.memory += -(-(items + SLACK) * np.dtype(dtype).itemsize // ALIGN) * ALIGN
        if sizes:
            keys.append(tuple([(np.dtype(dtype), 1) for _, dtype in sizes]))
        for value in self.values:
            keys.append(_add(value, words))
        self.types = _types(tuple(keys))
        self.block: NDArray[np.int64] = np.array(words or [0], np.int64)
        self.address = self.block.ctypes.data

    def captured(self, buffers: list[Any]) -> "Arguments":
        """These arguments, but they keep no array alive that is a part of one of `buffers`.

        So those who share out the buffers see which are in use, and can use the others again.
        """
        known = set(map(id, buffers))
        self.values = tuple(v for v in _arrays_of(self.values) if id(root(v)) not in known)
        return self


def contiguous(value: Any) -> Any:
    """`value` with all its arrays C-contiguous: kernels compute addresses from the shape alone."""
    if isinstance(value, np.ndarray):
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    if isinstance(value, tuple):
        return tuple(map(contiguous, value))
    return value


def _same(a: Any, b: Any) -> bool:
    return all(map(_same, a, b)) if isinstance(a, tuple) else a is b


def root(array: NDArray[Any]) -> NDArray[Any]:
    """The array whose memory `array` is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _arrays_of(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _arrays_of(each)


def _add(value: Any, words: list[int]) -> Any:
    """Append the words of `value`; returns what its type is found by: see `_type`."""
    if isinstance(value, np.ndarray):
        words.append(value.__array_interface__["data"][0])
        words.extend(value.shape)
        return value.dtype, value.ndim
    if isinstance(value, tuple):
        return tuple([_add(each, words) for each in value])
    kind = type(value)
    if kind is int or kind is bool:
        words.append(value)
    elif kind is float:
        words += struct.unpack("q", struct.pack("d", value))
    elif isinstance(value, np.generic):
        words += np.frombuffer(value.tobytes().ljust(8, b"\0"), np.int64).tolist()
    else:
        raise TypeError(f"kernel argument {value!r:.80}, expected an array, a number or a tuple")
    return kind


@lru_cache(maxsize=4096)
def _types(keys: tuple[Any, ...]) -> "Types":
    return Types(map(_type, keys))


def _type(key: Any) -> Any:
    """numba's type of a C-contiguous array (dtype, dimensions), a number, or a tuple of them."""
    if isinstance(key, type):
        return numba.from_dtype(np.dtype(key))
    if isinstance(key[0], np.dtype) and isinstance(key[1], int):
        return types.Array(numba.from_dtype(key[0]), key[1], "C")
    return types.Tuple([_type(each) for each in key])


# --- In compiled code ---


def reader(kinds: tuple[Any, ...], buffers: int) -> Any:
    """The intrinsic (block, memory) -> the tuple of arguments of these types.

    `block` and `memory` are addresses: of the words, and of the running thread's work memory.
    """

    @intrinsic
    def arguments(typingctx, block, memory):
        result = types.Tuple(kinds)

        def emit(context, builder, sig, args):
            words = _words(builder, builder.inttoptr(args[0], INT64.as_pointer()))
            values = []
            for i, kind in enumerate(kinds):
                base = args[1] if buffers and i == 0 else None
                values.append(_value(context, builder, kind, words, base))
            return context.make_tuple(builder, sig.return_type, values)

        return result(types.int64, types.int64), emit

    return arguments


def _words(builder: Any, block: Any) -> Iterator[Any]:
    """The words of a block, one after the other, as LLVM values."""
    i = 0
    while True:
        yield builder.load(builder.gep(block, [INT64(i)]))
        i += 1


def _value(context: Any, builder: Any, kind: Any, words: Iterator[Any], base: Any = None) -> Any:
    """An argument of the type `kind`; with `base`, the addresses of arrays are relative to it."""
    if isinstance(kind, types.BaseTuple):
        values = [_value(context, builder, each, words, base) for each in kind]
        return context.make_tuple(builder, kind, values)
    word = next(words)
    if isinstance(kind, types.Array):
        address = word if base is None else builder.add(base, word)
        shape = [next(words) for _ in range(kind.ndim)]
        return _array_value(context, builder, kind, address, shape)
    if isinstance(kind, types.Boolean):
        return builder.trunc(word, ir.IntType(1))
    narrow = word if kind.bitwidth == 64 else builder.trunc(word, ir.IntType(kind.bitwidth))
    return (
        narrow
        if isinstance(kind, types.Integer)
        else builder.bitcast(narrow, context.get_value_type(kind))
    )


def _array_value(context: Any, builder: Any, kind: Any, address: Any, shape: list[Any]) -> Any:
    """A C-contiguous array at `address`, which numba does not own."""
    array = context.make_array(kind)(context, builder)
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides, step = [], INT64(size)
    for n in reversed(shape):
        strides.insert(0, step)
        step = builder.mul(step, n)
    array.data = builder.inttoptr(address, context.get_data_type(kind.dtype).as_pointer())
    array.shape = cgutils.pack_array(builder, shape, INT64)
    array.strides = cgutils.pack_array(builder, strides, INT64)
    array.itemsize = INT64(size)
    array.nitems = builder.sdiv(step, INT64(size))
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()
