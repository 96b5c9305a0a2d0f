"""`inline` and `noinline`: decorators of functions that are compiled as parts of kernels.

numba first compiles each callee on its own: it optimizes it, generates machine code, and adds a
wrapper for Python. For a kernel of ten small functions most of this work is wasted, because LLVM
inlines them and optimizes the whole again. For functions with these decorators compilation stops
at LLVM's intermediate representation, which takes a tenth of the time; only compiled functions can
call them (`InlineLibrary` in numba_private.py).
"""

from typing import Any

import numba

from .numba_private import inline_pipeline, noinline_pipeline

OPTIONS: dict[str, Any] = {"error_model": "numpy"}


def inline(function: Any) -> Any:
    """Decorator: `function` is inlined into the compiled functions that call it."""
    return numba.njit(pipeline_class=inline_pipeline, **OPTIONS)(function)


def noinline(function: Any) -> Any:
    """Decorator: each kernel has one copy of `function` and calls it; for functions used often."""
    return numba.njit(pipeline_class=noinline_pipeline, **OPTIONS)(function)
