"""`inline` and `noinline`: the functions that a kernel is written in, compiled as parts of it.

numba compiles every function that a compiled function calls by itself first: optimized, turned into
machine code, wrapped for Python. A kernel written as ten small functions costs ten compilations
that way, most of them for nothing, since LLVM then inlines the ten into the kernel and optimizes
all of it again. These functions stop after LLVM's intermediate code: they can only be called by
compiled functions, and cost a tenth (`InlineLibrary` in numba_private.py).
"""

from typing import Any

import numba

from .numba_private import inline_pipeline, noinline_pipeline

OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}


def inline(function: Any) -> Any:
    """A function that compiled functions may call: it becomes a part of each of them."""
    return numba.njit(pipeline_class=inline_pipeline, **OPTIONS)(function)


def noinline(function: Any) -> Any:
    """The same, but one copy in each kernel, which is called: for what is used in many places."""
    return numba.njit(pipeline_class=noinline_pipeline, **OPTIONS)(function)
