"""The input gradient of a layer with ReLU and 2x2 max-pool, skipping zero gradients.

What differs from the reference: of the four gradients of a pool at most one is nonzero, and none if
the ReLU's output is 0. For each cell of a pool, the filters whose maximum is there are found as the
bits of a mask, and their windows of weights, times their gradients, are summed in registers; the
sum is added to the sample's dx, which stays in the first-level cache. Lanes run along a window's
row of KW*C items, contiguous in dx, so few channels fill them, too.

This skips 0 * inf and 0 * NaN, which are NaN. If weights or gradients are not finite, the direct
kernel computes the layer again.
"""

from typing import Any

import numpy as np

from ....common.arrays import Array
from ....jit import pool
from ....jit.capture import when
from ....jit.compile import kernel, part_range, variants
from ....jit.inline import inline
from ....jit.scratch import run, scratch
from ....jit.simd import (
    columns,
    fma,
    lanes,
    load,
    load_row,
    pointer,
    rows,
    splat,
    store,
    tile,
    total,
)
from ....jit.simd_lanes import bits, lowest_bit
from ...geometry import Window
from . import direct
from .epilogue import epilogue_of
from .pack import count_parts, padded_size, transposed_window
from .source import Source, argmax_row, copy, fill_zeros, source_pointers
from .window_rows import supports, window_tiles

__all__ = ["input_gradient", "is_faster", "supports"]


def is_faster(window: Window) -> bool:
    """Whether this is faster than the direct kernel."""
    return supports(window)


def input_gradient(dy: Source, weight: Array, window: Window, dx: Array) -> None:
    """dx (N,H,W,C) from dy (N,OH//2,OW//2,F), the argmax of the pool, and weight (KH,KW,C,F)."""
    N, *_, C = dx.shape
    F = weight.shape[3]
    tiles = window_tiles(window, C, dx.dtype)
    packed = scratch("weights", F * tiles.items, dx.dtype)
    packing = count_parts(F, 8 * tiles.items)
    parts = count_parts(N, window.OH * window.OW * weight.size // 8)
    flags = scratch("flags", packing + parts, np.intp)[: packing + parts]
    pool.run(_pack_windows, packing, weight, packed, flags[:packing], tuple(tiles))
    extra = (tiles.down * tiles.rows - window.KH) * (window.left + window.W + window.right) * C
    buffers = {"padded": padded_size(window, C) + extra + tiles.across * tiles.width}
    kernel = scatter_kernel(tiles.rows, tiles.vectors)
    given = window, tiles.down, tiles.across
    run(kernel, parts, buffers, dy, packed, dx, flags[packing:], *given)
    transposed = transposed_window(window)
    when(flags, direct.correlate, dy, weight, transposed, epilogue_of(dx), True)


@kernel
def _pack_windows(part, parts, weight, packed, flags, tiles):
    """packed (down, across, F, rows, width) = weight (KH,KW,C,F), with zeros behind its ends.

    flags[part] is 1 if a weight is not finite.
    """
    high, _, down, across, width = tiles
    (KH, KW, C, F), pw, to = weight.shape, pointer(weight), pointer(packed)
    first, last = part_range(part, parts, F)
    nonfinite = pw[0] - pw[0]
    for t in range(down * across):
        top, left = t // across * high, t % across * width
        for f in range(first, last):
            window = to + (t * F + f) * high * width
            for i in range(high):
                for k in range(width):
                    inside = (top + i < KH) & (left + k < KW * C)
                    w = pw[((top + i) * KW * C + left + k) * F + f] if inside else 0
                    window[i * width + k] = w
                    nonfinite += w - w
    flags[part] = nonfinite != 0


@inline
def add_windows(acc, found, dy, weight):
    """acc += for each bit f of `found`, dy[f] * weight[f]; weight (F, rows, width)."""
    n = lanes(weight)
    while found != 0:
        f = lowest_bit(found)
        found = found & (found - np.uint64(1))
        g, window = splat(weight, dy[f]), weight + f * (rows(acc) * columns(acc) * n)
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                acc[i, j] = fma(g, load(window, (i * columns(acc) + j) * n), acc[i, j])


@variants
def scatter_kernel(ROWS: int, VECTORS: int) -> Any:
    """The kernel whose register tile is ROWS x VECTORS."""

    @kernel
    def _scatter_dx(part, parts, buffers, dy, weight, dx, flags, window, down, across):
        """dx (N,H,W,C) of this part's samples; weight as `_pack_windows` packs it.

        flags[part] is 1 if a gradient is not finite.
        """
        dy, window = Source(*dy), Window(*window)
        (N, PH, PW, F), C, read = dy.x.shape, dx.shape[3], source_pointers(dy)
        b, n, pitch = (
            pointer(buffers[0]),
            lanes(read.x),
            (window.left + window.W + window.right) * C,
        )
        acc, size = tile(ROWS, VECTORS, b), (window.top + window.H + window.bottom) * pitch
        zero, nonfinite = splat(b, 0), splat(b, 0)
        begin, end = part_range(part, parts, N)
        for sample in range(begin, end):
            fill_zeros(b, size)
            for r in range(PH * PW):
                at = (sample * PH * PW + r) * F
                corner = b + 2 * (r // PW * pitch + r % PW * C)
                for f in range(0, F, n):
                    g = load_row(read.x, at + f, F - f)
                    nonfinite = nonfinite + (g - g)
                for q in range(4):
                    cell = corner + (q // 2 * pitch + q % 2 * C)
                    for t in range(down * across):
                        for i in range(ROWS):
                            for j in range(VECTORS):
                                acc[i, j] = zero
                        for f in range(0, F, n):
                            g = load_row(read.x, at + f, F - f)
                            argmax = argmax_row(read.argmax, at + f, F - f, zero)
                            found = bits((argmax == splat(argmax, q)) & (g != zero))
                            w = pointer(weight) + (t * F + f) * ROWS * VECTORS * n
                            add_windows(acc, found, read.x + (at + f), w)
                        to = cell + (t // across * ROWS * pitch + t % across * VECTORS * n)
                        for i in range(ROWS):
                            for j in range(VECTORS):
                                place = i * pitch + j * n
                                store(to, place, load(to, place) + acc[i, j])
            for h in range(window.H):
                to = pointer(dx) + (sample * window.H + h) * window.W * C
                copy(to, b + ((window.top + h) * pitch + window.left * C), window.W * C)
        flags[part] = total(nonfinite) != 0

    return _scatter_dx
