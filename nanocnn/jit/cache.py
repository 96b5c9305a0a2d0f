"""The folder where compiled kernels are kept.

Numba's own cache looks at the file of the function only, so an edited callee in another file is
served stale, and two processes that start on an empty cache can mix up each other's entries. Here
an entry is one file whose name is a hash of everything the machine code depends on: all kernel
sources, the argument types, the processor, the versions, the flags. There is no index to corrupt.

An entry is unpickled, which runs what is in it. So it is read only if nobody but this user and root
can have written it: neither the file, nor a folder on the way to it by taking its place.
"""

import hashlib
import importlib.machinery
import marshal
import os
import pickle
import pkgutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache as NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from . import claims, precompile

# What changes the machine code, of numba's settings; the processor is asked for at the code's maker
FLAGS = (
    "BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML",
)  # fmt: skip
ROOT = __name__.rpartition(".jit.")[0]
PACKAGES = f"{ROOT}.jit", f"{ROOT}.kernels"  # that the hash covers
KEEP_DAYS = 30  # entries of other versions are removed when they have not been used for so long

counts = {"compiled": 0, "loaded": 0}  # kernels of this process, for tests


class KernelCache(NullCache):
    """The compiled forms of one function on disk; in the interface of numba's caches."""

    def __init__(self, function: Any, folder: Path | None) -> None:
        self.name, self.folder = function.__name__, folder
        self.function = f"{function.__module__}.{function.__qualname__} {_constants(function)}"
        self.claimed: Path | None = None  # what this process is compiling

    @property
    def cache_path(self) -> str | None:
        return None if self.folder is None else str(self.folder)

    def file(self, signature: Any, target: Any) -> Path:
        what = (self.function, signature, target.codegen().magic_tuple())
        what += tuple(getattr(numba.config, flag, None) for flag in FLAGS)
        sources = source_hash()
        assert self.folder is not None and sources is not None
        key = hashlib.sha256((sources + repr(what)).encode()).hexdigest()
        return self.folder / f"{self.name.strip('_')}-{sources[:8]}-{key[:32]}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        self.drop()
        if self.folder is None:
            return None
        with suppress(Exception):  # names of numba that are gone: then it is compiled
            target_context.refresh()
            entry = self.file(sig, target_context)
            found = self.read(entry, target_context)
            if found is None:
                if claims.take(entry):
                    self.claimed = entry
                    precompile.start()
                else:
                    precompile.withdraw()  # who has claimed it has a second process too
                    claims.wait(entry)
                found = self.read(entry, target_context)
                if found is not None:
                    self.drop()
            return found
        return None

    def read(self, entry: Path, target_context: Any) -> Any:
        # A file that cannot be read back, for whatever reason, is one to write anew.
        with suppress(Exception), open(entry, "rb", opener=_no_link) as file:
            info = os.fstat(file.fileno())
            data = file.read() if stat.S_ISREG(info.st_mode) and is_ours(info) else b""
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                kernel = CompileResult._rebuild(target_context, *pickle.loads(data[32:]))
                counts["loaded"] += 1
                return kernel
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        counts["compiled"] += 1
        with suppress(Exception):  # a full disk costs the next process its time, not this one
            if self.folder is not None and not data.library.has_dynamic_globals:
                forget_old(self.folder)
                self.write(self.file(sig, data.target_context), dumps(data._reduce()))
        self.drop()

    def write(self, entry: Path, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=entry.parent, suffix=".tmp", delete=False) as file:
            try:
                file.write(hashlib.sha256(content).digest() + content)
                file.close()
                os.chmod(file.name, 0o644)
                os.replace(file.name, entry)
            except BaseException:
                os.unlink(file.name)
                raise

    def drop(self) -> None:
        """Nobody needs to wait any longer for what this process was compiling."""
        if self.claimed is not None:
            entry, self.claimed = self.claimed, None
            claims.drop(entry)


def _constants(function: Any) -> str:
    """What a function made by another one has taken along from there."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [getattr(value, "py_func", value) for value in cells]
    return repr(
        [f"{v.__qualname__} {_constants(v)}" if hasattr(v, "__code__") else v for v in values]
    )


# --- The hash of the sources ---


@cache
def source_hash() -> str | None:
    """Changes with every edit of a kernel or of what it is made of, and with every upgrade.

    None if this module cannot be found among them: nothing is known of the others then. It is
    worked out while the kernels are loaded: files may be replaced under a program that runs.
    """
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version
    digest, names = hashlib.sha256(repr(versions).encode()), set()
    with suppress(Exception):
        for spec in (spec for name in PACKAGES for spec in _specs(sys.modules[name].__spec__)):
            digest.update(f"{spec.name}\0".encode() + hashlib.sha256(_content(spec)).digest())
            names.add(spec.name)
        if __name__ in names:
            return digest.hexdigest()
    return None


def _specs(spec: Any) -> Iterator[importlib.machinery.ModuleSpec]:
    """The modules of a package and the package itself, all but the reference kernels."""
    yield spec
    inside = spec.submodule_search_locations or []
    for finder, name, _ in sorted(
        pkgutil.iter_modules(inside, spec.name + "."), key=lambda module: module.name
    ):
        if name != f"{ROOT}.kernels.reference":
            yield from _specs(finder.find_spec(name))


def _content(spec: Any) -> bytes:
    """A module as it was delivered: source or byte code, as a file, in a zip, or in a program."""
    try:
        return bytes(spec.loader.get_data(spec.origin))
    except (AttributeError, OSError):
        return marshal.dumps(spec.loader.get_code(spec.name), 2)  # 2: the same in each process


# --- The folder ---


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: beside the sources, else in the user's cache; else None.

    NANOCNN_CACHE=0 keeps none. A folder serves if it and all folders above it belong to this user
    or root and nobody else may write to them (or, above it, only add to them, as to /tmp).
    """
    if os.environ.get("NANOCNN_CACHE") == "0" or source_hash() is None:
        return None
    return next((folder.resolve() for folder in candidates() if not refusal(folder)), None)


def candidates() -> list[Path]:
    """The folders that may serve, the best first."""
    folders = [Path(__file__).parent / "__pycache__" / "compiled"]
    with suppress(RuntimeError):  # no home
        home = Path.home()
        base = {"darwin": home / "Library/Caches", "win32": home / "AppData/Local"}
        user = os.environ.get("XDG_CACHE_HOME") or base.get(sys.platform, home / ".cache")
        folders.append(Path(user) / "nanocnn" / "compiled")
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        folders.insert(0, Path(chosen) / "nanocnn")
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


@cache
def forget_old(folder: Path) -> None:
    """Once a process: remove what other versions, or processes killed, left behind long ago."""
    for path in (*folder.glob("*.nbc"), *folder.glob("*.tmp")):
        with suppress(OSError):  # another process does the same
            old = time.time() - path.stat().st_mtime > KEEP_DAYS * 86400
            if old and not is_current(path):
                path.unlink()


def is_current(entry: Path) -> bool:
    """Whether this version wrote it."""
    return f"-{(source_hash() or '')[:8]}-" in entry.name
