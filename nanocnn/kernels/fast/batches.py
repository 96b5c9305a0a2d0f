"""Batches: the rows of a data set that an array of row numbers names, copied in one pass.

`index` (N,) is int64 and its numbers are valid: the kernels check no bounds. An array of another
type than `out` has a kernel compiled for its type.
"""

from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.pool import run
from .outputs import Array, as_rows, check_arrays, count_parts, result


def _check(index: Array, out: Array, *row: int) -> None:
    """Raise unless `out` has a row of this shape for each number of the index."""
    check_arrays((index.size,), np.int64, index=index)
    result(out, (len(index), *row), out.dtype)


def take_images(x: Array, index: Array, out: Array) -> Array:
    """out (N, ...) = x[index] in its dtype; uint8 is divided by 255."""
    return _take(_take_pixels if x.dtype == np.uint8 else _take_rows, x, index, out)


def take_rows(x: Array, index: Array, out: Array) -> Array:
    """out (N, ...) = x[index] in its dtype."""
    return _take(_take_rows, x, index, out)


def _take(kernel: Any, x: Array, index: Array, out: Array) -> Array:
    _check(index, out, *x.shape[1:])
    run(kernel, count_parts(out.size), as_rows(x), index, as_rows(out))
    return out


@kernel
def _take_pixels(part, parts, x, index, out):
    start, stop = part_range(part, parts, len(index))
    scale = out.dtype.type(255)
    for n in range(start, stop):
        row = index[n]
        for d in unsigned_range(0, x.shape[1]):
            out[n, d] = out.dtype.type(x[row, d]) / scale


@kernel
def _take_rows(part, parts, x, index, out):
    start, stop = part_range(part, parts, len(index))
    for n in range(start, stop):
        row = index[n]
        for d in unsigned_range(0, x.shape[1]):
            out[n, d] = x[row, d]


def one_hot(labels: Array, index: Array, on: float, off: float, out: Array) -> Array:
    """out (N,K): `on` in column labels[index[n]] of row n, `off` elsewhere; labels are int64."""
    _check(index, out, out.shape[-1])
    check_arrays(labels.shape[:1], np.int64, labels=labels)
    run(_one_hot, count_parts(out.size), labels, index, on, off, out)
    return out


@kernel
def _one_hot(part, parts, labels, index, on, off, out):
    start, stop = part_range(part, parts, len(index))
    for n in range(start, stop):
        for k in unsigned_range(0, out.shape[1]):
            out[n, k] = off
        out[n, labels[index[n]]] = on


def smooth(x: Array, scale: float, shift: float, out: Array) -> Array:
    """out = x * scale + shift, each operation rounded; `out` may be x."""
    result(out, x.shape, x.dtype)
    run(_smooth, count_parts(x.size), x.reshape(-1), scale, shift, out.reshape(-1))
    return out


@kernel
def _smooth(part, parts, x, scale, shift, out):
    start, stop = part_range(part, parts, x.size)
    factor, term = x.dtype.type(scale), x.dtype.type(shift)
    for i in unsigned_range(start, stop):
        out[i] = x[i] * factor + term


def shares(weight: Array | None, index: Array, each: float, out: Array) -> Array:
    """out (N,) = weight[index] * each: a sample's share in the mean; without `weight` it is 1."""
    _check(index, out)
    weights = out[:0] if weight is None else weight
    check_arrays(weights.shape[:1], out.dtype, weight=weights)
    run(_shares, count_parts(out.size), weights, index, each, out)
    return out


@kernel
def _shares(part, parts, weight, index, each, out):
    start, stop = part_range(part, parts, len(index))
    share = out.dtype.type(each)
    for n in range(start, stop):
        out[n] = weight[index[n]] * share if weight.size else share
