"""Terminal output: the only module that writes to stdout and stderr.

Under pythonw, in services and in windowed programs these are None; loggers replace them by objects
without `isatty`; a pipe may be closed or a disk full. Such errors are ignored: training continues
without output. Of several processes that train one model, the first one prints.
"""

import sys
from contextlib import suppress
from typing import Any

from . import processes


class Output:
    """A wrapper of a stream, or of None, whose `write` and `flush` never raise."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Write `text`; if the stream cannot encode it, with `?` for what is not ASCII."""
        with suppress(Exception):
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                self.stream.write(text.encode("ascii", "replace").decode())

    def flush(self) -> None:
        """Flush the stream, ignoring errors."""
        with suppress(Exception):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:  # tqdm reads the encoding and the width
        return getattr(self.stream, name)


def say(text: str) -> None:
    """Print a line to stdout, at once."""
    if processes.first:
        print(text, file=Output(sys.stdout), flush=True)


def note(text: str) -> None:
    """Print a line of status, such as that kernels are being compiled, to stderr."""
    if processes.first:
        print(text, file=Output(sys.stderr), flush=True)


def shows_bars() -> bool:
    """Whether stderr is a terminal, where a progress bar can be drawn."""
    try:
        return processes.first and bool(sys.stderr.isatty())
    except Exception:  # None, closed, or replaced by the program
        return False


def progress_bar(shown: bool = True, **options: Any) -> Any:
    """A tqdm bar on stderr, disabled when that is no terminal or `shown` is False."""
    from tqdm import tqdm

    disable = not (shown and shows_bars())
    return tqdm(file=Output(sys.stderr), disable=disable, leave=False, **options)
