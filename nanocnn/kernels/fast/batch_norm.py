"""Batch normalization: sums over the batch in fixed parts and in float64, then one pass to apply.

Against the reference: no array of the input's size is made but the result; each part sums its own
rows, and the parts are added in their order, so that the bits do not depend on the threads.
"""

from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range
from ...jit.pool import run
from .outputs import Array, count_parts, expect, result, results, rows


def _sums(kernel: Any, count: int, x: Array, *args: Array) -> Array:
    """`count` sums a channel over all rows of x, float64: (count, C)."""
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
    """x (..., C) -> y (..., C), mean (C,), variance (C,): two passes that sum, one that applies."""
    C = x.shape[-1]
    expect((C,), x.dtype, gamma=gamma, beta=beta)
    y, mean, variance = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    X = rows(x)
    center = _sums(_sum, 1, X)[0] / len(X)
    spread = _sums(_sum_of_squares, 1, X, center)[0] / len(X)
    mean[...], variance[...] = center, spread
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon, out=y), mean, variance


@kernel
def _sum(part, parts, x, partial):
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            partial[part, 0, c] += x[n, c]


@kernel
def _sum_of_squares(part, parts, x, center, partial):
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            partial[part, 0, c] += (x[n, c] - center[c]) ** 2


def batch_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,): one pass that sums, one that applies."""
    C, M = x.shape[-1], x.size // x.shape[-1]
    expect(x.shape, x.dtype, dy=dy)
    expect((C,), x.dtype, gamma=gamma, mean=mean, variance=variance)
    dx, dgamma, dbeta = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    X, dY = rows(x), rows(dy)
    s = 1 / np.sqrt(variance.astype(np.float64) + epsilon)
    sums = _sums(_backward_sums, 2, X, dY, mean.astype(np.float64))
    dbeta[...], dgamma[...] = sums[0], sums[1] * s
    factors = gamma * s, sums[0] / M, sums[1] * s * s / M
    coefficients = [factor.astype(x.dtype) for factor in factors]
    run(_apply_backward, count_parts(x.size), X, dY, mean, *coefficients, dx.reshape(-1, C))
    return dx, dgamma, dbeta


@kernel
def _backward_sums(part, parts, x, dy, mean, partial):
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            partial[part, 0, c] += dy[n, c]
            partial[part, 1, c] += dy[n, c] * (x[n, c] - mean[c])


@kernel
def _apply_backward(part, parts, x, dy, mean, scale, constant, slope, dx):
    # dx = gamma*s * (dy - dbeta/M - (x-mean) * s*dgamma/M)
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
    expect(x.shape[-1:], x.dtype, gamma=gamma, beta=beta, mean=mean, variance=variance)
    y = result(out, x.shape, x.dtype)
    scale = gamma / np.sqrt(variance + x.dtype.type(epsilon))
    run(_apply, count_parts(x.size), rows(x), mean, scale, beta, y.reshape(-1, x.shape[-1]))
    return y


@kernel
def _apply(part, parts, x, mean, scale, beta, y):
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(x.shape[1]):
            y[n, c] = (x[n, c] - mean[c]) * scale[c] + beta[c]
