"""All uses of private names of numba, each behind one function.

README.md lists them. If a name is missing or behaves differently, its function falls back to plain
numba with a one-line warning: results stay correct, only compilation or start-up takes longer.
"""

import os
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numba

CACHE = "kernels are not cached on disk, so each process compiles them again"
INLINE = "callees are compiled separately, which takes longer"
FEATURES = "NUMBA_ENABLE_AVX is not heeded where kernels are chosen and cached"
FORK = "a child that is forked while another thread compiles may hang"
_warned: set[str] = set()


@contextmanager
def fallback(consequence: str) -> Iterator[None]:
    """Suppress an exception, and warn of its `consequence` once per process.

    An OSError gives no warning: a full disk only costs the next process time.
    """
    try:
        yield
    except OSError:
        pass
    except Exception as error:
        if consequence not in _warned:
            _warned.add(consequence)
            why = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            text = f"numba {numba.__version__} is not compatible ({why}): {consequence}"
            with suppress(AttributeError, OSError, ValueError):  # stderr is None or closed
                warnings.warn_explicit(text, RuntimeWarning, __name__, 0)  # no line of source


# --- The cache ---


def attach(kernel: Any, store: Any) -> None:
    """Make numba load `kernel` from `store` before it compiles it, and save it there afterwards.

    The store has `load(signature, unpack)`, which returns a result or None, and
    `save(signature, pack)`; `pack()` returns the bytes that `unpack` turns into a result, or None
    if only this process could use them.
    """
    with fallback(CACHE):
        _set_cache(kernel, store)


def _set_cache(compiled: Any, store: Any) -> None:
    from numba.core.caching import NullCache

    if not isinstance(compiled._cache, NullCache):
        raise TypeError(f"its cache is {type(compiled._cache)}")
    compiled._cache = _cache_class()(store)


@cache
def _cache_class() -> Any:
    from numba.core.caching import NullCache

    class Cache(NullCache):
        def __init__(self, store: Any) -> None:
            self.store = store

        def load_overload(self, *args: Any) -> Any:
            with fallback(CACHE):
                signature, target = args
                return self.store.load(signature, lambda content: _unpack(content, target))

        def save_overload(self, *args: Any) -> None:
            with fallback(CACHE):
                signature, result = args
                self.store.save(signature, lambda: _pack(result))

    return Cache


def cached_cfunc(function: Any, signature: Any, options: dict[str, Any], store: Any) -> Any:
    """`numba.cfunc(signature, **options)(function)`, loaded from `store` or saved there.

    `store` as for `attach`; it also has `compiling()`, a context for the time that numba compiles.
    """
    callback = None
    with fallback(CACHE):
        callback = _callback(function, signature, options, store)
    if callback is None:
        with store.compiling():
            return numba.cfunc(signature, **options)(function)
    callback.compile()
    return callback


def _callback(function: Any, signature: Any, options: dict[str, Any], store: Any) -> Any:
    from numba.core.ccallback import CFunc

    callback = CFunc(function, (signature.args, signature.return_type), {}, options)
    _set_cache(callback, store)
    compile = callback._compile_uncached

    def compile_uncached() -> Any:
        with store.compiling():
            return compile()

    callback._compile_uncached = compile_uncached
    return callback


def _pack(result: Any) -> bytes | None:
    """A compiled function as bytes; None if it holds addresses of this process."""
    from numba.core.serialize import dumps

    return None if result.library.has_dynamic_globals else dumps(result._reduce())


def _unpack(content: bytes, target: Any) -> Any:
    from numba.core.compiler import CompileResult
    from numba.core.runtime import rtsys

    # Machine code only calls numba's runtime; `target.refresh()` would load all that numba can
    # compile, which takes 50 MB and a quarter of a second
    rtsys.initialize(target)
    return CompileResult._rebuild(target, *pickle.loads(content))


def options(dispatcher: Any) -> str:
    """How a function was decorated, as text."""
    how = sorted((name, repr(value)) for name, value in dispatcher.targetoptions.items())
    return f"{how} {dispatcher._compiler.pipeline_class.__qualname__}"


# --- Functions that become part of their callers ---


def inline_pipeline(*args: Any) -> Any:
    """numba's compiler for a function that LLVM is told to inline."""
    return _pipeline(*args, inline=True)


def noinline_pipeline(*args: Any) -> Any:
    """numba's compiler for a function of which each kernel has one copy."""
    return _pipeline(*args, inline=False)


def _pipeline(*args: Any, inline: bool) -> Any:
    """A compiler that stops after LLVM's intermediate code; numba's own if that does not work."""
    from numba.core.compiler import Compiler

    compiler = _inline_compiler()
    return Compiler(*args) if compiler is None else compiler(*args, inline=inline)


@cache
def _inline_compiler() -> Any:
    """The compiler for parts of kernels, or None if it does not work with this numba."""
    with fallback(INLINE):
        compiler = _define_inline_compiler()
        if _probe(compiler)(3) != 10:
            raise ValueError("a function that calls another returned a wrong number")
        return compiler
    return None


def _probe(compiler: Any) -> Callable[[int], int]:
    """x + (x + 4), by a function that calls one of each kind."""
    called = numba.njit(pipeline_class=partial(compiler, inline=False))(lambda x: x + 4)
    inlined = numba.njit(pipeline_class=partial(compiler, inline=True))(lambda x: x + called(x))
    return numba.njit(lambda x: inlined(x))


def _define_inline_compiler() -> Any:
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler

    class InlineLibrary(JITCodeLibrary):
        """Code that is linked into its callers, and not optimized or made executable by itself."""

        def _optimize_functions(self, ll_module: Any) -> None:
            """Not here: all of it is optimized as a part of the kernel."""

        def finalize(self) -> None:
            for function in self._final_module.functions:  # what is not to be inlined is called
                attributes = str(list(function.attributes))
                if not function.is_declaration and "alwaysinline" not in attributes:
                    function.add_function_attribute("noinline")
            for library in dict.fromkeys(self._linking_libraries):
                self._final_module.link_in(library._get_module_for_linking(), preserve=True)
            self._finalized = True

    class InlineCompiler(Compiler):
        def __init__(self, typingctx, targetctx, library, args, return_type, flags, local, inline):
            flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
            flags.forceinline = inline  # else inherited from whichever caller is compiled first
            super().__init__(typingctx, targetctx, library, args, return_type, flags, local)

        def define_pipelines(self):
            state = self.state
            name = state.func_id.func_qualname
            state.library = InlineLibrary(state.targetctx.codegen(), name)
            return super().define_pipelines()

        def _compile_core(self):
            result = super()._compile_core()
            # numba looks a callee up by its entry point, a built-in function: any, of its own
            key = [result.fndesc.mangled_name].append
            self.state.targetctx.insert_user_function(key, result.fndesc, [result.library])
            return result._replace(entry_point=key)

    return InlineCompiler


# --- The processor ---


def host_features() -> str:
    """This processor's features, as numba gives them to LLVM; "" if they are unknown."""
    with fallback(FEATURES):
        from numba.core.codegen import get_host_cpu_features

        return str(get_host_cpu_features())
    try:
        return llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # unknown on this platform
        return ""


# --- Threads and forks ---


@cache
def compiler_lock() -> Any:
    """The lock that numba holds while it compiles; reentrant.

    A fork waits until nobody holds it: a child could never finish what a thread had begun.
    """
    lock: Any = threading.RLock()
    with fallback(FORK):
        from numba.core.compiler_lock import global_compiler_lock

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=global_compiler_lock.acquire,
                after_in_parent=global_compiler_lock.release,
                after_in_child=global_compiler_lock.release,
            )
        lock = global_compiler_lock
    return lock
