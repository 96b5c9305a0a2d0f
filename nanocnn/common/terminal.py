"""What the package says while it works: the one place that writes to stdout and stderr.

Under pythonw, in services and in windowed programs these are None; loggers put objects without
`isatty` in their place; a pipe may be closed or a disk full. Not being heard is no error: training
goes on, and nothing is shown.
"""

import sys
from contextlib import suppress
from typing import Any


class Output:
    """A stream, or what stands in its place, that never raises when it is written to."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Write what can be written; `?` for a character that the stream has no code for."""
        with suppress(Exception):
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                self.stream.write(text.encode("ascii", "replace").decode())

    def flush(self) -> None:
        """Flush the stream, if it can be."""
        with suppress(Exception):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:  # tqdm asks for the encoding and the width
        return getattr(self.stream, name)


def say(text: str) -> None:
    """Print a line to stdout, at once."""
    print(text, file=Output(sys.stdout), flush=True)


def note(text: str) -> None:
    """Print a line to stderr: what is no result, such as that kernels are being compiled."""
    print(text, file=Output(sys.stderr), flush=True)


def shows_bars() -> bool:
    """Whether stderr is a terminal, where a progress bar can be drawn."""
    try:
        return bool(sys.stderr.isatty())
    except Exception:  # None, closed, or an object of the program's own
        return False


def progress_bar(shown: bool = True, **options: Any) -> Any:
    """A tqdm bar on stderr; nothing is drawn where it is no terminal, or without `shown`."""
    from tqdm import tqdm

    disable = not (shown and shows_bars())
    return tqdm(file=Output(sys.stderr), disable=disable, leave=False, **options)
