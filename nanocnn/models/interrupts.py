"""Ctrl-C and SIGTERM in a training: the step in progress is completed, no lock stays locked."""

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any

PATIENCE = 0.5  # seconds: a step takes milliseconds, but the first one may compile its kernels


class Terminated(SystemExit):
    """SIGTERM as an exception; the exit code is 143 = 128 + 15, as is usual in shells."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


# The signals that are deferred: the handler that each has unless the program sets one, and the
# exception that is raised in the end.
HELD: dict[signal.Signals, tuple[Any, type[BaseException]]] = {
    signal.SIGINT: (signal.default_int_handler, KeyboardInterrupt),
    signal.SIGTERM: (signal.SIG_DFL, Terminated),
}


class Pressed(list[signal.Signals]):
    """The signals that have arrived, in order."""

    @property
    def first(self) -> int:
        """The number of the first one, or 0."""
        return self[0] if self else 0

    def check(self, number: int | None = None) -> None:
        """Raise the exception of the first one, or of signal `number`, if there is one."""
        if number := self.first if number is None else number:
            raise HELD[signal.Signals(number)][1]


@contextmanager
def deferred_interrupts() -> Iterator[Pressed]:
    """Defer Ctrl-C and SIGTERM until the step in progress is complete, or for `PATIENCE` seconds.

    Yields what has arrived. `check` raises KeyboardInterrupt or `Terminated` for it; the end of the
    context does so too. A second signal is raised at once. Does nothing outside the main thread,
    nor for a signal for which the program has set a handler.
    """
    pressed = Pressed()
    held = [number for number, (usual, _) in HELD.items() if signal.getsignal(number) is usual]
    if threading.current_thread() is not threading.main_thread() or not held:
        yield pressed
        return
    over = False
    events: SimpleQueue[signal.Signals | None] = SimpleQueue()  # may be used in a signal handler
    ended = threading.Event()

    def handler(number: int, frame: Any) -> None:
        pressed.append(signal.Signals(number))
        events.put(pressed[-1])
        if len(pressed) > 1 and not over:
            pressed.check()

    def press_again() -> None:
        if (number := events.get()) and not ended.wait(PATIENCE):
            _thread.interrupt_main(number)

    watch = threading.Thread(target=press_again, name="nanocnn-interrupt", daemon=True)
    try:
        for number in held:
            signal.signal(number, handler)
        with suppress(RuntimeError):  # no more threads can be started
            watch.start()
        yield pressed
    except (KeyboardInterrupt, Terminated):
        pressed.clear()
        raise
    finally:
        over = True
        ended.set()
        events.put(None)
        if watch.ident is not None:
            watch.join()
        for number in reversed(held):  # SIGINT last: from then on Ctrl-C ends this at once
            signal.signal(number, HELD[number][0])
        pressed.check()


class FrameLock:
    """A lock that is held by a running function call and is free when the call is over.

    An ordinary lock stays locked forever if an interrupt arrives between acquiring it and the `try`
    that follows, or if the process forks while another thread holds it. Here a claim names a frame,
    and counts only while that frame is on the stack of its thread.
    """

    def __init__(self) -> None:
        self._claims: list[tuple[int, FrameType]] = []

    def acquire(self, frame: FrameType) -> int | None:
        """Acquire it for a frame of this thread; returns None, or the id of the thread that has it.

        Of several claims made at once, the first in the list counts.
        """
        mine = threading.get_ident(), frame
        self._claims.append(mine)
        for claim in list(self._claims):
            if claim is mine:
                break
            if _running(*claim):
                self._claims.remove(mine)
                return claim[0]
            with suppress(ValueError):
                self._claims.remove(claim)
        return None

    def release(self, frame: FrameType) -> None:
        """Release it, if this frame holds it."""
        with suppress(ValueError):
            self._claims.remove((threading.get_ident(), frame))

    def locked(self) -> bool:
        """Whether a running call holds it."""
        return any(_running(*claim) for claim in list(self._claims))


def _running(thread: int, frame: FrameType) -> bool:
    each = sys._current_frames().get(thread)
    while each is not None and each is not frame:
        each = each.f_back
    return each is not None
