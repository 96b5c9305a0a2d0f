"""`Exploration`: a page that is shown, and how to end it; `SavedPage`: one in a file."""

import atexit
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Self

HEIGHT = 900  # pixels, of the page in a notebook
STYLE = f'width="100%" height="{HEIGHT}" style="border: 1px solid #8888"'
MOST_SHOWN = 20 * 2**20  # bytes of a file that a notebook takes in


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
        self._closed, self._lock = threading.Event(), threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """End the server and all sessions, within a second. A second call does nothing."""
        with self._lock:
            if not self._closed.is_set():
                atexit.unregister(self.close)
                self._close()
                self._closed.set()

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
            f'<iframe src="{url}" title="nanocnn explore" {STYLE}></iframe>'
            f'<p><a href="{url}" target="_blank" rel="noopener">Open the page in a tab</a></p>'
        )


class SavedPage(Exploration):
    """A page in a file. A notebook shows the file itself: it is there without file and server."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).resolve()
        super().__init__(self.path.as_uri())

    def _repr_html_(self) -> str:
        # Pages from a server may not frame files, so the file's text is in the notebook.
        link = f'<p>Saved as <a href="{escape(self.url)}">{escape(str(self.path))}</a></p>'
        if not self.path.is_file() or self.path.stat().st_size > MOST_SHOWN:
            return link
        text = escape(self.path.read_text(encoding="utf-8"))
        return (
            f'<iframe srcdoc="{text}" sandbox="allow-scripts" title="nanocnn explore" {STYLE}>'
            f"</iframe>{link}"
        )
