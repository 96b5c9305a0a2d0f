"""What is checked before a kernel is timed: its results against the reference, its algorithm.

NumPy is loaded by the functions: a benchmark sets BLAS's threads before that.
"""

import inspect
import sys
from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
WINOGRAD_TOLERANCE = 1e-4


class Wrong(Exception):
    """The result of a fast kernel differs from the reference."""


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def largest_error(actual: Any, expected: Any) -> float:
    """Largest difference relative to the largest expected number, over all results."""
    import numpy as np

    errors = [0.0]
    for got, wanted in zip(as_tuple(actual), as_tuple(expected), strict=True):
        if wanted is not None:
            if got.shape != wanted.shape:
                raise Wrong(f"shape {got.shape}, expected {wanted.shape}")
            scale = np.abs(wanted).max(initial=0) or 1
            errors.append(float(np.abs(got.astype(np.float64) - wanted).max(initial=0) / scale))
    return max(errors)


def float64(arg: Any) -> Any:
    """The argument for the reference: float32 arrays as float64, all others unchanged."""
    if isinstance(arg, list):
        return [float64(each) for each in arg]
    return arg.astype("float64") if getattr(arg, "dtype", None) == "float32" else arg


def arrays_in(args: Iterable[Any]) -> list[Any]:
    """The arrays in `args` and in the lists of it."""
    flat = chain.from_iterable(a if isinstance(a, list) else [a] for a in args)
    return [a for a in flat if hasattr(a, "shape")]


def algorithms(function: Any) -> tuple[str | None, ...]:
    """The values of a kernel's `algorithm` argument; None is its own choice."""
    choice = inspect.signature(function).parameters.get("algorithm")
    names = getattr(sys.modules[function.__module__], "ALGORITHMS", ())
    return (None, *names) if choice else (None,)


def made_by(case: Any, algorithm: str | None) -> str:
    """The algorithm of a case, such as "winograd"; two for a backward pass (dweight, dx)."""
    if "convolution" not in case.group:
        return algorithm or "chosen"
    products = ("dweight", "dx") if case.operation.endswith("backward") else ("forward",)
    made = ", ".join(chosen(case, algorithm, products))
    return made if algorithm else f"chosen: {made}"


def chosen(case: Any, algorithm: str | None, products: tuple[str, ...]) -> list[str]:
    """The algorithms of a convolution's `products`, which are fields of `Choice`."""
    from nanocnn.kernels.fast.conv import conv2d as conv
    from nanocnn.kernels.geometry import Window

    backward = case.operation.endswith("backward")
    window = next(arg for arg in case.args if isinstance(arg, Window))
    weight = case.args[backward + 1]
    pooled = "pool" in case.operation
    choice = conv.choose(
        window, *weight.shape[2:], pooled=pooled, algorithm=algorithm, products=products
    )
    return [getattr(choice, product) for product in products]


def prepare(function: Any, case: Any, algorithm: str | None) -> tuple[Any, float, list[Any]]:
    """The call to time, which takes no arguments, its error, and its results.

    Raises `Wrong` if the result differs from the reference, ValueError if the algorithm does not
    support this shape.
    """
    extra = {"algorithm": algorithm} if algorithm else {}
    wide = tuple(float64(a) for a in deepcopy(case.args))
    if case.in_place:
        mine = deepcopy(case.args)
        function(*mine, **extra)
        case.expected(*wide)
        results = arrays_in(mine)
        error = largest_error(tuple(results), tuple(arrays_in(wide)))
        call = partial(function, *mine, **extra)
    else:
        out = function(*case.args, **extra)
        function(*case.args, out=out, **extra)  # into existing arrays, as in training
        error = largest_error(out, case.expected(*wide))
        results = [a for a in as_tuple(out) if a is not None]
        call = partial(function, *case.args, out=out, **extra)
    dtype = str(arrays_in(case.args)[0].dtype)
    allowed = TOLERANCE[dtype]
    if algorithm in (None, "winograd") and case.group.endswith("convolution"):
        allowed = max(allowed, WINOGRAD_TOLERANCE)
    if not error <= allowed:
        raise Wrong(f"differs from the reference by {error:.1e}, allowed {allowed:.0e}")
    return call, error, results
