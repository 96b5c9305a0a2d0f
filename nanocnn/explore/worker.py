"""The thread that owns a session's model: requests and steps of a training take turns in it."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

TIMEOUT = 60.0  # seconds that a request may take


class Worker:
    """A thread that runs what is submitted, in order.

    idle     a function that it runs again and again while nothing waits, until it returns False;
             to be set in the thread itself
    problem  the text of the error that ended `idle`, or ""
    """

    def __init__(self, name: str) -> None:
        self.idle: Callable[[], bool] | None = None
        self.problem = ""
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._tasks = queue.SimpleQueue()
        self._closed, self._lock = False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Run function(*args) in the thread; RuntimeError when it was closed."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the session is closed")
            self._tasks.put((future, lambda: function(*args)))
        return future

    def call(self, function: Callable[..., Any], *args: Any, timeout: float = TIMEOUT) -> Any:
        """`submit`, and wait for the result; TimeoutError after `timeout` seconds."""
        future = self.submit(function, *args)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()  # if it has not begun
            raise

    def close(self) -> None:
        """End the thread when its task ends; those that wait are cancelled."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._tasks.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(TIMEOUT)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            future, work = task
            if self._closed:
                future.cancel()
            elif future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
                    del error  # it refers to the arrays of the request
            del task, future, work

    def _next(self) -> "tuple[Future[Any], Callable[[], Any]] | None":
        """The next task; until there is one, run `idle`."""
        while self.idle is not None and not self._closed:
            try:
                return self._tasks.get_nowait()
            except queue.Empty:
                self._step()
        return self._tasks.get()

    def _step(self) -> None:
        assert self.idle is not None
        try:
            if not self.idle():
                self.idle = None
        except Exception as error:
            self.idle, self.problem = None, str(error)
