"""`kernel`, the decorator of compiled functions that Python calls, and ranges to use in them.

A kernel is compiled by numba's njit at its first call, releases the GIL, and is cached on disk
(cache.py). Of fastmath only "contract" is on, which fuses a*b + c into one instruction: NaN,
infinity and the order of sums are preserved.
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
    """Decorator: compile `function` at its first call, or load it from the cache."""
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "NUMBA_DISABLE_JIT is set, and kernels exist as machine code only: unset it"
        )
    compiled = numba.njit(**OPTIONS)(function)
    _caches[compiled] = KernelCache(function, cache_folder())
    numba_private.attach(compiled, _caches[compiled])
    return compiled


def is_kernel(function: Any) -> bool:
    """Whether `function` is decorated with `kernel`."""
    return function in _caches


def argument_types(arguments: Iterable[Any]) -> tuple[Any, ...]:
    """numba's types of `arguments`, for which a kernel is compiled."""
    return tuple(map(numba.typeof, arguments))


def compile_ahead(kernel: Any, types: Any) -> None:
    """Compile `kernel` for these argument types unless another process does or has done so."""
    entry = _caches[kernel].entry(types)
    if entry is not None and not entry.exists() and claims.take(entry):
        kernel.compile(types)


@inline
def unsigned_range(start, stop):
    """range(start, stop) of unsigned integers, so that LLVM can vectorize the loop.

    With signed indices each access checks for negative ones, which count from the end, and this
    prevents vectorization.
    """
    return range(np.uintp(start), np.uintp(stop))


@inline
def part_range(part, parts, n):
    """(start, stop) of this part's share of n items."""
    return part * n // parts, (part + 1) * n // parts


class Compiling(event.Listener):
    """Disables garbage collection while a kernel is compiled, and counts compiled kernels.

    The collector would take a tenth of the compile time and find little. numba compiles in one
    thread at a time.
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
            else:  # compilation failed: other processes must not wait for the entry
                _caches[kernel].drop()


event.register("numba:compile", Compiling())
numba_private.wait_with_forks()
