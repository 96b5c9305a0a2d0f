"""The one decorator of the fast kernels, and the folder where compiled kernels are kept.

`compiled` is numba's njit, lazily compiled, without the lock on Python. Of fastmath only "contract"
is on (a*b+c by one instruction): NaN, infinity and the order of sums stay as they are written.

Numba's own cache looks at the file of the function only, so an edited callee in another file is
served stale, and two processes that start on an empty cache can mix up each other's entries. Here
an entry is one file whose name is a hash of everything the machine code depends on: all kernel
sources, the argument types, the processor, the versions, the flags. There is no index to corrupt.
"""

import gc
import hashlib
import os
import pickle
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from ... import terminal
from ..inlining import inlined
from . import ahead

OPTIONS = {
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
    "boundscheck": False,
}
FLAGS = "BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT"  # environment variables that change the code
KERNELS = Path(__file__).parent.parent
KEEP_DAYS = 30  # entries of other versions are removed when they have not been used for so long


def compiled(function: Any) -> Any:
    """Compile `function` at its first call, or load what an earlier process has compiled."""
    kernel = numba.njit(**OPTIONS)(function)
    folder = cache_folder() if isinstance(kernel, Dispatcher) else None
    # If numba keeps its caches in another way one day: compile in each process, never serve stale.
    if isinstance(getattr(kernel, "_cache", None), caching.NullCache):
        kernel._cache = KernelCache(function, folder)
        kernel._compiler.compile = shown(kernel._compiler.compile, kept=folder is not None)
    return kernel


@inlined
def places(start, stop):
    """The indices from start to stop, known not to be negative.

    With a plain range NumPy's rule that a negative index counts from the end has to be checked for
    every item, and LLVM then leaves the loop as it is instead of using vector instructions.
    """
    return range(np.uintp(start), np.uintp(stop))


@inlined
def share(part, parts, n):
    """The range (start, stop) of n items that belongs to this part."""
    return part * n // parts, (part + 1) * n // parts


class KernelCache(caching.NullCache):
    """The compiled forms of one function on disk; in the interface of numba's caches."""

    def __init__(self, function: Any, folder: Path | None) -> None:
        self.name, self.folder = function.__name__, folder
        self.function = f"{function.__module__}.{function.__qualname__} {_constants(function)}"

    @property
    def cache_path(self) -> str | None:
        return None if self.folder is None else str(self.folder)

    def file(self, signature: Any, target: Any) -> Path:
        what = (self.function, signature, target.codegen().magic_tuple())
        what += tuple(getattr(numba.config, flag, None) for flag in FLAGS)
        key = hashlib.sha256((source_hash() + repr(what)).encode()).hexdigest()
        assert self.folder is not None
        return self.folder / f"{self.name.strip('_')}-{source_hash()[:8]}-{key[:32]}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        if self.folder is None:
            return None
        entry = self.file(sig, target_context)
        found = self.read(entry, target_context)
        if found is None and ahead.elsewhere(entry):
            found = self.read(entry, target_context)
        return found

    def read(self, entry: Path, target_context: Any) -> Any:
        # A file that cannot be read back, for whatever reason, is one to write anew.
        with suppress(Exception):
            data = entry.read_bytes()
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                kernel = CompileResult._rebuild(target_context, *pickle.loads(data[32:]))
                counts["loaded"] += 1
                return kernel
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        counts["compiled"] += 1
        if self.folder is None or data.library.has_dynamic_globals:
            return
        with suppress(Exception):  # a full disk costs the next process its time, not this one
            forget_old(self.folder)
            content = dumps(data._reduce())
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
                try:
                    file.write(hashlib.sha256(content).digest() + content)
                    file.close()
                    os.chmod(file.name, 0o644)
                    os.replace(file.name, self.file(sig, data.target_context))
                except BaseException:
                    os.unlink(file.name)
                    raise


def _constants(function: Any) -> str:
    """What a function made by another one has taken along from there."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [getattr(value, "py_func", value) for value in cells]
    return repr(
        [f"{v.__qualname__} {_constants(v)}" if hasattr(v, "__code__") else v for v in values]
    )


@cache
def source_hash() -> str:
    """Changes with every edit of a kernel or of what it is made of, and with every upgrade."""
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version
    digest = hashlib.sha256(repr((versions, sorted(OPTIONS.items()))).encode())
    for path in sorted([*KERNELS.glob("[!r]*.py"), *KERNELS.glob("fast/**/*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: beside the sources, else in the user's cache; else None.

    NANOCNN_CACHE=0 keeps none. Entries are unpickled, so the folder must belong to this user (or to
    root) and nobody else may be able to write to it.
    """
    if os.environ.get("NANOCNN_CACHE") == "0":
        return None
    folders = [KERNELS / "fast" / "__pycache__" / "compiled"]
    with suppress(RuntimeError):  # no home
        home = Path.home()
        base = {"darwin": home / "Library/Caches", "win32": home / "AppData/Local"}
        user = os.environ.get("XDG_CACHE_HOME") or base.get(sys.platform, home / ".cache")
        folders.append(Path(user) / "nanocnn" / "compiled")
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        folders.insert(0, Path(chosen) / "nanocnn")
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if _is_ours(folder):
                tempfile.TemporaryFile(dir=folder).close()
                return folder
    return None


def _is_ours(folder: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True
    info = folder.stat()
    others_write = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return info.st_uid in (0, os.getuid()) and not others_write


@cache
def forget_old(folder: Path) -> None:
    """Once a process: remove what other versions of the sources left behind long ago."""
    for path in folder.glob("*.nbc"):
        old = time.time() - path.stat().st_mtime > KEEP_DAYS * 86400
        if old and f"-{source_hash()[:8]}-" not in path.name:
            path.unlink(missing_ok=True)


counts = {"compiled": 0, "loaded": 0}  # kernels of this process: for tests and `python -m nanocnn`


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


def shown(compile: Callable[..., Any], kept: bool) -> Callable[..., Any]:
    """`compile`, which numba lets one thread at a time do, with its progress shown."""

    def compile_and_show(*args: Any) -> Any:
        progress.begin(kept)
        try:
            return compile(*args)
        finally:
            progress.end()

    return compile_and_show


# A fork waits until nobody compiles: the child could never finish what another thread had begun.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
