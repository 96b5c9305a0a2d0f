"""The weight gradient of a layer with ReLU and 2x2 max-pool, skipping zero gradients.

What differs from the reference: of the four gradients of a pool at most one is nonzero, and none if
the ReLU's output is 0. The offsets and values of the nonzero gradients are listed for each filter,
and the windows of x at these offsets are summed, weighted by the values: a quarter of the
multiplications or less. Lanes run along a window's row of KW*C items, contiguous in x, and the sums
over all offsets stay in registers, several rows at a time.

This skips 0 * inf and 0 * NaN, which are NaN. If x is not finite, the direct kernel computes the
layer again.
"""

from typing import Any

import numpy as np

from ....common.arrays import Array
from ....jit.capture import when
from ....jit.compile import kernel, part_range, variants
from ....jit.inline import inline, noinline
from ....jit.scratch import run, scratch
from ....jit.simd import (
    columns,
    fma,
    indices,
    lanes,
    load,
    load_row,
    pointer,
    rows,
    select,
    splat,
    store,
    tile,
    total,
)
from ...geometry import Window
from . import direct
from .epilogue import NOT_POSITIVE
from .pack import count_partials, padded_size, sum_partials
from .source import Source, fill_zeros, plain_source, read_padded, source_pointers
from .window_rows import supports, window_tiles

__all__ = ["is_faster", "supports", "weight_gradient"]

CACHE_BYTES = 24 * 1024  # bytes of x per band: they stay in the first-level cache


def is_faster(window: Window, C: int) -> bool:
    """Whether this is faster than the direct kernel."""
    return supports(window) and window.KW * C >= 12


def band_rows(window: Window, C: int, dtype: Any) -> int:
    """The rows of pools per band, so that a band's rows of x stay in the first-level cache."""
    pitch = (window.left + window.W + window.right) * C * np.dtype(dtype).itemsize
    most = max(1, (CACHE_BYTES // pitch - window.KH + 1) // 2)
    PH = window.OH // 2
    return -(-PH // -(-PH // most))


@noinline
def list_maxima(dy, argmax, R, F, window, C, where, value, counts, dbias):
    """List the nonzero gradients of dy (R, F) for each filter, and add their sum to dbias (F,).

    where, value (F, R): offset of the window of x, and the gradient; counts (F,): how many.
    """
    PW, pitch = window.OW // 2, (window.left + window.W + window.right) * C
    for f in range(F):
        counts[f] = 0
    for r in range(R):
        start = 2 * (r // PW) * pitch + 2 * (r % PW) * C
        for f in range(F):
            q, g, at = argmax[f], dy[f], f * R + counts[f]
            where[at] = start + (q >> 1) * pitch + (q & 1) * C
            value[at] = g
            counts[f] = counts[f] + ((q != NOT_POSITIVE) & (g != 0))
        zero = splat(dy, 0)
        for f in range(0, F - F % lanes(dy), lanes(dy)):
            cell = load(argmax, f, zero)
            counted = select(cell == splat(cell, NOT_POSITIVE), zero, load(dy, f))
            store(dbias, f, load(dbias, f) + counted)
        for f in range(F - F % lanes(dy), F):
            dbias[f] = dbias[f] + (dy[f] if argmax[f] != NOT_POSITIVE else 0)
        dy, argmax = dy + F, argmax + F


@inline
def add_windows(acc, x, pitch, where, value, count):
    """acc = sum over e < count of value[e] * x[where[e]:], rows of x are `pitch` apart."""
    at, n = indices(acc), lanes(x)
    for i in range(rows(acc)):
        at[i] = i * pitch
        for j in range(columns(acc)):
            acc[i, j] = splat(x, 0)
    for e in range(count):
        source, g = x + where[e], splat(x, value[e])
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                acc[i, j] = fma(g, load(source, at[i] + j * n), acc[i, j])


@variants
def weight_kernel(ROWS: int, VECTORS: int) -> Any:
    """The kernel whose register tile is ROWS x VECTORS."""

    @kernel
    def _sparse(part, parts, buffers, dy, x, sums, flags, window, band, tiles):
        """sums[part] (KH*KW*C + 1, F): dweight and dbias, over this part's samples.

        flags[part] is 1 if x is not finite.
        """
        dy, window = Source(*dy), Window(*window)
        (N, PH, PW, F), C, gradient, px = dy.x.shape, x.shape[3], source_pointers(dy), pointer(x)
        padded, value, where, counts, tiled = buffers
        pb, pv, pw, pc = pointer(padded), pointer(value), pointer(where), pointer(counts)
        pitch, width = (window.left + window.W + window.right) * C, VECTORS * lanes(px)
        acc, (down, across), row = tile(ROWS, VECTORS, px), tiles, window.KW * C
        mine, size = pointer(tiled), down * across * ROWS * width  # (F, tiles, ROWS, width)
        to = pointer(sums) + part * (window.KH * row + 1) * F
        dbias = to + window.KH * row * F
        fill_zeros(mine, F * size)
        fill_zeros(dbias, F)
        nonfinite = splat(px, 0)
        bands = (PH + band - 1) // band
        begin, end = part_range(part, parts, N * bands)
        for item in range(begin, end):
            sample, first = item // bands, item % bands * band
            high = min(band, PH - first)
            height, R = 2 * high + window.KH - 1, high * PW
            read_padded(pb, plain_source(px), sample, 2 * first, height, window, C)
            for i in range(0, height * pitch, lanes(px)):
                v = load_row(pb, i, height * pitch - i)
                nonfinite = nonfinite + (v - v)
            at = (sample * PH + first) * PW * F
            list_maxima(gradient.x + at, gradient.argmax + at, R, F, window, C, pw, pv, pc, dbias)
            dw = mine
            for f in range(F):
                for t in range(down * across):
                    source = pb + (t // across * ROWS * pitch + t % across * width)
                    add_windows(acc, source, pitch, pw + f * R, pv + f * R, pc[f])
                    for i in range(ROWS):
                        for j in range(VECTORS):
                            place = i * width + j * lanes(px)
                            store(dw, place, load(dw, place) + acc[i, j])
                    dw = dw + ROWS * width
        dw = mine
        for f in range(F):
            for t in range(down * across):
                top, left = t // across * ROWS, t % across * width
                for i in range(ROWS):
                    start = to + ((top + i) * row + left) * F + f
                    for k in range(min(width, row - left) if top + i < window.KH else 0):
                        start[k * F] = dw[k]
                    dw = dw + width
        flags[part] = total(nonfinite) != 0

    return _sparse


def weight_gradient(dy: Source, x: Array, window: Window, dweight: Array, dbias: Array) -> None:
    """dweight (KH,KW,C,F) and dbias (F,) from dy (N,OH//2,OW//2,F) and the argmax of the pool."""
    (N, PH, PW, F), C = dy.x.shape, x.shape[3]
    tiles, R = window_tiles(window, C, x.dtype), PH * PW
    pitch = (window.left + window.W + window.right) * C
    parts = count_partials(N, R * dweight.size, dweight.size)
    sums = scratch("dweights", parts * (dweight.size + F), x.dtype)
    flags = scratch("flags", parts, np.intp)[:parts]
    beyond = (tiles.down * tiles.rows - window.KH) * pitch + tiles.across * tiles.width
    run(
        weight_kernel(tiles.rows, tiles.vectors), parts,
        {"padded": padded_size(window, C) + beyond, "value": F * R, "where": F * R, "counts": F,
         "sums": F * tiles.items},
        dy, x, sums, flags, window, band_rows(window, C, x.dtype), (tiles.down, tiles.across),
    )  # fmt: skip
    sum_partials(sums, parts, dweight, dbias)
    when(flags, direct.weight_gradient, dy, x, window, dweight, dbias)
