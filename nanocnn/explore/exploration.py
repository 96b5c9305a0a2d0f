"""`Exploration`: a page that is shown, and how to end it."""

import atexit
import threading
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import Self

HEIGHT = 900  # pixels, of the page in a notebook


class Exploration:
    """The page of a model: its address, until it is closed.

    url     its address, with the secret token
    close   what ends it
    forget  what ends all sessions, so that the page starts anew

    In a notebook it is shown as a frame with the live page. Use it in a `with` statement to close
    it at the end.
    """

    def __init__(
        self, url: str, close: Callable[[], None] = lambda: None,
        forget: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.url, self.forget = url, forget
        self._close = close
        self._closed = threading.Event()
        atexit.register(self.close)

    def close(self) -> None:
        """End the server and all sessions, within a second. A second call does nothing."""
        if not self._closed.is_set():
            self._closed.set()
            atexit.unregister(self.close)
            self._close()

    def wait(self) -> None:
        """Wait until it is closed. Ctrl-C closes it and raises KeyboardInterrupt."""
        try:
            while not self._closed.wait(1):  # Windows sees Ctrl-C only between two waits
                pass
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def __repr__(self) -> str:
        return f"<Exploration {self.url}{' (closed)' * self._closed.is_set()}>"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return (
            f'<iframe src="{url}" title="nanocnn explore" width="100%" height="{HEIGHT}" '
            'style="border: 1px solid #8888"></iframe>'
            f'<p><a href="{url}" target="_blank" rel="noopener">Open the page in a tab</a></p>'
        )
