"""The cache of compiled kernels on disk.

numba's own cache watches only the file of the function itself, so it is stale after an edit of a
callee in another file, and two processes that start with an empty cache can mix up their entries.
Here an entry is one file, named by a hash of everything the machine code depends on: the code of
the kernel and its callees (fingerprint.py), argument types, processor and flags. There is no index
that could be corrupted.

Reading an entry unpickles it, which can execute code. An entry is therefore read only if no user
other than this one and root can have written it: neither the file itself nor any folder above it.
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

from . import claims
from .cpu import target
from .fingerprint import fingerprint, functions_within, package_hash

# numba's settings that change machine code; those of the processor are in `target`
FLAGS = (
    "BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML",
    "ENABLE_AVX",
)  # fmt: skip
NAME = __name__.partition(".")[0]  # names the folder and the environment variable
KEEP_DAYS = 30  # entries of other versions that were not used for so long are removed

counts = {"compiled": 0, "loaded": 0}  # kernels of this process, for tests
_caches: WeakSet["KernelCache"] = WeakSet()


class KernelCache:
    """The compiled forms of one function on disk."""

    def __init__(self, function: Any, folder: Path | None, counted: bool = True) -> None:
        self.function, self.folder, self.counted = function, folder, counted
        self.claimed: Path | None = None  # what this process is compiling
        _caches.add(self)

    def entry(self, signature: Any) -> Path | None:
        """The file for these argument types, or None if the kernel cannot be cached.

        A function of a module that cannot be imported is not: numba could not load it again.
        """
        if self.folder is None or self.function.__module__ not in sys.modules:
            return None
        source = fingerprint(self.function)
        if source is None:
            return None
        flags = tuple(getattr(numba.config, flag, None) for flag in FLAGS)
        key = hashlib.sha256((source + repr((signature, target(), flags))).encode()).hexdigest()
        name = "".join(filter(str.isalnum, self.function.__name__))
        return self.folder / f"{name}{_mark(self.function)}{key[:32]}.nbc"

    def load(self, signature: Any, unpack: Callable[[bytes], Any]) -> Any:
        """The kernel for these argument types, or None if this process has to compile it."""
        self.claim(signature)
        return self.fetch(signature, unpack)

    def claim(self, signature: Any) -> None:
        """Let other processes wait until this one has compiled the kernel, or wait for the other.

        If this is interrupted, `drop` releases what was claimed.
        """
        self.drop()
        entry = self.entry(signature)
        if entry is not None and read(entry) is None:
            self.claimed = entry
            if not claims.take(entry):
                claims.wait(entry)

    def fetch(self, signature: Any, unpack: Callable[[bytes], Any]) -> Any:
        """The kernel if it is there, or None."""
        entry = self.entry(signature)
        content = None if entry is None else read(entry)
        if content is None:
            return None
        found = unpack(content)
        self.drop()
        counts["loaded"] += self.counted
        return found

    def save(self, signature: Any, pack: Callable[[], bytes | None]) -> None:
        """Store a compiled kernel if other processes can use it."""
        try:
            entry = self.entry(signature)
            if entry is not None and (content := pack()) is not None:
                forget_old(entry.parent)
                write(entry, content)
        finally:
            self.drop()

    def drop(self) -> None:
        """Release the claim on the entry that this process was compiling."""
        if self.claimed is not None:
            entry, self.claimed = self.claimed, None
            claims.drop(entry)


def read(entry: Path) -> bytes | None:
    """The content of an entry if it is complete and no other user can have written it."""
    with suppress(OSError), open(entry, "rb", opener=_no_link) as file:
        info = os.fstat(file.fileno())
        data = file.read() if stat.S_ISREG(info.st_mode) and is_ours(info) else b""
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            return data[32:]
    return None


def write(entry: Path, content: bytes) -> None:
    """Write an entry atomically."""
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
    """The folder of the cache: next to the sources, else in the user's cache; None if neither.

    NANOCNN_CACHE=0 (named after the package) disables it. The folder and all folders above it must
    belong to this user or root, and no other user may write to them (for those above it, adding
    files as in /tmp is allowed).
    """
    if is_off() or package_hash() is None:
        return None
    return next((folder.resolve() for folder in candidates() if not refusal(folder)), None)


def is_off() -> bool:
    """Whether the user has disabled the cache."""
    return os.environ.get(f"{NAME.upper()}_CACHE") == "0"


def candidates() -> list[Path]:
    """Possible folders, in order of preference."""
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
    """Why `folder`, which is created if missing, cannot be used; "" if it can."""
    try:
        folder = folder.resolve()
        for each in (*reversed(folder.parents), folder):
            if not each.exists():
                each.mkdir(0o755, exist_ok=True)
            if not is_ours(each.stat(), sticky=each != folder):
                return f"{each} belongs to another user, or others may write to it"
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        return str(error)
    return ""


def is_ours(info: os.stat_result, sticky: bool = False) -> bool:
    """Whether only this user and root can write there; with `sticky` others may add files."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: inherited permissions protect a user's folders
    writable = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if sticky and info.st_mode & stat.S_ISVTX:
        writable = 0
    return info.st_uid in (0, os.geteuid()) and not writable


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def known_functions() -> list[Any]:
    """The functions of all kernels, including those that factory functions have not made yet."""
    functions = [each.function for each in _caches]
    folders = {_folder(each.function.__module__) for each in _caches if each.counted}
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
