"""Batch normalization: one pass over x for its statistics, and one that applies them.

What differs from the reference: the result is the only array of the size of x. Sums are in float64,
over fixed parts of the batch, and added in the order of the parts, so that the bits do not depend
on the threads. A part is read twice, for its mean and for its squares about it, but the second time
from the cache (Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances", 1979).

Few channels do not fill a register. So x is read as lines of `width` numbers, a multiple of C:
column j of a line belongs to channel j % C. The last line may be shorter.
"""

from math import gcd, isfinite, sqrt
from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.cpu import cpu
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.scratch import run as run_buffered, scratch
from ...jit.simd import (
    fma,
    lanes,
    load,
    load_row,
    pointer,
    rows,
    splat,
    store,
    store_row,
    tile,
)
from ...jit.simd_lanes import widen
from .outputs import Array, check_arrays, count_parts, result, results

WIDE = 64  # from so many channels on a line is one row of x
BLOCK = 32  # columns whose sums are in registers; below WIDE, lines are a multiple of it
VECTORS = BLOCK * 8 // cpu.bytes


def _width(C: int) -> int:
    return C if C >= WIDE else C * (BLOCK // gcd(C, BLOCK))


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1)


def _sums(kernel: Any, x: Array, *args: Array) -> Array:
    """What `kernel` writes: two numbers per column and part, (parts + 1, 3, width)."""
    C, width = x.shape[-1], _width(x.shape[-1])
    parts = max(1, min(count_parts(x.size), x.size // width))
    size = (parts + 1) * 3 * width  # the last is for what comes of all parts
    partial = scratch("partial", size, np.float64)[:size].reshape(parts + 1, 3, width)
    run(kernel, parts, _flat(x), *args, C, partial)
    return partial


@inline
def _lines(part, parts, size, width):
    """This part's lines of x, and how many numbers follow them if it is the last part."""
    start, stop = part_range(part, parts, size // width)
    return start, stop, size % width if part == parts - 1 else 0


@inline
def _repeat(x, line, width):
    """line[j] = x[j % C], for x (C,)."""
    for first in range(0, width, x.size):
        for c in range(x.size):
            line[first + c] = x[c]


@inline
def _gather(sums, C, width):
    """sums[c] = the sum over the columns of channel c."""
    for first in range(C, width, C):
        for c in range(C):
            sums[c] += sums[first + c]


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
    partial = _sums(_part_statistics, x)
    run(_statistics, 1, x.size, partial, mean, variance)
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon, out=y), mean, variance


@kernel
def _part_statistics(part, parts, x, C, partial):
    """partial[part] = the mean of each channel of this part, the sum of squares about it."""
    width = partial.shape[2]
    start, stop, left = _lines(part, parts, x.size, width)
    px, means = pointer(x), pointer(partial) + 3 * part * width
    squares, count = means + width, ((stop - start) * width + left) // C
    _add_lines(px, start, stop, left, width, False, means, means)
    _gather(means, C, width)
    for c in range(C):
        means[c] /= count
    for j in range(C, width):
        means[j] = means[j - C]
    _add_lines(px, start, stop, left, width, True, means, squares)
    _gather(squares, C, width)


@inline
def _add_lines(px, start, stop, left, width, squared, means, sums):
    """sums[j] = the sum of x, or of (x - means[j])^2, over these lines."""
    acc, n = tile(VECTORS, 1, sums), lanes(sums)
    whole = width - width % BLOCK
    for j in range(0, whole, BLOCK):
        for i in range(rows(acc)):
            acc[i, 0] = splat(sums, 0)
        for line in range(start, stop):
            for i in range(rows(acc)):
                at = j + i * n
                value = widen(load(px, line * width + at, acc[0, 0]))
                if squared:
                    value = value - load(means, at)
                    acc[i, 0] = fma(value, value, acc[i, 0])
                else:
                    acc[i, 0] = acc[i, 0] + value
        for i in range(rows(acc)):
            store(sums, j + i * n, acc[i, 0])
    for j in range(whole, width):
        sums[j] = 0.0
    for line in range(start, stop):
        for j in range(whole, width):
            value = px[line * width + j] - (means[j] if squared else 0.0)
            sums[j] += value * value if squared else value
    for j in range(left):
        value = px[stop * width + j] - (means[j] if squared else 0.0)
        sums[j] += value * value if squared else value


@kernel
def _statistics(part, parts, size, partial, mean, variance):
    """Combine the parts' statistics."""
    count, _, width = partial.shape
    C, M = mean.size, size // mean.size
    means, squares = partial[count - 1, 0], partial[count - 1, 1]
    for c in range(C):
        means[c], squares[c] = 0.0, 0.0
    for p in range(count - 1):
        share = _samples(p, count - 1, size, width, C)
        for c in unsigned_range(0, C):
            means[c] += partial[p, 0, c] * share
    for c in range(C):
        means[c] /= M
        mean[c] = means[c]
    for p in range(count - 1):
        share = _samples(p, count - 1, size, width, C)
        for c in unsigned_range(0, C):
            shift = partial[p, 0, c] - means[c]
            squares[c] += partial[p, 1, c] + share * shift * shift
    for c in range(C):
        variance[c] = squares[c] / M


@inline
def _samples(part, parts, size, width, C):
    """How many numbers of each channel a part has."""
    start, stop, left = _lines(part, parts, size, width)
    return ((stop - start) * width + left) // C


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
    partial = _sums(_part_gradients, x, _flat(dy), mean)
    width = partial.shape[2]
    table = scratch("table", 4 * width, x.dtype)[: 4 * width].reshape(4, width)
    run(_gradients, 1, x.size, partial, gamma, mean, variance, epsilon, frozen, dgamma, dbeta, table)
    x = dy if frozen else x  # it is multiplied by 0 then
    run(_apply_gradients, count_parts(x.size), _flat(x), _flat(dy), table, _flat(dx))
    return dx, dgamma, dbeta


@kernel
def _part_gradients(part, parts, x, dy, mean, C, partial):
    """partial[part] = the sums over this part of dy, and of dy * (x - mean)."""
    width = partial.shape[2]
    start, stop, left = _lines(part, parts, x.size, width)
    px, pdy, sums = pointer(x), pointer(dy), pointer(partial) + 3 * part * width
    products, means = sums + width, sums + 2 * width
    _repeat(mean, means, width)
    acc, acc_products, n = tile(VECTORS, 1, sums), tile(VECTORS, 1, sums), lanes(sums)
    whole = width - width % BLOCK
    for j in range(0, whole, BLOCK):
        for i in range(rows(acc)):
            acc[i, 0] = acc_products[i, 0] = splat(sums, 0)
        for line in range(start, stop):
            for i in range(rows(acc)):
                at, vector = j + i * n, acc[i, 0]
                d = widen(load(pdy, line * width + at, vector))
                centred = widen(load(px, line * width + at, vector)) - load(means, at)
                acc[i, 0] = vector + d
                acc_products[i, 0] = fma(d, centred, acc_products[i, 0])
        for i in range(rows(acc)):
            store(sums, j + i * n, acc[i, 0])
            store(products, j + i * n, acc_products[i, 0])
    for j in range(whole, width):
        sums[j], products[j] = 0.0, 0.0
    for line in range(start, stop):
        for j in range(whole, width):
            _add_gradient(px, pdy, line * width, j, means, sums, products)
    for j in range(left):
        _add_gradient(px, pdy, stop * width, j, means, sums, products)
    _gather(sums, C, width)
    _gather(products, C, width)


@inline
def _add_gradient(px, pdy, first, j, means, sums, products):
    d = np.float64(pdy[first + j])
    sums[j] += d
    products[j] += d * (np.float64(px[first + j]) - means[j])


@kernel
def _gradients(
    part, parts, size, partial, gamma, mean, variance, epsilon, frozen, dgamma, dbeta, table
):
    """The parts' sums together; table = lines of mean, gamma*s, dbeta/M and s*dgamma/M."""
    count, _, width = partial.shape
    C, M = mean.size, size // mean.size
    sums, products = partial[count - 1, 0], partial[count - 1, 1]
    for c in range(C):
        sums[c], products[c] = 0.0, 0.0
    for p in range(count - 1):
        for c in unsigned_range(0, C):
            sums[c] += partial[p, 0, c]
            products[c] += partial[p, 1, c]
    for c in range(C):
        s = 1 / sqrt(np.float64(variance[c]) + epsilon)
        dbeta[c], dgamma[c] = sums[c], products[c] * s
        table[0, c], table[1, c] = mean[c], gamma[c] * s
        table[2, c], table[3, c] = sums[c] / M, products[c] * s * s / M
        if frozen:
            table[0, c] = table[2, c] = table[3, c] = 0
    for i in range(4):
        for j in range(C, width):
            table[i, j] = table[i, j - C]


@kernel
def _apply_gradients(part, parts, x, dy, table, dx):
    """dx = gamma*s * (dy - dbeta/M - (x - mean) * s*dgamma/M)."""
    width, n = table.shape[1], lanes(pointer(x))
    start, stop, left = _lines(part, parts, x.size, width)
    px, pdy, to, mean = pointer(x), pointer(dy), pointer(dx), pointer(table)
    scale, constant, slope = mean + width, mean + 2 * width, mean + 3 * width
    for line in range(start, stop + (left > 0)):
        count, first = width if line < stop else left, line * width
        for j in range(0, count, n):
            centred = load_row(px, first + j, count - j) - load_row(mean, j, count - j)
            d = load_row(pdy, first + j, count - j) - load_row(constant, j, count - j)
            d = d - centred * load_row(slope, j, count - j)
            store_row(to, first + j, d * load_row(scale, j, count - j), count - j)


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
    width = _width(x.shape[-1])
    lines = {"line": 3 * width}
    arrays = gamma, beta, mean, variance
    run_buffered(_apply, count_parts(x.size), lines, _flat(x), *arrays, epsilon, width, _flat(y))
    return y


@kernel
def _apply(part, parts, buffers, x, gamma, beta, mean, variance, epsilon, width, y):
    kind, n = x.dtype.type, lanes(pointer(x))
    start, stop, left = _lines(part, parts, x.size, width)
    px, to, means = pointer(x), pointer(y), pointer(buffers[0])
    scales, shifts = means + width, means + 2 * width
    for c in range(gamma.size):
        scales[c] = gamma[c] / sqrt(variance[c] + kind(epsilon))
    for j in range(gamma.size, width):
        scales[j] = scales[j - gamma.size]
    _repeat(mean, means, width)
    _repeat(beta, shifts, width)
    for line in range(start, stop + (left > 0)):
        count, first = width if line < stop else left, line * width
        for j in range(0, count, n):
            centred = load_row(px, first + j, count - j) - load_row(means, j, count - j)
            scale, shift = load_row(scales, j, count - j), load_row(shifts, j, count - j)
            store_row(to, first + j, fma(centred, scale, shift), count - j)


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
    _average(moving_mean, mean, momentum)
    _average(moving_variance, variance, momentum)


@inline
def _average(moving, value, momentum):
    to, new = pointer(moving), pointer(value)
    keep = moving.dtype.type(momentum)
    old_share, new_share = splat(to, keep), splat(to, moving.dtype.type(1) - keep)
    for c in range(0, moving.size, lanes(to)):  # vectors: scalars would be fused, and round once
        left = moving.size - c
        store_row(to, c, load_row(to, c, left) * old_share + load_row(new, c, left) * new_share, left)
