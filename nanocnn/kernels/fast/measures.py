"""What is measured of a batch, as numbers in float64 that compiled code and Python can read."""

from math import isfinite

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.pool import run
from ...jit.scratch import scratch
from ...jit.simd import pointer
from .outputs import Array, as_matrix, check_arrays, count_parts, result
from .rows import row_argmax


def mean_loss(losses: Array, shares: Array, out: Array) -> Array:
    """out (2,) float64: the sum of losses * shares, and 1 if it is finite, else 0."""
    check_arrays(losses.shape, losses.dtype, shares=shares)
    run(_mean_loss, 1, losses, shares, result(out, (2,), np.float64))
    return out


@kernel
def _mean_loss(part, parts, losses, shares, out):
    total = 0.0
    for n in range(losses.size):
        total += np.float64(losses[n]) * shares[n]
    out[0] = total
    out[1] = 1.0 if isfinite(total) else 0.0


def count_correct(target: Array, prediction: Array, threshold: float, out: Array) -> Array:
    """out (1,) float64: the rows (..., K) where both have their (first) maximum in the same column.

    For K = 1 those where prediction > threshold equals target > 0.5. NaN counts as the maximum.
    """
    check_arrays(target.shape, target.dtype, prediction=prediction)
    parts = count_parts(target.size)
    result(out, (1,), np.float64)
    counts = out if parts == 1 else scratch("partial", parts, np.float64)
    run(_count_correct, parts, as_matrix(target), as_matrix(prediction), threshold, counts)
    if parts > 1:
        run(_sum, 1, counts, parts, out)
    return out


@kernel
def _count_correct(part, parts, target, prediction, threshold, counts):
    start, stop = part_range(part, parts, len(target))
    count, limit = 0, prediction.dtype.type(threshold)
    for n in range(start, stop):
        if target.shape[1] == 1:
            count += (prediction[n, 0] > limit) == (target[n, 0] > 0.5)
        else:
            first = n * target.shape[1]
            column = row_argmax(pointer(prediction) + first, target.shape[1])
            count += column == row_argmax(pointer(target) + first, target.shape[1])
    counts[part] = count


@kernel
def _sum(part, parts, values, size, out):
    total = 0.0
    for i in range(size):
        total += values[i]
    out[0] = total


def largest(x: Array, out: Array) -> Array:
    """out (1,) float64: the largest absolute value in x; NaN if any number is NaN.

    Without their sign, floats are in the order of their bits, and NaN is above infinity.
    """
    integer = np.dtype(f"u{x.itemsize}")
    parts = count_parts(x.size)
    maxima = scratch("maxima", parts, x.dtype)
    both = maxima.view(integer), maxima, result(out, (1,), np.float64)
    run(_largest, parts, x.reshape(-1).view(integer), *both)
    if parts > 1:
        run(_largest_of, 1, *both, parts)
    return out


@kernel
def _largest(part, parts, x, bits, numbers, out):
    start, stop = part_range(part, parts, x.size)
    top, sign = x.dtype.type(0), x.dtype.type(1) << x.dtype.type(8 * x.itemsize - 1)
    for i in unsigned_range(start, stop):
        top = max(top, x[i] & ~sign)
    bits[part] = top
    if parts == 1:
        out[0] = numbers[0]


@kernel
def _largest_of(part, parts, bits, numbers, out, size):
    at = 0
    for i in range(1, size):
        if bits[i] > bits[at]:
            at = i
    out[0] = numbers[at]
