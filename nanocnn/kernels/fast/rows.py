"""Rows of numbers in vectors of WIDTH, whatever the width of a register.

The order of a sum, and with it the last bit, is then the same on every processor.
"""

import numpy as np

from ...jit.inline import inline, noinline
from ...jit.simd import (
    lanes,
    load,
    load_partial,
    maximum,
    select,
    splat,
    store,
    store_partial,
    total,
)
from ...jit.simd_lanes import head, highest, widen

WIDTH = 16


@inline
def zeros(p):
    """A vector of zeros."""
    return load_partial(p, 0, 0, WIDTH)


@inline
def load_wide(p, i, left):
    """The vector at p[i], of which `left` numbers, more than 0, belong to the row; then zeros."""
    return load(p, i, WIDTH) if left >= WIDTH else load_partial(p, i, left, WIDTH)


@inline
def store_wide(p, i, vector, left):
    """Write the `left` numbers that belong to the row."""
    if left >= WIDTH:
        store(p, i, vector)
    else:
        store_partial(p, i, vector, left)


@inline
def load_as(p, i, left, vector):
    """The vector at p[i] with as many lanes as `vector`, a register of its type; see `load_row`."""
    return load(p, i, vector) if left >= lanes(vector) else load_partial(p, i, left, vector)


@inline
def row_total(x, K):
    """The sum of the K numbers at x, in float64."""
    acc = widen(zeros(x))
    for k in range(0, K, WIDTH):
        acc = acc + widen(load_wide(x, k, K - k))
    return total(acc)


@noinline
def row_argmax(x, K):
    """Where the first maximum of the K numbers at x is; NaN counts as the maximum."""
    zero, lowest = zeros(x), splat(zeros(x), -np.inf)
    top, nans, at = lowest, zero, 0
    for k in range(0, K, WIDTH):
        value = head(load_wide(x, k, K - k), K - k, lowest)
        top = maximum(value, top)  # not of NaN
        nans = select(value != value, splat(zero, 1), nans)
    if highest(nans) > 0:
        while x[at] == x[at]:
            at += 1
    else:
        best = highest(top)
        while x[at] != best:
            at += 1
    return at


@inline
def clip(p, epsilon):
    """p in [epsilon, 1 - epsilon]; NaN stays NaN."""
    high = splat(p, 1) - epsilon
    p = select(p < epsilon, epsilon, p)
    return select(p > high, high, p)
