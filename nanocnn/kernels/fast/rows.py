"""Rows of numbers in vectors of WIDTH, whatever the width of a register.

The order of a sum, and with it the last bit, is then the same on every processor.
"""

from ...jit.inline import inline
from ...jit.simd import load, load_partial, select, splat, store, store_partial

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
def clip(p, epsilon):
    """p in [epsilon, 1 - epsilon]; NaN stays NaN."""
    high = splat(p, 1) - epsilon
    p = select(p < epsilon, epsilon, p)
    return select(p > high, high, p)
