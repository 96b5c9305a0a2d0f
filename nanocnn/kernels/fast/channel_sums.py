"""Sums over the batch for each channel, in float64: what batch normalization needs.

They are taken over fixed parts of the batch and added in the order of the parts, so that the bits
do not depend on the threads. A part is read twice for its statistics, first for its mean, then for
the squares about it, but the second time from the cache (Chan, Golub and LeVeque, "Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979).

Few channels do not fill a register. So x is read as lines of `width` numbers, a multiple of C:
column j of a line belongs to channel j % C. The last line may be shorter.
"""

from math import gcd
from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.inline import inline, noinline
from ...jit.pool import run
from ...jit.scratch import scratch
from ...jit.simd import fma, lanes, load_row, pointer, store_row
from ...jit.simd_lanes import widen
from .outputs import Array, count_parts, flat
from .rows import load_as

WIDE = 64  # columns of a line at least
BLOCK = 16  # lines of several rows of x are a multiple of it
LINES = 8  # that are read side by side, so that sums are loaded and stored once for all


def width_of(C: int) -> int:
    least = C * BLOCK // gcd(C, BLOCK)
    return C if C >= WIDE else -(-WIDE // least) * least


def _sums(kernel: Any, x: Array, *args: Array) -> Array:
    """What `kernel` writes: two numbers per column and part, (parts + 1, 3, width)."""
    C, width = x.shape[-1], width_of(x.shape[-1])
    parts = max(1, min(count_parts(x.size), x.size // width))
    size = (parts + 1) * 3 * width  # the last is for what comes of all parts
    partial = scratch("partial", size, np.float64)[:size].reshape(parts + 1, 3, width)
    run(kernel, parts, flat(x), *args, C, partial)
    return partial


@inline
def lines(part, parts, size, width):
    """This part's lines of x, and how many numbers follow them if it is the last part."""
    start, stop = part_range(part, parts, size // width)
    return start, stop, size % width if part == parts - 1 else 0


@inline
def repeat(table, C):
    """Column j of each row = column j % C."""
    for i in range(len(table)):
        for j in range(C, table.shape[1]):
            table[i, j] = table[i, j - C]


@inline
def _gather(sums, C, width):
    """sums[c] = the sum over the columns of channel c."""
    for first in range(C, width, C):
        for c in range(C):
            sums[c] += sums[first + c]


def statistic_sums(x: Array) -> Array:
    """(parts + 1, 3, width): of each part what `combine_statistics` takes."""
    return _sums(_part_statistics, x)


@kernel
def _part_statistics(part, parts, x, C, partial):
    """partial[part] = the mean of each channel of this part, the sum of squares about it."""
    width = partial.shape[2]
    start, stop, left = lines(part, parts, x.size, width)
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


@noinline
def _add_lines(px, start, stop, left, width, squared, means, sums):
    """sums[j] = the sum of x, or of (x - means[j])^2, over these lines."""
    n = lanes(sums)
    for j in range(width):
        sums[j] = 0.0
    for first in range(start, stop, LINES):
        last = min(first + LINES, stop)
        for j in range(0, width, n):
            _add_columns(px + j, first, last, width, squared, means + j, sums + j, width - j)
    for j in range(0, left, n):
        _add_columns(px + j, stop, stop + 1, width, squared, means + j, sums + j, left - j)


@inline
def _add_columns(px, first, last, width, squared, means, sums, left):
    """Of a vector of columns, `left` of them or all."""
    acc, mean = load_row(sums, 0, left), load_row(means, 0, left)
    for line in range(first, last):
        value = widen(load_as(px, line * width, left, acc))
        if squared:
            value = value - mean
            acc = fma(value, value, acc)
        else:
            acc = acc + value
    store_row(sums, 0, acc, left)


@inline
def combine_statistics(size, partial, mean, variance):
    """mean, variance (C,) of x, which has `size` items, from those of its parts."""
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
    start, stop, left = lines(part, parts, size, width)
    return ((stop - start) * width + left) // C


def gradient_sums(x: Array, dy: Array, mean: Array) -> Array:
    """(parts + 1, 3, width): of each part the sums of dy and of dy * (x - mean), to be added."""
    return _sums(_part_gradients, x, flat(dy), mean)


@inline
def add_parts(partial, sums, products):
    """The sums of all parts, in their order; `sums` and `products` have C items or more."""
    for c in range(sums.size):
        sums[c], products[c] = 0.0, 0.0
    for p in range(len(partial) - 1):
        for c in unsigned_range(0, sums.size):
            sums[c] += partial[p, 0, c]
            products[c] += partial[p, 1, c]


@kernel
def _part_gradients(part, parts, x, dy, mean, C, partial):
    """partial[part] = the sums over this part of dy, and of dy * (x - mean)."""
    width = partial.shape[2]
    start, stop, left = lines(part, parts, x.size, width)
    px, pdy, sums = pointer(x), pointer(dy), pointer(partial) + 3 * part * width
    products, means = sums + width, sums + 2 * width
    for c in range(C):
        means[c] = mean[c]
    for j in range(C, width):
        means[j] = means[j - C]
    n = lanes(sums)
    for j in range(width):
        sums[j], products[j] = 0.0, 0.0
    for first in range(start, stop, LINES):
        last = min(first + LINES, stop)
        for j in range(0, width, n):
            _add_gradients(px + j, pdy + j, first, last, width, sums + j, width - j)
    for j in range(0, left, n):
        _add_gradients(px + j, pdy + j, stop, stop + 1, width, sums + j, left - j)
    _gather(sums, C, width)
    _gather(products, C, width)


@inline
def _add_gradients(px, pdy, first, last, width, sums, left):
    acc, products = load_row(sums, 0, left), load_row(sums + width, 0, left)
    mean = load_row(sums + 2 * width, 0, left)
    for line in range(first, last):
        d = widen(load_as(pdy, line * width, left, acc))
        centred = widen(load_as(px, line * width, left, acc)) - mean
        acc, products = acc + d, fma(d, centred, products)
    store_row(sums, 0, acc, left)
    store_row(sums + width, 0, products, left)
