"""Sums of squares of all parameters or gradients: clipping by norm, and L2 penalties.

Each part of a pass adds the squares of its items in float64, row by row, in vectors of WIDTH; a
second kernel adds these sums in their order. The parts depend on the sizes alone, so the bits do
not depend on the threads.
"""

from collections.abc import Sequence

import numpy as np

from ...jit.compile import kernel
from ...jit.pool import run
from ...jit.scratch import scratch
from ...jit.simd import fma, lanes, load_row, pointer, splat, store_row, total
from ...jit.simd_lanes import widen
from .addresses import address_table, item_range, row_pointers, row_range
from .optimizers import CLIPNORM, NUMBERS
from .outputs import Array, check_arrays, result
from .rows import WIDTH, load_wide, zeros


def clip_scales(grads: Sequence[Array], numbers: Array, together: bool, scales: Array) -> None:
    """scales[i] = clipnorm / max(norm, clipnorm): what brings each gradient's norm, or that of all
    gradients `together`, to at most `clipnorm`, which is in `numbers`.
    """
    check_arrays((NUMBERS,), np.float64, numbers=numbers)
    result(scales, (len(grads),), np.float64)
    if len(grads) > 0:
        table, squares, parts = _squares_of(grads)
        run(_clip_scales, 1, table, squares, parts, numbers, together, scales)


@kernel
def _clip_scales(part, parts, table, squares, pieces, numbers, together, scales):
    scales[:] = 0
    for piece in range(pieces):
        first, last = row_range(piece, pieces, table)
        for row in range(first, last):
            scales[row] += squares[piece + row]
    if together:
        for row in range(1, len(scales)):
            scales[0] += scales[row]
        scales[1:] = scales[0]
    limit = numbers[CLIPNORM]
    for row in range(len(scales)):
        norm = np.sqrt(scales[row])
        scales[row] = limit / (limit if norm < limit else norm)  # NaN stays NaN


def l2_penalty(params: Sequence[Array], factors: Array, out: Array | None = None) -> Array:
    """The sum of factors[i] * sum(params[i]^2): float64 (1,). factors (n,), float64."""
    out = result(out, (1,), np.float64)
    check_arrays((len(params),), np.float64, factors=factors)
    if len(params) > 0:
        table, squares, parts = _squares_of(params)
        run(_l2_penalty, 1, table, squares, parts, factors, out)
    else:
        out[0] = 0
    return out


@kernel
def _l2_penalty(part, parts, table, squares, pieces, factors, out):
    out[0] = 0
    for piece in range(pieces):
        first, last = row_range(piece, pieces, table)
        for row in range(first, last):
            out[0] += factors[row] * squares[piece + row]


def l2_gradient(params: Sequence[Array], grads: Sequence[Array], factors: Array) -> None:
    """grads[i] += 2 * factors[i] * params[i] (in place). factors (n,), float64."""
    check_arrays((len(params),), np.float64, factors=factors)
    if len(params) > 0:
        table, parts = address_table({"params": params, "grads": grads}, ["grads"])
        run(_l2_gradient, parts, table, params[0].reshape(-1), factors)


@kernel
def _l2_gradient(part, parts, table, like, factors):
    p = pointer(like)
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, grad, _, _, _ = row_pointers(p, table, row)
        factor = splat(p, 2 * factors[row])
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(p)):
            left = stop - i
            store_row(grad, i, fma(load_row(param, i, left), factor, load_row(grad, i, left)), left)


def _squares_of(arrays: Sequence[Array]) -> tuple[Array, Array, int]:
    """The table, the sums of squares and the number of parts: see `_squares`."""
    table, parts = address_table({"arrays": arrays})
    squares = scratch("squares", len(arrays) + parts, np.float64)
    run(_squares, parts, table, arrays[0].reshape(-1), squares)
    return table, squares, parts


@kernel
def _squares(part, parts, table, like, squares):
    # squares[part + row] is the sum of this part's squares of a row. Each pair of part and row has
    # its own place, because a part begins with the last row of the part before it, or a later one.
    p = pointer(like)
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        x, _, _, _, _ = row_pointers(p, table, row)
        acc = widen(zeros(p))
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, WIDTH):
            v = widen(load_wide(x, i, stop - i))
            acc = fma(v, v, acc)
        squares[part + row] = total(acc)
