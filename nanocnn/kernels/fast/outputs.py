"""What the public kernels share: checks of arrays, output arrays, and the number of parts."""

from math import prod
from typing import Any

import numpy as np

from ...common.arrays import Array as Array
from ...common.errors import ShapeError

MIN_WORK = 1 << 14  # simple operations (1 ns or less each) that are worth a part of their own
MIN_EXPS = 1 << 10  # the same for operations that need an exponential each
MAX_PARTS = 64  # enough for any number of cores, few enough to cost nothing on two


def count_parts(work: int, min_work: int = MIN_WORK) -> int:
    """The number of parts for `work`: it depends on nothing else, so the bits do not either."""
    return max(1, min(work // min_work, MAX_PARTS))


def result(out: Array | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array for a result, or `out` if it is given; ShapeError if `out` does not fit."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not is_writable(out):
        raise ShapeError(
            f"out: expected a writable C-contiguous {np.dtype(dtype)} array of shape {shape}, "
            f"got {out.dtype} {out.shape}"
        )
    return out


def results(out: tuple[Array | None, ...] | None, *shapes: Any) -> list[Array]:
    """`result` for several arrays; each of `shapes` is (shape, dtype)."""
    outs = (None,) * len(shapes) if out is None else out
    return [result(o, shape, dtype) for o, (shape, dtype) in zip(outs, shapes, strict=True)]


def is_writable(x: Array) -> bool:
    """Whether a kernel can write to x in place."""
    return x.flags.c_contiguous and x.flags.writeable


def as_matrix(x: Array) -> Array:
    """x (..., C) as a matrix (M, C)."""
    return np.ascontiguousarray(x).reshape(prod(x.shape[:-1]), x.shape[-1])


def flat(x: Array) -> Array:
    """x as a vector."""
    return np.ascontiguousarray(x).reshape(-1)


def as_rows(x: Array) -> Array:
    """x (N, ...) as a matrix (N, D)."""
    return np.ascontiguousarray(x).reshape(len(x), prod(x.shape[1:]))


def check_arrays(shape: tuple[int, ...], dtype: Any, **arrays: Array | None) -> None:
    """Raise unless all arrays but None have this shape and dtype: kernels do not check bounds."""
    for name, x in arrays.items():
        if x is not None and (x.shape != shape or x.dtype != dtype):
            raise ShapeError(f"{name}: expected {np.dtype(dtype)} {shape}, got {x.dtype} {x.shape}")


def check_dtype(dtype: Any, **arrays: Array | None) -> None:
    """Raise unless all arrays but None have this dtype: kernels do not mix float32 and float64."""
    for name, x in arrays.items():
        if x is not None:
            check_arrays(x.shape, dtype, **{name: x})
