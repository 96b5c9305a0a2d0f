"""Writing down which kernels a pass calls, to make the same calls again."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ROOT = __name__.partition(".")[0]
MODELS = {f"{ROOT}.models.{name}" for name in ("evaluator", "trainer", "sequential")}
Call = tuple[Callable[..., object], int, tuple[Any, ...]]


class _Recorder(threading.local):
    calls: list[Call] | None = None
    frame: FrameType | None = None  # that records
    dry = void = False


recorder = _Recorder()


@contextmanager
def capture(dry: bool = False) -> Iterator[list[Call]]:
    """The calls of `run` that this thread makes inside, as (kernel, parts, args).

    None of them if there was something that is not right to repeat as it was (`abort_capture`).
    With `dry` they are only noted, all of them, and nothing is run.
    """
    calls: list[Call] = []
    before = {name: getattr(recorder, name) for name in ("calls", "frame", "dry", "void")}
    recorder.calls, recorder.frame, recorder.dry, recorder.void = (
        calls,
        sys._getframe(2),
        dry,
        False,
    )
    try:
        yield calls
    finally:
        if recorder.void:
            calls.clear()
        vars(recorder).update(before)


def is_capturing() -> bool:
    """Whether what this thread does now is written down, arrays included, to be done again."""
    return recorder.calls is not None


def abort_capture() -> None:
    """Said by code between kernels that must run anew each time: it looks at numbers, say."""
    if is_capturing() and _belongs(sys._getframe(1)):
        recorder.void = not recorder.dry


def note(call: Call) -> bool:
    """Write a call down if it belongs to what is recorded; whether it is to be made now."""
    if _belongs(sys._getframe(2)):
        assert recorder.calls is not None
        recorder.calls.append(call)
    return not recorder.dry


def _belongs(frame: FrameType | None) -> bool:
    """Whether what runs here is part of what is recorded.

    A pass that this package records is its own code, down from the plan. What comes from elsewhere
    while it lasts, or through a model's public methods, is a signal handler or a finalizer that
    runs kernels of its own.
    """
    between = set()
    while frame is not None and frame is not recorder.frame:
        between.add(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    if frame is None:  # left over: the recording was interrupted on its way out
        recorder.calls, recorder.dry = None, False
        return False
    if recorder.dry or not _ours(frame.f_globals["__name__"]):
        return True
    return between.isdisjoint(MODELS) and all(map(_ours, between))


def _ours(module: str) -> bool:
    return module.startswith(f"{ROOT}.")
