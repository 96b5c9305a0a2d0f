"""The folder where compiled kernels are kept.

Numba's own cache looks at the file of the function only, so an edited callee in another file is
served stale, and two processes that start on an empty cache can mix up each other's entries. Here
an entry is one file whose name is a hash of everything the machine code depends on: what the kernel
is made of (fingerprint.py), the argument types, the processor, the flags. There is no index to
corrupt.

An entry is unpickled, which runs what is in it. So it is read only if nobody but this user and root
can have written it: neither the file, nor a folder on the way to it by taking its place.
"""

import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numba

from . import claims, precompile
from .cpu import target
from .fingerprint import fingerprint, functions_within, package_hash

# What changes the machine code, of numba's settings; those of the processor are in `target`
FLAGS = (
    "BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML",
    "ENABLE_AVX",
)  # fmt: skip
NAME = __name__.partition(".")[0]  # of the folder, and in that of the environment variable
KEEP_DAYS = 30  # entries of other versions are removed when they have not been used for so long

counts = {"compiled": 0, "loaded": 0}  # kernels of this process, for tests
_caches: WeakSet["KernelCache"] = WeakSet()


class KernelCache:
    """The compiled forms of one function on disk."""

    def __init__(self, function: Any, folder: Path | None) -> None:
        self.function, self.folder = function, folder
        self.claimed: Path | None = None  # what this process is compiling
        _caches.add(self)

    def entry(self, signature: Any) -> Path | None:
        """The file for these argument types; None if nothing is kept.

        Nor is a function of a module that cannot be imported, which numba could not load again.
        """
        source, mark = fingerprint(self.function), _mark(self.function)
        if self.folder is None or source is None or self.function.__module__ not in sys.modules:
            return None
        flags = tuple(getattr(numba.config, flag, None) for flag in FLAGS)
        key = hashlib.sha256((source + repr((signature, target(), flags))).encode()).hexdigest()
        name = "".join(filter(str.isalnum, self.function.__name__))
        return self.folder / f"{name}{mark}{key[:32]}.nbc"

    def load(self, signature: Any, unpack: Callable[[bytes], Any]) -> Any:
        """The kernel for these argument types, or None: then this process is to compile it."""
        self.drop()
        entry = self.entry(signature)
        if entry is None:
            return None
        content = read(entry)
        if content is None:
            if claims.take(entry):
                self.claimed = entry
                precompile.start()
            else:
                precompile.withdraw()  # who has claimed it has a second process too
                claims.wait(entry)
            content = read(entry)  # it may be there by now
        if content is None:
            return None
        found = unpack(content)
        self.drop()
        counts["loaded"] += 1
        return found

    def save(self, signature: Any, pack: Callable[[], bytes | None]) -> None:
        """Keep what was compiled, if it can be used by other processes."""
        try:
            entry = self.entry(signature)
            if entry is not None and (content := pack()) is not None:
                forget_old(entry.parent)
                write(entry, content)
        finally:
            self.drop()

    def drop(self) -> None:
        """Nobody needs to wait any longer for what this process was compiling."""
        if self.claimed is not None:
            entry, self.claimed = self.claimed, None
            claims.drop(entry)


def read(entry: Path) -> bytes | None:
    """The content of a file, if it is whole and others cannot have written it."""
    with suppress(OSError), open(entry, "rb", opener=_no_link) as file:
        info = os.fstat(file.fileno())
        data = file.read() if stat.S_ISREG(info.st_mode) and is_ours(info) else b""
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            return data[32:]
    return None


def write(entry: Path, content: bytes) -> None:
    """Write a file in such a way that it is there as a whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=entry.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(hashlib.sha256(content).digest() + content)
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, entry)
        except BaseException:
            os.unlink(file.name)
            raise


# --- The folder ---


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: beside the sources, else in the user's cache; else None.

    NANOCNN_CACHE=0 (after the name of the package) keeps none. A folder serves if it and all
    folders above it belong to this user or root and nobody else may write to them (or, above it,
    only add to them, as to /tmp).
    """
    if is_off() or package_hash() is None:
        return None
    return next((folder.resolve() for folder in candidates() if not refusal(folder)), None)


def is_off() -> bool:
    """Whether the user wants nothing to be kept."""
    return os.environ.get(f"{NAME.upper()}_CACHE") == "0"


def candidates() -> list[Path]:
    """The folders that may serve, the best first."""
    folders = [Path(__file__).parent / "__pycache__" / "compiled"]
    with suppress(RuntimeError):  # no home
        home = Path.home()
        base = {"darwin": home / "Library/Caches", "win32": home / "AppData/Local"}
        user = os.environ.get("XDG_CACHE_HOME") or base.get(sys.platform, home / ".cache")
        folders.append(Path(user) / NAME / "compiled")
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        folders.insert(0, Path(chosen) / NAME)
    return folders


def refusal(folder: Path) -> str:
    """Why `folder`, which is made if it is missing, does not serve; "" if it does."""
    try:
        folder = folder.resolve()
        for each in (*reversed(folder.parents), folder):
            if not each.exists():
                each.mkdir(0o755, exist_ok=True)
            if not is_ours(each.stat(), sticky=each != folder):
                return f"{each} belongs to another user, or others may write to it"
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        return str(error)
    return ""


def is_ours(info: os.stat_result, sticky: bool = False) -> bool:
    """Whether only this user and root can write there; if `sticky`, others add but not replace."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: a user's folders are closed to others by inherited rights
    writable = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if sticky and info.st_mode & stat.S_ISVTX:
        writable = 0
    return info.st_uid in (0, os.geteuid()) and not writable


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def known_functions() -> list[Any]:
    """All kernels, also those that functions beside them are still to make (as functions)."""
    functions = [each.function for each in _caches]
    folders = {_folder(function.__module__) for function in functions}
    for name in list(sys.modules):
        if _folder(name) in folders:
            functions += functions_within(sys.modules[name])
    return functions


def _folder(module: str) -> str:
    return module.rpartition(".")[0] or module


def _mark(function: Any) -> str:
    """What the names of a kernel's entries have in common until it is edited."""
    return f"-{(fingerprint(function, closure=False) or '')[:8]}-"


@cache
def forget_old(folder: Path) -> None:
    """Once a process: remove what other versions, or processes killed, left behind long ago."""
    entries = [*folder.glob("*.nbc"), *folder.glob("*.tmp")]
    for path in set(entries) - current(entries):
        with suppress(OSError):  # another process does the same
            if time.time() - path.stat().st_mtime > KEEP_DAYS * 86400:
                path.unlink()


def current(entries: Iterable[Path]) -> set[Path]:
    """Those of `entries` that this version wrote: that kernels of this process would load."""
    marks = set(map(_mark, known_functions()))
    return {entry for entry in entries if any(mark in entry.name for mark in marks)}
