"""The arguments of a kernel call as a block of 64-bit words, for compiled code to read.

An array is its address and its shape, a number is its bits, a tuple is its items one after the
other. What numba has to know besides are the types: for each combination a kernel is compiled once,
with an entry that reads its arguments from such a block. The executor (executor.py) can therefore
call any kernel without knowing it.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from ctypes import c_void_p
from functools import cache
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
NUMBERS = "biuf"  # kinds of NumPy scalars: booleans, integers, unsigned ones, floating point


class Types(tuple[Any, ...]):
    """The argument types of a kernel; equal ones are one object, which is quick to look up."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> tuple[Any, ...]:
        return _interned, (tuple(self),)


@cache
def _interned(kinds: tuple[Any, ...]) -> Types:
    return Types(kinds)


class Arguments:
    """What a kernel is called with: numba's `types`, the block of words at `address`, and `arrays`.

    `sizes`: the work memory that the running thread has to give, as (items, dtype). The kernel gets
    it as a tuple of arrays before the other arguments; `memory` is its size in bytes.
    `is_copied`: an array was not C-contiguous, so the kernel gets a copy of it: kernels compute
    addresses from the shape alone.
    """

    def __init__(self, values: Iterable[Any], sizes: Sequence[tuple[int, Any]] = ()) -> None:
        self.arrays: list[NDArray[Any]] = []  # kept alive: the block has only their addresses
        self.is_copied = False
        self.buffers, self.memory = len(sizes), 0
        words: list[int] = []
        keys: list[Any] = []
        for items, dtype in sizes:
            words += self.memory, items + SLACK
            self.memory += -(-(items + SLACK) * np.dtype(dtype).itemsize // ALIGN) * ALIGN
        if sizes:
            keys.append(tuple([(np.dtype(dtype), 1) for _, dtype in sizes]))
        for value in values:
            keys.append(self._add(value, words))
        self.types = _types(tuple(keys))
        self._block = array("q", words)
        self.address = self._block.buffer_info()[0]

    def _add(self, value: Any, words: list[int]) -> Any:
        """Append the words of `value`; returns what its type is found by: see `_type`."""
        if isinstance(value, np.ndarray):
            if not value.flags.c_contiguous:
                value, self.is_copied = np.ascontiguousarray(value), True
            self.arrays.append(value)
            words.append(address_of(value))
            words.extend(value.shape)
            return value.dtype, value.ndim
        if isinstance(value, tuple):
            return tuple([self._add(each, words) for each in value])
        kind = type(value)
        if kind is int or kind is bool:
            words.append(value)
        elif kind is float:
            words += struct.unpack("q", struct.pack("d", value))
        elif isinstance(value, np.generic) and value.dtype.kind in NUMBERS:
            words += struct.unpack("q", value.tobytes().ljust(8, b"\0"))
        else:
            raise TypeError(
                f"kernel argument {value!r:.80}, expected an array, a number or a tuple"
            )
        return kind

    def release(self, buffers: Iterable[Any]) -> None:
        """Keep no array alive any more that is a part of one of `buffers`.

        So those who share out the buffers see which are in use, and can use the others again.
        """
        known = set(map(id, buffers))
        self.arrays = [each for each in self.arrays if id(_root(each)) not in known]


def _root(view: NDArray[Any]) -> NDArray[Any]:
    """The array whose memory `view` is a part of."""
    while isinstance(view.base, np.ndarray):
        view = view.base
    return view


def _address(values: NDArray[Any]) -> int:
    return int(values.__array_interface__["data"][0])


def _address_in_object(values: NDArray[Any]) -> int:
    """The first field of an array in NumPy's C interface; 20 times as fast as `_address`."""
    return c_void_p.from_address(id(values) + object.__basicsize__).value or 0


_sample = np.zeros(2, np.int8)[1:]
address_of = _address_in_object if _address_in_object(_sample) == _address(_sample) else _address


@cache
def _types(keys: tuple[Any, ...]) -> Types:
    return _interned(tuple(map(_type, keys)))


def _type(key: Any) -> Any:
    """numba's type of a C-contiguous array (dtype, dimensions), a number, or a tuple of them."""
    if isinstance(key, type):
        return numba.from_dtype(np.dtype(np.int64 if key is int else key))
    if key and isinstance(key[0], np.dtype):
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
