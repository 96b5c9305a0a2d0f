"""`inlined`: the parts a kernel is written in, compiled once, as a piece of the kernel.

numba compiles every function that a compiled function calls for its own sake first: optimized,
turned into machine code, wrapped for Python. A kernel written as ten small functions costs ten
compilations that way, most of them for nothing, since LLVM then inlines the ten into the kernel and
optimizes all of it again. An inlined function stops after LLVM's intermediate code: it can only be
called by compiled functions, and costs a tenth.
"""

from typing import Any

import numba

try:  # private names of numba: where one is gone, its plain compiler does the same, slower
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler

    NAMES = {
        JITCodeLibrary: ("_optimize_functions", "_get_module_for_linking", "finalize"),
        Compiler: ("define_pipelines", "_compile_core"),
    }
    AVAILABLE = all(hasattr(kind, name) for kind, names in NAMES.items() for name in names)
except ImportError:
    AVAILABLE = False
    JITCodeLibrary = Compiler = object  # type: ignore[assignment,misc]


class InlineLibrary(JITCodeLibrary):
    """Code that is linked into its callers, and never optimized or made executable by itself."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Not here: all of it is optimized as a part of the kernel."""

    def finalize(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and "alwaysinline" not in str(list(function.attributes)):
                function.add_function_attribute("noinline")
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class InlineCompiler(Compiler):
    """numba's compiler, up to LLVM's intermediate code."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, local):
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
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


OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
if AVAILABLE:
    OPTIONS["pipeline_class"] = InlineCompiler


def inline(function: Any) -> Any:
    """A function that compiled functions may call: it becomes a part of each of them."""
    return numba.njit(forceinline=True, **OPTIONS)(function)


def noinline(function: Any) -> Any:
    """The same, but compiled once in each kernel, and called: for what is used in many places."""
    return numba.njit(**OPTIONS)(function)
