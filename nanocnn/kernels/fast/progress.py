"""Progress of compilation: one line of text, and a progress bar on a terminal."""

from typing import Any

import numba

from ...common import terminal
from ...jit.cache import cache_folder
from ...jit.compile import watchers

if numba.config.DISABLE_JIT:
    raise ValueError(
        "NUMBA_DISABLE_JIT is set, and the fast kernels exist as machine code only: "
        'take kernels="reference" to step through NumPy code, or unset it'
    )


class Progress:
    """Counts compiled kernels."""

    def __init__(self) -> None:
        self.said, self.depth, self.done = False, 0, 0
        self.bar: Any = None

    def __call__(self, starts: bool) -> None:
        """A kernel begins to be compiled, or is done."""
        if starts:
            self._start()
        else:
            self._end()

    def _start(self) -> None:
        if not self.said:
            self.said = True
            when = "once" if cache_folder() else "no folder to keep them in: once a process"
            terminal.note(f"nanocnn: compiling kernels for this machine ({when}) ...")
        if self.depth == 0 and terminal.shows_bars():
            self.bar = terminal.progress_bar(desc="compiling", unit=" kernels", initial=self.done)
        self.depth += 1

    def _end(self) -> None:
        self.done += 1
        self.depth -= 1
        if self.bar is not None:
            self.bar.update()
            if self.depth == 0:
                self.bar.close()
                self.bar = None


watchers.append(Progress())
