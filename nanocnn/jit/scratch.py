"""Work memory for kernels: allocated once and reused by later calls.

`run` gives each running thread buffers of its own, which its parts use one after the other.
`scratch` gives the caller buffers (packed weights, partial sums) that are read and written by the
threads that help it until `run` returns, and by no other thread, so any number of Python threads
may use the kernels at once.
"""

import threading
from collections.abc import Iterable
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import pool
from .arguments import ALIGN, SLACK, Arguments
from .capture import capturing, keeps_weights
from .compile import Kernel

Array = NDArray[Any]

INTEGER = ("where", "counts")  # the names of buffers of integers
FREE = 3  # references to a buffer that is not in use: the list's, `found` and getrefcount's own

_mine = threading.local()
_zeros: dict[Any, Array] = {}


def scratch(name: str, size: int, dtype: Any) -> Array:
    """A buffer of that name: `size` items and SLACK, uninitialised; the caller's while it is held.

    It is used again when nothing refers to it any more, nor to a part of it. So code that runs
    between two kernels (a signal handler or a finalizer that predicts) gets another one. What is
    captured gets buffers of its program's own, shared by its kernels in the same way.
    """
    dtype = np.dtype(dtype)
    if (calls := capturing()) is not None:
        # one that is too small stays as it is: kernels that were captured before use it
        found = _free(calls.buffers, size + SLACK, dtype)
        if found is None:
            found = _new_buffer(size, dtype)
            calls.buffers.append(found)
        return found
    buffers = _mine.__dict__.setdefault(name + dtype.char, [])
    found = _free(buffers, 0, dtype)
    if found is None or found.size < size + SLACK:
        buffers[:] = [each for each in buffers if each is not found]
        found = _new_buffer(size, dtype)
        buffers.append(found)
    return found


def lasting(name: str, size: int, dtype: Any) -> Array:
    """`scratch`; where weights are kept (`keeps_weights`), zeros that no other kernel writes to.

    For what is computed from weights alone: it is there in the next replay.
    """
    return _new_buffer(size, np.dtype(dtype)) if keeps_weights() else scratch(name, size, dtype)


def zeros(size: int, dtype: Any) -> Array:
    """At least `size` zeros, which nobody may write to."""
    dtype = np.dtype(dtype)
    if dtype not in _zeros or _zeros[dtype].size < size:
        _zeros[dtype] = _new_buffer(max(size, 1024), dtype)
    return _zeros[dtype]


def _free(buffers: list[Array], size: int, dtype: Any) -> Array | None:
    """One of `buffers` with room for `size` items that is not in use."""
    for i in range(len(buffers)):
        found: Array = buffers[i]  # first held, then counted: so only one can find it free
        if getrefcount(buffers[i]) == FREE and found.size >= size and found.dtype == dtype:
            return found
    return None


def _new_buffer(size: int, dtype: Any) -> Array:
    raw = np.zeros((size + SLACK) * dtype.itemsize + ALIGN, np.uint8)
    first = -raw.ctypes.data % ALIGN
    # Through a memoryview, a slice of the buffer refers to the buffer, whose references are counted
    return np.frombuffer(raw.data[first : raw.size - ALIGN + first], dtype)


def _float_type(args: Iterable[Any]) -> Any:
    """The dtype of the first floating-point array in `args` and their tuples."""
    for arg in args:
        if isinstance(arg, np.ndarray) and arg.dtype.kind == "f":
            return arg.dtype
        if isinstance(arg, tuple) and (found := _float_type(arg)) is not None:
            return found
    return None


def run(kernel: Kernel, parts: int, sizes: dict[str, int], *args: Any) -> None:
    """`pool.run` of a kernel that gets a tuple of the running thread's buffers before `args`."""
    dtype = _float_type(args)
    wanted = [(n, np.intp if name in INTEGER else dtype) for name, n in sizes.items()]
    pool.start(kernel, parts, Arguments(args, wanted), depth=2)
