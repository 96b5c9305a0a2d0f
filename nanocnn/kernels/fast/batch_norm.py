"""Batch normalization: one pass over x for its statistics, and one that applies them.

What differs from the reference: the result is the only array of the size of x. The sums over the
batch, and the lines in which x is read, are those of channel_sums.py.
"""

from math import isfinite, sqrt

import numpy as np

from ...jit.compile import kernel, unsigned_range
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.scratch import scratch
from ...jit.simd import fma, lanes, load_row, pointer, store_row
from .channel_sums import (
    add_parts,
    combine_statistics,
    gradient_sums,
    lines,
    repeat,
    statistic_sums,
    width_of,
)
from .outputs import Array, check_arrays, count_parts, flat, result, results


def batch_norm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    epsilon: float,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """x (..., C) -> y (..., C), mean (C,), variance (C,)."""
    C = x.shape[-1]
    check_arrays((C,), x.dtype, gamma=gamma, beta=beta)
    y, mean, variance = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    partial, table = statistic_sums(x), table_of(3, x)
    run(_combine, 1, x.size, partial, gamma, beta, epsilon, mean, variance, table)
    run(_apply, count_parts(x.size), flat(x), table, flat(y))
    return y, mean, variance


def table_of(rows: int, x: Array) -> Array:
    """(rows, width), for numbers that belong to the columns of a line of x."""
    size = rows * width_of(x.shape[-1])
    return scratch("table", size, x.dtype)[:size].reshape(rows, -1)


@kernel
def _combine(part, parts, size, partial, gamma, beta, epsilon, mean, variance, table):
    combine_statistics(size, partial, mean, variance)
    _fill(gamma, beta, mean, variance, epsilon, table)


@inline
def _fill(gamma, beta, mean, variance, epsilon, table):
    """table = lines of mean, gamma*s and beta."""
    limit = gamma.dtype.type(epsilon)
    for c in unsigned_range(0, gamma.size):
        table[0, c], table[2, c] = mean[c], beta[c]
        table[1, c] = gamma[c] / sqrt(variance[c] + limit)
    repeat(table, gamma.size)


@kernel
def _apply(part, parts, x, table, y):
    width, n = table.shape[1], lanes(pointer(x))
    start, stop, left = lines(part, parts, x.size, width)
    for line in range(start, stop + (left > 0)):
        count, at = width if line < stop else left, line * width
        px, to, columns = pointer(x) + at, pointer(y) + at, pointer(table)
        whole = count - count % n
        for j in range(0, whole, n):
            _normalize(px, to, columns, width, j, n)
        if whole < count:
            _normalize(px, to, columns, width, whole, count - whole)


@inline
def _normalize(x, y, mean, width, j, left):
    centred, shift = (
        load_row(x, j, left) - load_row(mean, j, left),
        load_row(mean + 2 * width, j, left),
    )
    store_row(y, j, fma(centred, load_row(mean + width, j, left), shift), left)


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
    y, table = result(out, x.shape, x.dtype), table_of(3, x)
    run(_coefficients, 1, gamma, beta, mean, variance, epsilon, table)
    run(_apply, count_parts(x.size), flat(x), table, flat(y))
    return y


@kernel
def _coefficients(part, parts, gamma, beta, mean, variance, epsilon, table):
    _fill(gamma, beta, mean, variance, epsilon, table)


def batch_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    frozen: bool = False,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,): one pass of sums, one to apply.

    `frozen`: mean and variance are constants, not those of x.
    """
    C = x.shape[-1]
    check_arrays(x.shape, x.dtype, dy=dy)
    check_arrays((C,), x.dtype, gamma=gamma, mean=mean, variance=variance)
    dx, dgamma, dbeta = results(out, (x.shape, x.dtype), ((C,), x.dtype), ((C,), x.dtype))
    partial, table = gradient_sums(x, dy, mean), table_of(4, x)
    run(
        _gradients, 1, x.size, partial, gamma, mean, variance, epsilon, frozen, dgamma, dbeta, table
    )
    x = dy if frozen else x  # it is multiplied by 0 then
    run(apply_gradients, count_parts(x.size), flat(x), flat(dy), table, flat(dx))
    return dx, dgamma, dbeta


@kernel
def _gradients(
    part, parts, size, partial, gamma, mean, variance, epsilon, frozen, dgamma, dbeta, table
):
    """The parts' sums together; table = lines of mean, gamma*s, dbeta/M and s*dgamma/M."""
    count, C, M = len(partial), mean.size, size // mean.size
    sums, products = partial[count - 1, 0, :C], partial[count - 1, 1, :C]
    add_parts(partial, sums, products)
    for c in range(C):
        s = 1 / sqrt(np.float64(variance[c]) + epsilon)
        dbeta[c], dgamma[c] = sums[c], products[c] * s
        table[0, c], table[1, c] = mean[c], gamma[c] * s
        table[2, c], table[3, c] = sums[c] / M, products[c] * s * s / M
        if frozen:
            table[0, c] = table[2, c] = table[3, c] = 0
    repeat(table, C)


@kernel
def apply_gradients(part, parts, x, dy, table, dx):
    """dx = gamma*s * (dy - dbeta/M - (x - mean) * s*dgamma/M)."""
    width, n = table.shape[1], lanes(pointer(x))
    start, stop, left = lines(part, parts, x.size, width)
    px, pdy, to, columns = pointer(x), pointer(dy), pointer(dx), pointer(table)
    for line in range(start, stop + (left > 0)):
        count, first = width if line < stop else left, line * width
        whole = count - count % n
        for j in range(0, whole, n):
            _apply_gradient(px + first, pdy + first, to + first, columns, width, j, n)
        if whole < count:
            _apply_gradient(
                px + first, pdy + first, to + first, columns, width, whole, count - whole
            )


@inline
def _apply_gradient(x, dy, dx, mean, width, j, left):
    centred = load_row(x, j, left) - load_row(mean, j, left)
    constant, slope = load_row(mean + 2 * width, j, left), load_row(mean + 3 * width, j, left)
    d = fma(-centred, slope, load_row(dy, j, left) - constant)
    store_row(dx, j, d * load_row(mean + width, j, left), left)


def batch_norm_update(
    moving_mean: Array, moving_variance: Array, mean: Array, variance: Array, momentum: float
) -> None:
    """moving = momentum * moving + (1-momentum) * batch's, in place; not if any is NaN or inf."""
    check_arrays(mean.shape, mean.dtype, variance=variance)
    for moving in (moving_mean, moving_variance):
        result(moving, mean.shape, mean.dtype)
    run(_update, 1, moving_mean, moving_variance, mean, variance, momentum)


@kernel
def _update(part, parts, moving_mean, moving_variance, mean, variance, momentum):
    for c in range(mean.size):
        if not (isfinite(mean[c]) and isfinite(variance[c])):
            return
    keep = mean.dtype.type(momentum)
    change = mean.dtype.type(1) - keep
    for c in unsigned_range(0, mean.size):
        moving_mean[c] = moving_mean[c] * keep + change * mean[c]
        moving_variance[c] = moving_variance[c] * keep + change * variance[c]
