"""Vectors at the end of a row, where fewer items are left than a register holds."""

from .inline import inline
from .simd import lanes, load, load_partial, store, store_partial


@inline
def load_row(p, i, count):
    """The vector at p[i], of which only `count` items may be read; the others are 0."""
    return load(p, i) if count >= lanes(p) else load_partial(p, i, max(count, 0))


@inline
def store_row(p, i, vector, count):
    """Write the vector to p[i], at most `count` items of it."""
    if count >= lanes(vector):
        store(p, i, vector)
    elif count > 0:
        store_partial(p, i, vector, count)
