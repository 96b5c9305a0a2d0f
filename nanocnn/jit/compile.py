"""The one decorator of the fast kernels.

`compiled` is numba's njit, lazily compiled, releasing the GIL. Of fastmath only "contract"
is on (a*b+c by one instruction): NaN, infinity and the order of sums stay as they are written.

What is compiled is kept on disk (cache.py). That needs names of numba that are not public: where
one of them is gone, kernels are plain numba functions, compiled in each process.
"""

import gc
import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ..common import terminal
from .inline import inline

try:
    from numba.core.compiler_lock import global_compiler_lock

    from .cache import (
        KernelCache,
        NullCache,
        cache_folder,
        counts as counts,
        source_hash as source_hash,
    )
except ImportError:
    KEPT = False
else:
    KEPT = True

OPTIONS = {
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
    "boundscheck": False,
}


def kernel(function: Any) -> Any:
    """Compile `function` at its first call, or load what an earlier process has compiled."""
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "NUMBA_DISABLE_JIT is set, and the fast kernels exist as machine code only: "
            'take kernels="reference" to step through NumPy code, or unset it'
        )
    kernel = numba.njit(**OPTIONS)(function)
    compiler: Any = getattr(kernel, "_compiler", None)
    # If numba keeps its caches in another way one day: compile in each process, never serve stale.
    known = KEPT and isinstance(getattr(kernel, "_cache", None), NullCache)
    if known and hasattr(compiler, "compile"):
        kernel._cache = KernelCache(function, cache_folder())
        compiler.compile = shown(compiler.compile, kernel._cache)
    return kernel


@inline
def unsigned_range(start, stop):
    """The indices from start to stop, known not to be negative.

    With a plain range NumPy's rule that a negative index counts from the end has to be checked for
    every item, and LLVM then leaves the loop as it is instead of using vector instructions.
    """
    return range(np.uintp(start), np.uintp(stop))


@inline
def part_range(part, parts, n):
    """The range (start, stop) of n items that belongs to this part."""
    return part * n // parts, (part + 1) * n // parts


class Progress:
    """Says once that kernels are being compiled; on a terminal a bar counts them while it lasts.

    While it lasts Python's garbage collector rests: there is little for it to find, and looking
    takes a tenth of the time.
    """

    def __init__(self) -> None:
        self.said, self.collecting, self.depth, self.done = False, False, 0, 0
        self.bar: Any = None

    def begin(self, kept: bool) -> None:
        if not self.said:
            self.said = True
            when = "once" if kept else "no folder to keep them in: once a process"
            terminal.note(f"nanocnn: compiling kernels for this machine ({when}) ...")
        if self.depth == 0:
            self.collecting = gc.isenabled()
            gc.disable()
            if terminal.shows_bars():
                self.bar = terminal.progress_bar(
                    desc="compiling", unit=" kernels", initial=self.done
                )
        self.depth += 1

    def end(self) -> None:
        self.done += 1
        self.depth -= 1
        if self.bar is not None:
            self.bar.update()
        if self.depth == 0:
            if self.collecting:
                gc.enable()
            if self.bar is not None:
                self.bar.close()
                self.bar = None


progress = Progress()


def shown(compile: Callable[..., Any], cache: Any) -> Callable[..., Any]:
    """`compile`, which numba lets one thread at a time do, with its progress shown.

    What cannot be compiled is not saved to `cache` either, which then waits for it no longer.
    """

    def compile_and_show(*args: Any) -> Any:
        progress.begin(kept=cache.folder is not None)
        try:
            return compile(*args)
        except BaseException:
            cache.drop()
            raise
        finally:
            progress.end()

    return compile_and_show


# A fork waits until nobody compiles: the child could never finish what another thread had begun.
if KEPT and hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
