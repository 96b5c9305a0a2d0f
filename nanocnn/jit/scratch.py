"""Work memory for kernels: allocated once and reused by later calls.

Each thread has its own buffers, by name; they only grow. A caller's buffers (packed weights,
partial sums) are read and written by the threads that help it until `run` returns, and by no other
thread, so any number of Python threads may use the kernels at once.
"""

import threading
from collections.abc import Callable, Iterable
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import pool
from .capture import is_capturing

Array = NDArray[Any]

SLACK = 64  # items behind the end of each buffer, for reads of whole vectors
LINE = 64  # bytes of a cache line; buffers begin at one, so that few vectors lie across two
INTEGER = ("where", "counts")  # the names of buffers of integers
FREE = 3  # references to a buffer that is not in use: the list's, `found` and getrefcount's own

_mine = threading.local()


def scratch(name: str, size: int, dtype: Any) -> Array:
    """A buffer of that name: `size` items and SLACK, uninitialised; the caller's while it is held.

    It is used again when nothing refers to it any more, nor to a part of it. So code that runs
    between two kernels (a signal handler or a finalizer that predicts) gets another one. A pass
    that is captured gets new ones, which its program keeps.
    """
    if is_capturing():
        return _new_buffer(size, dtype)
    buffers = _mine.__dict__.setdefault(name + np.dtype(dtype).char, [])
    for i in range(len(buffers)):
        found: Array = buffers[i]  # first held, then counted: so only one can find it free
        if getrefcount(buffers[i]) == FREE:
            if found.size < size + SLACK:
                found = buffers[i] = _new_buffer(size, dtype)
            return found
    buffers.append(_new_buffer(size, dtype))
    return buffers[-1]


def _new_buffer(size: int, dtype: Any) -> Array:
    raw = np.zeros((size + SLACK) * np.dtype(dtype).itemsize + LINE, np.uint8)
    first = -raw.ctypes.data % LINE
    # Through a memoryview, a slice of the buffer refers to the buffer, whose references are counted
    return np.frombuffer(raw.data[first : raw.size - LINE + first], dtype)


class _Address:
    """An array's `__array_interface__`, with its data marked as writable."""

    def __init__(self, x: Array) -> None:
        self.__array_interface__ = {**x.__array_interface__, "data": (x.ctypes.data, False)}


def plain(x: Array) -> Array:
    """`x` as all kernels are compiled for it: contiguous, and of a writable type.

    numba would compile each kernel once more for each argument that is read-only. Kernels do not
    write to their inputs, so they get a writable view.
    """
    x = np.ascontiguousarray(x)
    return x if x.flags.writeable else np.asarray(_Address(x))


def prepared(argument: Any) -> Any:
    """An argument of a kernel in the form that is fastest to pass.

    Arrays are `plain`, also those of a named tuple, which becomes a plain tuple: numba takes four
    times as long to find out the type of a named one, at every call. The kernel makes it a named
    one again, by `Window(*window)`.
    """
    if isinstance(argument, np.ndarray):
        return plain(argument)
    if isinstance(argument, tuple):
        return tuple([plain(each) if isinstance(each, np.ndarray) else each for each in argument])
    return argument


def _float_type(args: Iterable[Any]) -> Any:
    """The dtype of the first floating-point array in `args` and their tuples."""
    for arg in args:
        if isinstance(arg, np.ndarray) and arg.dtype.kind == "f":
            return arg.dtype
        if isinstance(arg, tuple) and (found := _float_type(arg)) is not None:
            return found
    return None


class Buffered:
    """A kernel that gets a tuple of the running thread's buffers, of `sizes`, before `args`."""

    def __init__(self, kernel: Callable[..., None], sizes: dict[str, int], *args: Any) -> None:
        dtype = _float_type(args)
        self.kernel = kernel
        self.ready = [prepared(a) for a in args]
        self.wanted = [
            (name, n, np.intp if name in INTEGER else dtype) for name, n in sizes.items()
        ]

    def __call__(self, part: int, parts: int) -> None:
        self.kernel(part, parts, *self.arguments())

    def arguments(self) -> list[Any]:
        """What the kernel is called with, after the part and the number of parts."""
        return [tuple([scratch(*what) for what in self.wanted]), *self.ready]


def run(kernel: Callable[..., None], parts: int, sizes: dict[str, int], *args: Any) -> None:
    """`pool.run` of a `Buffered` kernel."""
    pool.run(Buffered(kernel, sizes, *args), parts)
