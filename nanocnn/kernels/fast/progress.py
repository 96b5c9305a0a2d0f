"""Progress of compilation: one line of text, and a progress bar on a terminal."""

from typing import Any

import numba
from numba.core import event

from ...common import terminal
from ...jit.cache import cache_folder
from ...jit.compile import is_kernel

if numba.config.DISABLE_JIT:
    raise ValueError(
        "NUMBA_DISABLE_JIT is set, and the fast kernels exist as machine code only: "
        'take kernels="reference" to step through NumPy code, or unset it'
    )


class Progress(event.Listener):
    """Counts compiled kernels, but not their callees."""

    def __init__(self) -> None:
        self.said, self.depth, self.done = False, 0, 0
        self.bar: Any = None

    def on_start(self, event: Any) -> None:
        if not is_kernel(event.data["dispatcher"]):
            return
        if not self.said:
            self.said = True
            when = "once" if cache_folder() else "no folder to keep them in: once a process"
            terminal.note(f"nanocnn: compiling kernels for this machine ({when}) ...")
        if self.depth == 0 and terminal.shows_bars():
            self.bar = terminal.progress_bar(desc="compiling", unit=" kernels", initial=self.done)
        self.depth += 1

    def on_end(self, event: Any) -> None:
        if not is_kernel(event.data["dispatcher"]):
            return
        self.done += 1
        self.depth -= 1
        if self.bar is not None:
            self.bar.update()
            if self.depth == 0:
                self.bar.close()
                self.bar = None


event.register("numba:compile", Progress())
