"""What the public kernels share: results to write into, and how many parts to cut work into."""

from math import prod
from typing import Any

import numpy as np

from ...common.arrays import Array as Array
from ...common.errors import ShapeError

MIN_WORK = (
    1 << 14
)  # simple operations (about a nanosecond each, or less) that are worth a hand-over
MAX_PARTS = 64  # parts: enough for any number of cores, few enough to cost nothing on two


def count_parts(work: int, grain: int = MIN_WORK, most: int = MAX_PARTS) -> int:
    """How many parts to cut `work` into: by its size alone, so results are alike everywhere."""
    return max(1, min(work // grain, most))


def result(out: Array | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """The array to write a result into: a new one, or `out` when it is fit for that."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not writable(out):
        raise ShapeError(
            f"out: expected a writable C-contiguous {np.dtype(dtype)} array of shape {shape}, "
            f"got {out.dtype} {out.shape}"
        )
    return out


def results(out: tuple[Array | None, ...] | None, *shapes: Any) -> list[Array]:
    """The same for several results; each of `shapes` is (shape, dtype)."""
    outs = (None,) * len(shapes) if out is None else out
    return [result(o, shape, dtype) for o, (shape, dtype) in zip(outs, shapes, strict=True)]


def writable(x: Array) -> bool:
    return x.flags.c_contiguous and x.flags.writeable


def rows(x: Array) -> Array:
    """`x` as a matrix: all axes but the last in one."""
    return np.ascontiguousarray(x).reshape(prod(x.shape[:-1]), x.shape[-1])


def expect(shape: tuple[int, ...], dtype: Any, **arrays: Array | None) -> None:
    """Raise unless all (but None) have this shape and dtype: a loop reads by them, unchecked."""
    for name, x in arrays.items():
        if x is not None and (x.shape != shape or x.dtype != dtype):
            raise ShapeError(f"{name}: expected {np.dtype(dtype)} {shape}, got {x.dtype} {x.shape}")


def same(dtype: Any, **arrays: Array | None) -> None:
    """Raise unless all are of one dtype: a kernel never mixes float32 and float64."""
    for name, x in arrays.items():
        if x is not None:
            expect(x.shape, dtype, **{name: x})
