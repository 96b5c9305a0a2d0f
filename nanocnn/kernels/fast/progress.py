"""What is said of the kernels: once that they are compiled, with a progress bar on a terminal.

And, on a processor without a fused multiply-add, that its results are its own.
"""

from typing import Any

import numba

from ...common import terminal
from ...jit.cache import cache_folder
from ...jit.compile import watchers
from ...jit.cpu import has_fma

if numba.config.DISABLE_JIT:
    raise ValueError(
        "NUMBA_DISABLE_JIT is set, and the fast kernels exist as machine code only: "
        'take kernels="reference" to step through NumPy code, or unset it'
    )

if not has_fma():
    terminal.note(
        "nanocnn: this processor has no fused multiply-add, so results differ in the last bits "
        "from those of other processors"
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
