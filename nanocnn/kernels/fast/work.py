"""Work memory for kernels: kept, not allocated anew in each step.

Each thread has its own buffers, by name; a buffer only ever grows. A caller's buffers (packed
weights, partial sums) are read and written by the threads that help it until `threads.run` returns,
and by nobody else, so any number of Python threads may use the kernels at once.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import threads
from ...arrays import Array

SLACK = 64  # items behind the end of each buffer, for reads of whole vectors
LINE = 64  # bytes of a cache line: where buffers begin, so that few vectors lie across two
WHOLE = ("where", "counts")  # the names of buffers that hold whole numbers

_mine = threading.local()


def scratch(name: str, size: int, dtype: Any) -> Array:
    """This thread's buffer of that name: `size` items and SLACK; what they hold is left over."""
    key = name + np.dtype(dtype).char
    found: Array | None = _mine.__dict__.get(key)
    if found is None or found.size < size + SLACK:
        raw = np.zeros((size + SLACK) * np.dtype(dtype).itemsize + LINE, np.uint8)
        first = -raw.ctypes.data % LINE
        found = raw[first : raw.size - LINE + first].view(dtype)
        _mine.__dict__[key] = found
    return found


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


class Buffered:
    """A kernel that is given a buffer of the working thread for each of `sizes` before the args."""

    def __init__(self, kernel: Callable[..., None], sizes: dict[str, int], *args: Any) -> None:
        dtype = next(a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f")
        self.kernel = kernel
        self.ready = [plain(a) if isinstance(a, np.ndarray) else a for a in args]
        self.wanted = [(name, n, np.intp if name in WHOLE else dtype) for name, n in sizes.items()]

    def __call__(self, part: int, parts: int) -> None:
        self.kernel(part, parts, *self.arguments())

    def arguments(self) -> list[Any]:
        """What the kernel is called with, after the part and the number of parts."""
        return [*[scratch(*what) for what in self.wanted], *self.ready]


def run(kernel: Callable[..., None], parts: int, sizes: dict[str, int], *args: Any) -> None:
    """`threads.run` of a `Buffered` kernel."""
    threads.run(Buffered(kernel, sizes, *args), parts)
