"""What is done with a finished sum before it is stored: add the bias, then ReLU, then 2x2 max-pool.

The sums of a tile are still in the first-level cache, so this costs no pass over memory.
"""

from typing import Any, NamedTuple

import numpy as np

from ....common.arrays import Array
from ....jit.inline import inline
from ....jit.scratch import zeros
from ....jit.simd import load, maximum, pointer, select, splat, store_row
from ....jit.simd_lanes import convert
from .source import NO_ARGMAX

NOT_POSITIVE = 4  # the argmax of a 2x2 pool none of whose sums is positive


class Epilogue(NamedTuple):
    """What is done with a finished sum: arrays as a kernel's argument, pointers inside the kernel.

    y            (N,OH,OW,F), or (N,OH//2,OW//2,F) with `pool`
    bias         (F,)
    argmax       cell 0 to 3 of each pool, or NOT_POSITIVE; stored only if `save_argmax`
    relu         whether y is max(sum + bias, 0); always with `pool`
    pool         whether y is the maximum of each 2x2 sums
    """

    y: Any
    bias: Any
    argmax: Any
    relu: bool
    pool: bool
    save_argmax: bool


def epilogue_of(y: Array, bias: Array | None = None, relu: bool = False) -> Epilogue:
    """y = sum + bias; `relu`: max(y, 0)."""
    bias = zeros(y.shape[-1], y.dtype) if bias is None else bias
    return Epilogue(y, bias, NO_ARGMAX, relu, False, False)


def pooling_epilogue(y: Array, bias: Array | None, argmax: Array | None) -> Epilogue:
    """y = max(0, maximum of 2x2 sums + bias), and its argmax unless that is None."""
    bias = zeros(y.shape[-1], y.dtype) if bias is None else bias
    if argmax is None:
        return Epilogue(y, bias, NO_ARGMAX, True, True, False)
    return Epilogue(y, bias, argmax.reshape(-1), True, True, True)


@inline
def epilogue_pointers(epilogue):
    """The epilogue with pointers instead of arrays."""
    y, bias, argmax = pointer(epilogue.y), pointer(epilogue.bias), pointer(epilogue.argmax)
    return Epilogue(y, bias, argmax, epilogue.relu, epilogue.pool, epilogue.save_argmax)


@inline
def write(out, at, sums, bias, left):
    """Store one vector of sums to y[at:], at most `left` items."""
    value = load(sums, 0) + bias
    store_row(out.y, at, relu(value) if out.relu else value, left)


@inline
def write_pooled(out, at, sums, right, down, bias, left):
    """Store the maximum of the vectors at sums[0], [right], [down], [down + right]; its argmax."""
    lower = sums + down
    four = load(sums, 0), load(sums, right), load(lower, 0), load(lower, right)
    best, cell = pool_four(*four)
    best = best + bias
    store_row(out.y, at, relu(best), left)
    if out.save_argmax:
        store_row(out.argmax, at, convert(positive_cell(best, cell), out.argmax), left)


@inline
def positive_cell(best, cell):
    """The argmax of a pool whose maximum is `best`."""
    return select(best > splat(best, 0), cell, splat(best, NOT_POSITIVE))


@inline
def relu(v):
    """max(v, 0); NaN stays NaN."""
    return maximum(splat(v, 0), v)


@inline
def pool_four(a, b, c, d):
    """The maximum of four vectors and its cell, 0 to 3, in each lane.

    Of equal values the first is taken; the maximum is NaN where a value is.
    """
    best, zero = maximum(maximum(a, b), maximum(c, d)), splat(a, 0)
    later = select(c == best, splat(a, 2), splat(a, 3))
    cell = select(a == best, zero, select(b == best, splat(a, 1), later))
    ordered = (a == a) & (b == b) & (c == c) & (d == d)
    return select(ordered, best, splat(a, np.nan)), cell
