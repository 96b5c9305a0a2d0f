"""Capture: the kernel calls of a pass are noted, to be replayed as a program (program.py).

While a thread captures, the calls of `pool.run` are noted and not executed. Code that is captured
therefore decides by shapes and constants alone; whatever differs from replay to replay is read by
kernels from memory, or set by a Python function that is part of the program (`each_time`, `when`).
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])


class KernelCall(NamedTuple):
    """`kernel` in this many parts; `arguments` are an `arguments.Arguments`."""

    kernel: Any
    parts: int
    arguments: Any


class PythonCall(NamedTuple):
    """`function(*args)`; only if any of `flags` (of 8 bytes each) is set, unless that is None."""

    function: Callable[..., object]
    args: tuple[Any, ...]
    flags: NDArray[Any] | None


class Calls:
    """What was captured, in order; empty after an `abort_capture`."""

    def __init__(self, buffers: list[Any]) -> None:
        self.calls: list[KernelCall | PythonCall] = []
        self.buffers = buffers  # work memory, used again by later calls
        self.kept: list[Any] = []
        self.aborted = False


class _Capture(threading.local):
    calls: Calls | None = None  # what this thread captures now
    frame: FrameType | None = None  # where `capture` was entered
    package: str | None = None  # only calls by its modules are captured
    keeps = False


current = _Capture()


@contextmanager
def capture(
    package: str | None = None, keeps: bool = False, buffers: list[Any] | None = None
) -> Iterator[Calls]:
    """Capture the calls of `run` by this thread.

    A signal handler or finalizer may run kernels of its own meanwhile. With `package`, a call is
    captured only if all frames between here and `run` belong to modules of that package and none
    is of a `never_captured` function; others are executed. `keeps`: see `keeps_weights`. `buffers`:
    a list of work memory that is shared by programs of which only one runs at a time.
    """
    calls = Calls([] if buffers is None else buffers)
    state = {"calls": calls, "frame": sys._getframe(2), "package": package, "keeps": keeps}
    before = {name: getattr(current, name) for name in state}
    vars(current).update(state)  # all at once, wherever an interruption comes
    try:
        yield calls
    finally:
        if calls.aborted:
            calls.calls.clear()
        vars(current).update(before)


def capturing(depth: int = 1) -> Calls | None:
    """What the code `depth` frames above this one's caller belongs to, if it is captured."""
    if current.calls is None or not _belongs(sys._getframe(depth + 1)):
        return None
    return current.calls


def abort_capture() -> None:
    """Called by code that must not be replayed: it computes without `run`, or reads results."""
    if (calls := capturing()) is not None:
        calls.aborted = True


def each_time(function: Callable[..., object], *args: Any) -> None:
    """Call function(*args) now, or, if this is captured, at this place of every replay."""
    if (calls := capturing()) is None:
        function(*args)
    else:
        calls.calls.append(PythonCall(function, args, None))


def when(flags: NDArray[Any], function: Callable[..., object], *args: Any) -> None:
    """Call function(*args) if any of `flags`, items of 8 bytes, is not 0; as `each_time`.

    For a second way to compute something, taken when kernels before it have found that the first
    one does not apply.
    """
    if flags.itemsize != 8 or not flags.flags.c_contiguous:
        raise ValueError(f"flags: {flags.dtype}, expected contiguous items of 8 bytes")
    if (calls := capturing()) is not None:
        calls.calls.append(PythonCall(function, args, flags))
    elif flags.any():
        function(*args)


def keep(*objects: Any) -> None:
    """Keep `objects` alive as long as the program that is captured, if any: its kernels use them.

    For arrays that a kernel reaches by their addresses alone.
    """
    if (calls := capturing()) is not None:
        calls.kept.extend(objects)


def keeps_weights() -> bool:
    """Whether a program is captured that leaves weights as they are, so that they rarely change."""
    return capturing() is not None and current.keeps


_never: set[CodeType] = set()


def never_captured(function: Function) -> Function:
    """Decorator: calls made by `function` are never captured.

    For entry points that a signal handler may call while its thread captures.
    """
    _never.add(function.__code__)
    return function


def _belongs(frame: FrameType | None) -> bool:
    """Whether what runs in this frame is part of what is captured."""
    package, belongs = current.package, True
    while frame is not current.frame:
        if frame is None:  # left behind: the capture was interrupted on its way out
            current.calls = None
            return False
        if package is not None and belongs:
            name = frame.f_globals.get("__name__", "")
            belongs = name.startswith(f"{package}.") and frame.f_code not in _never
        frame = frame.f_back
    return belongs
