"""Work memory for kernels: kept, not allocated anew in each step.

Each thread has its own buffers, by name; they only ever grow. A caller's buffers (packed weights,
partial sums) are read and written by the threads that help it until `run` returns, and by
nobody else, so any number of Python threads may use the kernels at once.
"""

import threading
from collections.abc import Callable, Iterable
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import pool
from .program import is_capturing

Array = NDArray[Any]

SLACK = 64  # items behind the end of each buffer, for reads of whole vectors
LINE = 64  # bytes of a cache line: where buffers begin, so that few vectors lie across two
WHOLE = ("where", "counts")  # the names of buffers that hold whole numbers

FREE = 3  # references to a buffer that nobody uses: the list's, and two of who asks

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
        found: Array = buffers[i]  # first held, then counted: so no two can find it free
        if getrefcount(buffers[i]) == FREE:
            if found.size < size + SLACK:
                found = buffers[i] = _new_buffer(size, dtype)
            return found
    buffers.append(_new_buffer(size, dtype))
    return buffers[-1]


def _new_buffer(size: int, dtype: Any) -> Array:
    raw = np.zeros((size + SLACK) * np.dtype(dtype).itemsize + LINE, np.uint8)
    first = -raw.ctypes.data % LINE
    # Behind a memoryview NumPy does not look further: parts of this array hold it, not `raw`
    return np.frombuffer(raw.data[first : raw.size - LINE + first], dtype)


class _Address:
    """Where an array's data lies, in NumPy's terms, and that it may be written to."""

    def __init__(self, x: Array) -> None:
        self.__array_interface__ = {**x.__array_interface__, "data": (x.ctypes.data, False)}


def plain(x: Array) -> Array:
    """`x` in the form all kernels are compiled for: contiguous, and not typed as read-only.

    numba would compile each kernel anew for each argument that is read-only. Kernels don't write to
    their inputs, so a second view will do.
    """
    x = np.ascontiguousarray(x)
    return x if x.flags.writeable else np.asarray(_Address(x))


def prepared(argument: Any) -> Any:
    """An argument of a kernel in the form that costs least to hand over.

    Arrays are `plain`, also those of a named tuple, which becomes a plain one: finding out the type
    of a named tuple takes numba four times as long, at every call. The kernel gives it its name
    again, by `Window(*window)`.
    """
    if isinstance(argument, np.ndarray):
        return plain(argument)
    if isinstance(argument, tuple):
        return tuple([plain(each) if isinstance(each, np.ndarray) else each for each in argument])
    return argument


def _float_type(args: Iterable[Any]) -> Any:
    """The dtype of the first array of floats among `args` and in their tuples."""
    for arg in args:
        if isinstance(arg, np.ndarray) and arg.dtype.kind == "f":
            return arg.dtype
        if isinstance(arg, tuple) and (found := _float_type(arg)) is not None:
            return found
    return None


class Buffered:
    """A kernel that is given a tuple of the working thread's buffers, of `sizes`, before `args`."""

    def __init__(self, kernel: Callable[..., None], sizes: dict[str, int], *args: Any) -> None:
        dtype = _float_type(args)
        self.kernel = kernel
        self.ready = [prepared(a) for a in args]
        self.wanted = [(name, n, np.intp if name in WHOLE else dtype) for name, n in sizes.items()]

    def __call__(self, part: int, parts: int) -> None:
        self.kernel(part, parts, *self.arguments())

    def arguments(self) -> list[Any]:
        """What the kernel is called with, after the part and the number of parts."""
        return [tuple([scratch(*what) for what in self.wanted]), *self.ready]


def run(kernel: Callable[..., None], parts: int, sizes: dict[str, int], *args: Any) -> None:
    """`pool.run` of a `Buffered` kernel."""
    pool.run(Buffered(kernel, sizes, *args), parts)
