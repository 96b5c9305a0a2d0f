"""`kernel`, the decorator of functions that threads run in parts, and ranges to use in them.

A kernel is a function (part, parts, *arguments). For each combination of argument types it is
compiled once, together with an entry of the form

    void entry(int64 part, int64 parts, int64 block, int64 memory)

which reads the arguments from a block of words (arguments.py). So compiled code (executor.py) can
call any kernel by its address, without Python and without the GIL. Compiled kernels are cached on
disk (cache.py). Nothing of fastmath is on, so the source determines the bits of each result: NaN,
infinity and the order of sums are preserved, and a * b + c is rounded twice unless it is written as
`fma(a, b, c)` (simd.py). With "contract" LLVM would choose which to fuse, for each processor anew.
"""

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, update_wrapper, wraps
from importlib import import_module
from pathlib import Path
from pickle import PicklingError
from types import FrameType
from typing import Any

import numba
import numpy as np
from numba.core import types

from . import claims, numba_private
from .arguments import Arguments, Types, reader
from .cache import KernelCache, cache_folder, counts
from .inline import inline

OPTIONS = {"error_model": "numpy", "boundscheck": False}
ENTRY = types.void(*[types.int64] * 4)

# Called with True when a kernel begins to be compiled, and with False when it is done.
watchers: list[Callable[[bool], None]] = []


class Kernel:
    """A function (part, parts, *arguments), and its compiled entries by argument types."""

    def __init__(self, function: Any) -> None:
        update_wrapper(self, function)
        self.function = function
        self.maker: tuple[Any, tuple[Any, ...]] | None = None  # see `variants`
        self.cache = KernelCache(function, cache_folder())
        self.entries: dict[Any, int] = {}  # addresses
        self._callbacks: list[Any] = []  # the code at these; it must stay alive
        self._inlined = inline(function)

    def __call__(self, part: int, parts: int, *arguments: Any) -> None:
        """Run one part, on the calling thread."""
        from .executor import call

        ready = Arguments(arguments)
        call(self.address(ready.types, 0), part, parts, ready.address, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        """By its name, or by the function that makes it: for another process."""
        if self.maker is not None:
            function, arguments = self.maker
            return function, arguments
        module, name = self.function.__module__, self.function.__qualname__
        known = module in sys.modules and module != "__main__"
        if not known or _find(module, name) is not self:
            raise PicklingError(f"{module}.{name} cannot be imported")
        return _find, (module, name)

    def address(self, kinds: Types, buffers: int) -> int:
        """The entry for these argument types, the first of which is work memory if `buffers`."""
        found = self.entries.get((kinds, buffers))
        return self._compiled(kinds, buffers) if found is None else found

    def _compiled(self, kinds: Types, buffers: int) -> int:
        key = kinds, buffers
        with numba_private.compiler_lock():  # threads that need it at the same time wait for one
            if key not in self.entries:
                try:
                    with numba_private.fallback(numba_private.CACHE):
                        self.cache.claim(key)  # which may take long
                    with deferring_handlers():
                        callback = self._compile(kinds, buffers)
                        self._callbacks.append(callback)
                        self.entries[key] = callback.address
                finally:
                    self.cache.drop()  # other processes must not wait for the entry
            return self.entries[key]

    def _compile(self, kinds: Types, buffers: int) -> Any:
        function, arguments = self._inlined, reader(kinds, buffers)

        def entry(part, parts, block, memory):
            function(part, parts, *arguments(block, memory))

        entry.__name__ = self.function.__name__
        store = _Store(self.cache, (kinds, buffers))
        return numba_private.cached_cfunc(entry, ENTRY, OPTIONS, store)

    def compile_ahead(self, kinds: Types, buffers: int) -> None:
        """Compile for these types unless another process does or has done so."""
        entry = self._entry(kinds, buffers)
        if entry is not None and not entry.exists() and claims.take(entry):
            try:
                self.address(kinds, buffers)
            finally:
                claims.drop(entry)

    def is_cached(self, kinds: Types, buffers: int) -> bool:
        """Whether this need not be compiled: it is in this process, or on disk."""
        if (kinds, buffers) in self.entries:
            return True
        entry = self._entry(kinds, buffers)
        return entry is not None and entry.exists()

    def _entry(self, kinds: Types, buffers: int) -> Path | None:
        with numba_private.fallback(numba_private.CACHE):
            return self.cache.entry((kinds, buffers))
        return None


def _find(module: str, name: str) -> Any:
    found: Any = import_module(module)
    for each in name.split("."):
        found = getattr(found, each, None)
    return found


def kernel(function: Any) -> Kernel:
    """Decorator: a function (part, parts, *arguments) becomes a `Kernel`."""
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "NUMBA_DISABLE_JIT is set, and kernels exist as machine code only: unset it"
        )
    return Kernel(function)


def variants(make: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Decorator of a function that makes a kernel for constants: each is made once.

    Its arguments can be pickled, and the kernel with them.
    """

    @cache
    @wraps(make)  # which is pickled by its name
    def made(*constants: Any) -> Kernel:
        found = make(*constants)
        found.maker = made, constants
        return found

    return made


class _Store:
    """Where numba finds one entry of a kernel, and saves it; for `cached_cfunc`."""

    def __init__(self, cache: KernelCache, key: Any) -> None:
        self.cache, self.key = cache, key

    def load(self, signature: Any, unpack: Callable[[bytes], Any]) -> Any:
        return self.cache.fetch(self.key, unpack)

    def save(self, signature: Any, pack: Callable[[], bytes | None]) -> None:
        self.cache.save(self.key, pack)

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """While numba compiles: no garbage collection, and the watchers are told.

        The collector would take a tenth of the compile time and find little.
        """
        collecting = gc.isenabled()
        gc.disable()
        for watch in watchers:
            watch(True)
        try:
            yield
            counts["compiled"] += 1
        finally:
            for watch in watchers:
                watch(False)
            if collecting:
                gc.enable()


@contextmanager
def deferring_handlers() -> Iterator[None]:
    """Call Python's signal handlers afterwards: numba cannot be interrupted, by Ctrl-C for example.

    Python calls them on the main thread only.
    """
    handlers: dict[int, Any] = {}
    arrived: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append((number, frame))

    try:
        if threading.current_thread() is threading.main_thread():
            for each in signal.valid_signals():
                if callable(handler := signal.getsignal(each)):
                    handlers[each] = handler
                    signal.signal(each, note)
        yield
    finally:
        try:
            _put_back(list(handlers.items()))
        finally:
            for number, frame in arrived:
                handlers[number](number, frame)


def _put_back(handlers: list[tuple[int, Any]]) -> None:
    """Set all of them, even if one of them is called meanwhile and raises."""
    try:
        while handlers:
            signal.signal(*handlers[-1])
            handlers.pop()
    finally:
        if handlers:
            _put_back(handlers)


def native(function: Any) -> Any:
    """Decorator: a function that Python calls with numbers alone; it releases the GIL.

    For the executor: compiled at the first call or loaded from the cache, and not counted.
    """
    compiled = numba.njit(nogil=True, **OPTIONS)(function)
    numba_private.attach(compiled, KernelCache(function, cache_folder(), counted=False))
    return compiled


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


numba_private.compiler_lock()  # from now on forks wait for it
