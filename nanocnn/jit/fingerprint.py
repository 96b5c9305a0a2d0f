"""What the machine code of a kernel depends on, as one hash: the name of its entry in the cache.

numba compiles the byte code of a function with the values of the names in it: constants become part
of the machine code, and so do the functions that are called, with theirs. All of that is hashed as
it is in memory, wherever it was written: a file, a zip, byte code alone, a notebook. An edited
callee in another file changes the hash; a comment, or the Python code around a kernel, does not.

What runs while others are compiled (the vectors of simd.py, the options of compile.py) cannot be
seen from a kernel's code. It is this package, which is hashed as files.
"""

import hashlib
import importlib.machinery
import marshal
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from inspect import unwrap
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
from numba.core import types

from .numba_private import options

PACKAGE = __name__.rpartition(".")[0]
ATOMS = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, types.Type)


def fingerprint(function: Any, closure: bool = True) -> str | None:
    """The hash for a function that is to be compiled; None if this package cannot be read.

    Without `closure` it is the same for all functions that one other function has made.
    """
    package = package_hash()
    if package is None:
        return None
    digest = hashlib.sha256(package.encode())
    digest.update("\0".join(_Walk(function, closure).parts).encode())
    return digest.hexdigest()


class _Scope(NamedTuple):
    """Where a value is met: the names in the code of a function, and the function's package."""

    names: tuple[str, ...]
    package: str


class _Walk:
    """Collects what a function depends on, each object once."""

    def __init__(self, function: Any, closure: bool) -> None:
        self.parts: list[str] = []
        self.seen: dict[Any, tuple[int, Any]] = {}  # values too, so that no other has their id
        self.function(function, closure)

    def function(self, function: Any, closure: bool = True) -> None:
        code = function.__code__
        scope = _Scope(_names(code), _top(function.__module__))
        self.parts += function.__module__, function.__qualname__, _code(code)
        if closure:
            self.value((function.__defaults__, function.__kwdefaults__), scope)
            self.value([cell.cell_contents for cell in function.__closure__ or ()], scope)
        self.members(function.__globals__, scope)

    def members(self, space: dict[str, Any], scope: _Scope) -> None:
        for name in scope.names:
            if name in space:
                self.parts.append(name)
                self.value(space[name], scope)

    def value(self, value: Any, scope: _Scope) -> None:
        self.parts.append(type(value).__qualname__)
        if isinstance(value, ATOMS):
            self.parts.append(repr(value))
            return
        # What code can reach through a module depends on the code
        key = id(value), scope if isinstance(value, ModuleType) else ()
        if key in self.seen:
            self.parts.append(str(self.seen[key][0]))
            return
        self.seen[key] = len(self.seen), value
        if isinstance(value, tuple | list):
            self.parts.append(str(len(value)))
            for each in value:
                self.value(each, scope)
        elif isinstance(value, dict):
            self.value([*value.items()], scope)
        elif isinstance(value, np.ndarray):
            self.parts += value.dtype.str, repr(value.shape), repr(value.tobytes())
        elif isinstance(value, ModuleType):
            self.parts.append(value.__name__)
            self.members(vars(value), scope)
        else:
            self.code(value, scope)

    def code(self, value: Any, scope: _Scope) -> None:
        """A function of any kind, a class, or an object, of which only the type is known.

        Plain Python code runs while kernels are compiled: that of intrinsics, and what it calls in
        its own package. numba and NumPy are known by their versions.
        """
        module = getattr(value, "__module__", None) or ""
        self.parts += module, getattr(value, "__qualname__", "")
        if f"{module}.".startswith(f"{PACKAGE}."):
            return
        if hasattr(value, "py_func"):  # compiled
            self.parts.append(options(value))
            self.function(value.py_func)
        elif _top(type(value).__module__) == "numba" and not isinstance(value, type):  # intrinsics
            self.function(value.__wrapped__)
        elif _top(module) == scope.package:
            if isinstance(value, FunctionType):
                self.function(value)
            elif isinstance(value, type):
                self.parts += map(str, getattr(value, "_fields", ()))
                self.value([each for each in vars(value).values() if callable(each)], scope)


def _top(module: Any) -> str:
    return module.partition(".")[0] if isinstance(module, str) else ""


def _code(code: CodeType) -> str:
    """The byte code, without the lines that it was compiled from."""
    constants = [
        _code(each) if isinstance(each, CodeType)
        else repr(sorted(map(repr, each)) if isinstance(each, frozenset) else each)
        for each in code.co_consts
    ]  # fmt: skip
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_flags,
                 code.co_argcount, code.co_exceptiontable, constants))  # fmt: skip


@cache
def _names(code: CodeType) -> tuple[str, ...]:
    """The names of globals and attributes in a function and in those within it."""
    inner = [_names(each) for each in code.co_consts if isinstance(each, CodeType)]
    return tuple(sorted({*code.co_names}.union(*inner)))


def functions_within(module: ModuleType) -> Iterator[FunctionType]:
    """The kernels that functions of the module make when they are called, without their closures.

    A kernel is known by its first arguments, part and parts.
    """
    found = map(unwrap, vars(module).values())
    codes = [value.__code__ for value in found if isinstance(value, FunctionType)]
    for code in codes:
        inner = [each for each in code.co_consts if isinstance(each, CodeType)]
        codes += inner
        for each in inner:
            if each.co_varnames[:2] == ("part", "parts"):
                cells = tuple(CellType() for _ in each.co_freevars)
                yield FunctionType(each, vars(module), closure=cells)


# --- This package, as files ---


@cache
def package_hash() -> str | None:
    """Changes with every edit of this package and with every upgrade below it.

    None if its modules cannot be found, so that an edit would not be seen.
    """
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version
    digest, names = hashlib.sha256(repr(versions).encode()), set()
    with suppress(Exception):
        for spec in _specs(sys.modules[PACKAGE].__spec__):
            name = spec.name.removeprefix(PACKAGE)
            digest.update(f"{name}\0".encode() + hashlib.sha256(_content(spec)).digest())
            names.add(spec.name)
        if __name__ in names:
            return digest.hexdigest()
    return None


def _specs(spec: Any) -> Iterator[importlib.machinery.ModuleSpec]:
    """The package itself and its modules."""
    yield spec
    found = pkgutil.iter_modules(spec.submodule_search_locations, spec.name + ".")
    for finder, name, _ in sorted(found, key=lambda module: module.name):
        yield finder.find_spec(name)  # type: ignore[misc]


def _content(spec: Any) -> bytes:
    """A module as it was delivered: source or byte code, as a file, in a zip, or in a program."""
    try:
        return bytes(spec.loader.get_data(spec.origin))
    except (AttributeError, OSError):
        return marshal.dumps(spec.loader.get_code(spec.name), 2)  # 2: the same in each process


package_hash()  # as soon as it is loaded: files may be replaced under a program that runs
