"""Ctrl-C that waits for the step in progress, but not for long."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

PATIENCE = 0.5  # seconds: a step takes milliseconds, but the first one may compile its kernels


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Holds a Ctrl-C back until the step in progress is complete, or for `PATIENCE` seconds.

    Yields a function that raises KeyboardInterrupt if one came; a second Ctrl-C raises it at once.
    Does nothing outside the main thread, or where the program has a handler of its own.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    pressed = over = False
    events: SimpleQueue[str] = SimpleQueue()  # may be used in a signal handler
    ended = threading.Event()

    def handler(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed and not over:
            raise KeyboardInterrupt
        pressed = True
        events.put("pressed")

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    def press_again() -> None:
        if events.get() == "pressed" and not ended.wait(PATIENCE):
            _thread.interrupt_main()

    watch = threading.Thread(target=press_again, name="nanocnn-interrupt", daemon=True)
    watch.start()
    signal.signal(signal.SIGINT, handler)
    try:
        yield check
    finally:
        over = True
        ended.set()
        events.put("ended")
        watch.join()
        signal.signal(signal.SIGINT, signal.default_int_handler)
