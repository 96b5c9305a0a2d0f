"""What a batch needs that is computed in shards: their sum, and batch normalization in two halves.

Between the halves, models/shards.py combines the numbers of all shards.
"""

from math import sqrt

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.pool import run
from .batch_norm import apply_gradients, table_of
from .channel_sums import add_parts, combine_statistics, gradient_sums, repeat, statistic_sums
from .outputs import Array, check_arrays, count_parts, flat, result, results


def add(x: Array, y: Array) -> Array:
    """y += x, in place."""
    result(y, x.shape, x.dtype)
    run(_add, count_parts(x.size), flat(x), flat(y))
    return y


@kernel
def _add(part, parts, x, y):
    start, stop = part_range(part, parts, x.size)
    for i in unsigned_range(start, stop):
        y[i] += x[i]


def batch_norm_statistics(x: Array, out: Array | None = None) -> Array:
    """x (..., C) -> (2, C), float64: mean and biased variance over all axes but the last."""
    moments = result(out, (2, x.shape[-1]), np.float64)
    run(_statistics, 1, x.size, statistic_sums(x), moments)
    return moments


@kernel
def _statistics(part, parts, size, partial, moments):
    combine_statistics(size, partial, moments[0], moments[1])


def batch_norm_sums(dy: Array, x: Array, mean: Array, out: Array | None = None) -> Array:
    """dy, x (..., C), mean (C,) -> (2, C), float64: the sums of dy and of dy * (x - mean)."""
    check_arrays(x.shape, x.dtype, dy=dy)
    check_arrays(x.shape[-1:], x.dtype, mean=mean)
    sums = result(out, (2, x.shape[-1]), np.float64)
    run(_sums, 1, gradient_sums(x, dy, mean), sums)
    return sums


@kernel
def _sums(part, parts, partial, sums):
    add_parts(partial, sums[0], sums[1])


def batch_norm_gradient(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, epsilon: float, sums: Array,
    means: Array, out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,).

    `sums` (2, C) are `batch_norm_sums` of this shard, `means` those of all shards, divided by the
    number of their values per channel.
    """
    C = x.shape[-1]
    check_arrays(x.shape, x.dtype, dy=dy)
    check_arrays((C,), x.dtype, gamma=gamma, mean=mean, variance=variance)
    check_arrays((2, C), np.float64, sums=sums, means=means)
    dx, dgamma, dbeta = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    table = table_of(4, x)
    run(_gradient, 1, gamma, mean, variance, epsilon, sums, means, dgamma, dbeta, table)
    run(apply_gradients, count_parts(x.size), flat(x), flat(dy), table, flat(dx))
    return dx, dgamma, dbeta


@kernel
def _gradient(part, parts, gamma, mean, variance, epsilon, sums, means, dgamma, dbeta, table):
    """table = lines of mean, gamma*s, and the two means that dx subtracts."""
    for c in range(mean.size):
        s = 1 / sqrt(np.float64(variance[c]) + epsilon)
        dbeta[c], dgamma[c] = sums[0, c], sums[1, c] * s
        table[0, c], table[1, c] = mean[c], gamma[c] * s
        table[2, c], table[3, c] = means[0, c], means[1, c] * s * s
    repeat(table, mean.size)
