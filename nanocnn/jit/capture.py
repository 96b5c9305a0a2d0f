"""Programs: the kernel calls of a pass, captured once and replayed, as CUDA graphs are.

While a thread captures, `pool.run` notes its calls here. A program knows functions and their
arguments, arrays among them; when it is replayed the same arrays are read and written again.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, TypeVar

from numpy.typing import NDArray

Call = tuple[Callable[..., object], tuple[Any, ...]]  # a function and its arguments
Function = TypeVar("Function", bound=Callable[..., Any])


class Program:
    """The calls, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def replay(self) -> None:
        """Make the calls again."""
        for function, args in self.calls:
            function(*args)


class _Capture(threading.local):
    program: Program | None = None  # what this thread captures now
    frame: FrameType | None = None  # where `capture` was entered
    package: str | None = None  # only calls by its modules belong to the program
    dry = aborted = False


current = _Capture()


@contextmanager
def capture(package: str | None = None, dry: bool = False) -> Iterator[Program]:
    """Capture the calls of `run` by this thread; the program is empty after an `abort_capture`.

    A signal handler or finalizer may run kernels of its own meanwhile. With `package`, a call is
    captured only if all frames between here and `run` belong to modules of that package and none
    is of a `never_captured` function. With `dry` all calls are captured and none is executed.
    """
    program = Program()
    state = {"program": program, "frame": sys._getframe(2), "package": package, "dry": dry,
             "aborted": False}  # fmt: skip
    before = {name: getattr(current, name) for name in state}
    vars(current).update(state)  # all at once, wherever an interruption comes
    try:
        yield program
    finally:
        if current.aborted:
            program.calls.clear()
        vars(current).update(before)


def is_capturing() -> bool:
    """Whether this thread captures, so that the arrays it uses now are used again at a replay."""
    return current.program is not None


def keeps_weights() -> bool:
    """Whether a pass is captured whose weights seldom change and whose buffers are its own."""
    return False


def abort_capture() -> None:
    """Called by code that must not be replayed: it computes without `run`, or reads results."""
    if current.program is not None and _belongs(sys._getframe(1)):
        current.aborted = not current.dry


def note(function: Callable[..., object], *args: Any) -> bool:
    """Add a call to the program if it belongs there; returns whether to execute it now."""
    program = current.program
    if program is not None and _belongs(sys._getframe(2)):
        program.calls.append((function, args))
    return not current.dry


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
            current.program, current.dry = None, False
            return False
        if package is not None and belongs:
            name = frame.f_globals.get("__name__", "")
            belongs = name.startswith(f"{package}.") and frame.f_code not in _never
        frame = frame.f_back
    return belongs


def when(flags: NDArray[Any], function: Callable[..., object], *args: Any) -> None:
    """Call function(*args) if any of `flags` is set.

    For a second way to compute something, taken when kernels before it have found that the first
    one does not apply.
    """
    abort_capture()  # it reads results
    if flags.any():
        function(*args)


def keep(*objects: Any) -> None:
    """Keep `objects` alive as long as the program that is captured, if any: its kernels use them.

    For arrays that a kernel reaches by their addresses alone.
    """
