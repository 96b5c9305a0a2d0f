"""What is done with a finished sum on its way to memory: bias, ReLU, 2x2 max-pool."""

from typing import Any, NamedTuple

from ....common.arrays import Array
from ....jit.inline import inline
from ....jit.scratch import scratch
from ....jit.simd import convert, load, maximum, pointer, select, splat, store_row
from .source import NO_ARGMAX

NOT_POSITIVE = 4  # the argmax of a 2x2 window behind a ReLU in which nothing was positive


class Epilogue(NamedTuple):
    """What is done with a finished sum: arrays for a kernel, and inside it the pointers to them.

    pool  the maximum of each 2x2 sums is written, always rectified
    keep  which of the four it was is written to argmax, or NOT_POSITIVE
    """

    y: Any
    bias: Any
    argmax: Any
    relu: bool
    pool: bool
    keep: bool


def epilogue_of(y: Array, bias: Array | None = None, relu: bool = False) -> Epilogue:
    """y = sum + bias, rectified if `relu`."""
    bias = scratch("zeros", y.shape[-1], y.dtype) if bias is None else bias
    return Epilogue(y, bias, NO_ARGMAX, relu, False, False)


def pooling_epilogue(y: Array, bias: Array | None, argmax: Array | None) -> Epilogue:
    """y = max(0, the largest of 2x2 sums + bias), and which it was."""
    bias = scratch("zeros", y.shape[-1], y.dtype) if bias is None else bias
    if argmax is None:
        return Epilogue(y, bias, NO_ARGMAX, True, True, False)
    return Epilogue(y, bias, argmax.reshape(-1), True, True, True)


@inline
def pointers_to(epilogue):
    """The same epilogue, of pointers."""
    y, bias, argmax = pointer(epilogue.y), pointer(epilogue.bias), pointer(epilogue.argmax)
    return Epilogue(y, bias, argmax, epilogue.relu, epilogue.pool, epilogue.keep)


@inline
def write(out, at, sums, bias, left):
    """A vector of sums to y[at], at most `left` items."""
    value = load(sums, 0) + bias
    store_row(out.y, at, relu(value) if out.relu else value, left)


@inline
def write_pooled(out, at, sums, right, down, bias, left):
    """The same of four vectors, as in `pool_four`: the largest, rectified, and which it was."""
    best, cell = pool_four(sums, right, down)
    best = best + bias
    store_row(out.y, at, relu(best), left)
    if out.keep:
        cell = select(best > splat(best, 0), cell, splat(best, NOT_POSITIVE))
        store_row(out.argmax, at, convert(cell, out.argmax), left)


@inline
def relu(v):
    """max(v, 0); NaN stays NaN."""
    return maximum(splat(v, 0), v)


@inline
def pool_four(p, right, down):
    """The maximum of p[0], p[right], p[down], p[down + right] (vectors) and which it was: 0 to 3.

    The first of equals is taken; a NaN beats every number and is beaten by nothing.
    """
    best, cell = load(p, 0), splat(p, 0)
    for q in range(1, 4):
        value = load(p, q % 2 * right + q // 2 * down)
        wins = ((value > best) | (value != value)) & (best == best)
        best, cell = select(wins, value, best), select(wins, splat(p, q), cell)
    return best, cell
