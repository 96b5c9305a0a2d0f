"""Batch normalization: sums over the batch in float64, then one pass that applies them.

What differs from the reference: the result is the only array of the size of x. Partial sums over
fixed parts of the batch are added in their order, so that the bits do not depend on the threads.
"""

from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range
from ...jit.pool import run
from .outputs import Array, as_matrix, check_arrays, count_parts, result, results


def _sums(kernel: Any, count: int, x: Array, *args: Array) -> Array:
    """`count` sums per channel over all rows of x (M, C), in float64: (count, C)."""
    parts = count_parts(x.size)
    partial = np.zeros((parts, count, x.shape[1]))
    run(kernel, parts, x, *args, partial)
    return partial.sum(axis=0)


def batch_norm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    epsilon: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """x (..., C) -> y (..., C), mean (C,), variance (C,): two passes of sums, one to apply."""
    C = x.shape[-1]
    check_arrays((C,), x.dtype, gamma=gamma, beta=beta)
    y, mean, variance = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    X = as_matrix(x)
    mean64 = _sums(_sum, 1, X)[0] / len(X)
    mean[...] = mean64
    variance[...] = _sums(_sum_of_squares, 1, X, mean64)[0] / len(X)
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon, out=y), mean, variance


@kernel
def _sum(part, parts, x, partial):
    """partial[part, 0] (C,) = the sum of this part's rows of x (M, C)."""
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            partial[part, 0, c] += x[n, c]


@kernel
def _sum_of_squares(part, parts, x, mean, partial):
    """partial[part, 0] (C,) = the sum of (x - mean)^2 over this part's rows."""
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            partial[part, 0, c] += (x[n, c] - mean[c]) ** 2


def batch_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,): one pass of sums, one to apply."""
    C, M = x.shape[-1], x.size // x.shape[-1]
    check_arrays(x.shape, x.dtype, dy=dy)
    check_arrays((C,), x.dtype, gamma=gamma, mean=mean, variance=variance)
    dx, dgamma, dbeta = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    X, dY = as_matrix(x), as_matrix(dy)
    s = 1 / np.sqrt(variance.astype(np.float64) + epsilon)
    sums = _sums(_backward_sums, 2, X, dY, mean.astype(np.float64))
    dbeta[...], dgamma[...] = sums[0], sums[1] * s
    factors = gamma * s, sums[0] / M, sums[1] * s * s / M
    coefficients = [factor.astype(x.dtype) for factor in factors]
    run(_apply_backward, count_parts(x.size), X, dY, mean, *coefficients, dx.reshape(-1, C))
    return dx, dgamma, dbeta


@kernel
def _backward_sums(part, parts, x, dy, mean, partial):
    """partial[part] (2, C) = the sums of dy and of dy * (x - mean) over this part's rows."""
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            partial[part, 0, c] += dy[n, c]
            partial[part, 1, c] += dy[n, c] * (x[n, c] - mean[c])


@kernel
def _apply_backward(part, parts, x, dy, mean, scale, constant, slope, dx):
    """dx (M, C) = gamma*s * (dy - dbeta/M - (x-mean) * s*dgamma/M)."""
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            dx[n, c] = scale[c] * (dy[n, c] - constant[c] - (x[n, c] - mean[c]) * slope[c])


def batch_norm_inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    out: Array | None = None,
) -> Array:
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta."""
    check_arrays(x.shape[-1:], x.dtype, gamma=gamma, beta=beta, mean=mean, variance=variance)
    y = result(out, x.shape, x.dtype)
    scale = gamma / np.sqrt(variance + x.dtype.type(epsilon))
    run(_apply, count_parts(x.size), as_matrix(x), mean, scale, beta, y.reshape(-1, x.shape[-1]))
    return y


@kernel
def _apply(part, parts, x, mean, scale, beta, y):
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            y[n, c] = (x[n, c] - mean[c]) * scale[c] + beta[c]
