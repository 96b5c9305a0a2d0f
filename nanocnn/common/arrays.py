"""The array type for annotations, and calls with NumPy's warnings turned off."""

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of any shape and dtype; docstrings give both
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def quietly(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Return function(*args, **kwargs) without NumPy's warnings, for callers that check for NaN.

    The function runs in a copy of the context. `np.errstate` would change the caller's context, and
    Ctrl-C during its entry or exit would leave the warnings off for the rest of the program.
    """

    def run() -> Result:
        np.seterr(all="ignore")
        return function(*args, **kwargs)

    return copy_context().run(run)


def quiet(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate `function` to run without NumPy's warnings."""

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return quietly(function, *args, **kwargs)

    return run
