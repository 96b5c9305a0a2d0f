"""Arrays: what they are called in annotations, and computing with them without warnings."""

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of any shape and dtype, which the docstrings tell
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def quietly(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """function(*args, **kwargs) without NumPy's warnings: the caller looks for infinity and NaN.

    It runs in a context of its own, which ends with it. `np.errstate` sets the caller's, and Ctrl-C
    while it is entered or left would leave the warnings off for the rest of the program.
    """

    def run() -> Result:
        np.seterr(all="ignore")
        return function(*args, **kwargs)

    return copy_context().run(run)


def quiet(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, always called quietly."""

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return quietly(function, *args, **kwargs)

    return run
