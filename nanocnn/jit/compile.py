"""`kernel`, the decorator of the functions that Python calls, and what is written within them.

A kernel is numba's njit, lazily compiled, releasing the GIL. Of fastmath only "contract" is on
(a*b+c by one instruction): NaN, infinity and the order of sums stay as they are written. What is
compiled is kept on disk (cache.py).
"""

import gc
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import numba
import numpy as np
from numba.core import event

from . import claims, numba_private
from .cache import KernelCache, cache_folder, counts
from .inline import inline

OPTIONS = {
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
    "boundscheck": False,
}
_caches: WeakKeyDictionary[Any, KernelCache] = WeakKeyDictionary()  # by kernel


def kernel(function: Any) -> Any:
    """Compile `function` at its first call, or load what an earlier process has compiled."""
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "NUMBA_DISABLE_JIT is set, and kernels exist as machine code only: unset it"
        )
    compiled = numba.njit(**OPTIONS)(function)
    _caches[compiled] = KernelCache(function, cache_folder())
    numba_private.attach(compiled, _caches[compiled])
    return compiled


def is_kernel(function: Any) -> bool:
    """Whether `kernel` made it."""
    return function in _caches


def argument_types(arguments: Iterable[Any]) -> tuple[Any, ...]:
    """numba's types of a kernel's arguments, which tell what it is compiled for."""
    return tuple(map(numba.typeof, arguments))


def compile_ahead(kernel: Any, types: Any) -> None:
    """Compile a kernel for these argument types, but not if another process does or has done so."""
    entry = _caches[kernel].entry(types)
    if entry is not None and not entry.exists() and claims.take(entry):
        kernel.compile(types)


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


class Compiling(event.Listener):
    """Is told by numba, which lets one thread at a time compile, of every function it compiles.

    While a kernel is compiled Python's garbage collector rests: there is little for it to find, and
    looking takes a tenth of the time.
    """

    def __init__(self) -> None:
        self.depth, self.collecting = 0, False

    def on_start(self, event: Any) -> None:
        if is_kernel(event.data["dispatcher"]):
            if self.depth == 0:
                self.collecting = gc.isenabled()
                gc.disable()
            self.depth += 1

    def on_end(self, event: Any) -> None:
        kernel = event.data["dispatcher"]
        if is_kernel(kernel):
            self.depth -= 1
            if self.depth == 0 and self.collecting:
                gc.enable()
            if tuple(event.data["args"]) in kernel.overloads:
                counts["compiled"] += 1
            else:  # what cannot be compiled is never saved, and nobody is to wait for it
                _caches[kernel].drop()


event.register("numba:compile", Compiling())
numba_private.wait_with_forks()
