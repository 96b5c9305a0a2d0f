"""The weight gradient with lanes along pixels, for layers whose channels do not fill them.

For a layer with ReLU and 2x2 max-pool. What differs from the reference: x is split into planes,
and dy into four planes for each filter, one for each cell of the pools (planes.py). A sum over
pixels is kept as WIDTH sums, of every WIDTH-th pixel, and a tile of taps x filters of them in
registers. Where a register has fewer lanes, the pixels are read several times, for some of the
WIDTH sums each time.

An item between two rows of outputs is multiplied by a zero. If x is not finite, the direct kernel
computes the layer again.
"""

from typing import Any

import numpy as np

from ....common.arrays import Array
from ....jit.capture import when
from ....jit.compile import kernel, part_range, variants
from ....jit.cpu import cpu
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
    splat,
    store,
    tile,
    total,
)
from ...geometry import Window
from ..rows import WIDTH
from . import direct
from .pack import count_partials, padded_size, sum_partials
from .planes import CELLS, Planes, plane_table, planes_of, planes_size, split_planes
from .source import Source, fill_zeros, plain_source, read_padded, source_pointers

# The register tiles (taps, filters); one is compiled for each in use
TILES = ((5, 5), (5, 3), (3, 8), (3, 5)) if cpu.registers == 32 else ((5, 2), (3, 3))
CACHE_BYTES = 128 * 1024  # planes of dy per band: they stay in the second-level cache


def gradient_tile(K: int, F: int) -> tuple[int, int]:
    """The register tile that takes the fewest instructions."""

    def cost(tile: tuple[int, int]) -> int:
        taps, filters = tile
        return -(-K // taps) * -(-F // filters) * (taps * filters + taps + filters)

    return min(TILES, key=cost)


def weight_gradient(dy: Source, x: Array, window: Window, dweight: Array, dbias: Array) -> None:
    """dweight (KH,KW,C,F) and dbias (F,) from dy (N,OH//2,OW//2,F) and the argmax of the pool."""
    (N, _, columns, F), C = dy.x.shape, x.shape[3]
    K = window.KH * window.KW * C
    taps, filters = gradient_tile(K, F)
    width = -(-F // filters) * filters
    row_bytes = (CELLS + 1) * F * columns * x.itemsize
    planes = planes_of(window, True, max(1, CACHE_BYTES // row_bytes), WIDTH)
    parts = count_partials(N, window.OH * window.OW * K * F, K * F)
    size = (-(-K // taps) * taps + 1) * width
    sums = scratch("dweights", parts * (K + 1) * F, x.dtype)
    flags = scratch("flags", parts, np.intp)[:parts]
    buffers = {"padded": padded_size(window, C), "planes": planes_size(planes, C, True),
               "gradients": (CELLS + 1) * width * planes.pixels,
               "sums": size * WIDTH}  # fmt: skip
    table = plane_table(window, C, True, planes)
    given = window, tuple(planes)
    run(dweight_kernel(taps, filters), parts, buffers, dy, x, sums, flags, table, *given)
    sum_partials(sums, parts, dweight, dbias)
    when(flags, direct.weight_gradient, dy, x, window, dweight, dbias)


@noinline
def scatter_gradients(target, dy, argmax, high, columns, F, pitch, size):
    """target (F, CELLS + 1, size) = planes of dy (high, columns, F) for each cell of the pools.

    The last plane receives what is 0 for the ReLU.
    """
    step = (CELLS + 1) * size
    for f in range(F):
        fill_zeros(target + f * step, CELLS * size)
    for row in range(high):
        for column in range(columns):
            to = target + (row * pitch + column)
            for f in range(F):
                to[argmax[f] * size] = dy[f]
                to = to + step
            dy, argmax = dy + F, argmax + F


@inline
def add_pixels(acc, g, x, at, dy, step, size):
    """acc (taps, filters) += x[at[tap] + p] * dy[filter * step + p] for every WIDTH-th p < size.

    g: registers for a row.
    """
    for p in range(0, size, WIDTH):
        for j in range(columns(acc)):
            g[0, j] = load(dy, p + j * step)
        for i in range(rows(acc)):
            a = load(x, at[i] + p)
            for j in range(columns(acc)):
                acc[i, j] = fma(a, g[0, j], acc[i, j])


@variants
def dweight_kernel(TAPS: int, FILTERS: int) -> Any:
    """The kernel whose register tile is TAPS x FILTERS."""

    @kernel
    def _planar_dweight(part, parts, buffers, dy, x, sums, flags, table, window, planes):
        """sums[part] (K + 1, F): dweight and dbias, over this part's samples.

        flags[part] is 1 if x is not finite.
        """
        dy, window, planes = Source(*dy), Window(*window), Planes(*planes)
        (N, height, wide, F), C, K = dy.x.shape, x.shape[3], table.size // CELLS
        padded, planar, gradients, vectors = buffers
        b, px, pd, mine = pointer(padded), pointer(planar), pointer(gradients), pointer(vectors)
        read, taps, n, pixels = source_pointers(dy), pointer(table), lanes(b), planes.pixels
        width = (F + FILTERS - 1) // FILTERS * FILTERS
        size = (K + TAPS - 1) // TAPS * TAPS * width
        WP = window.left + window.W + window.right
        fill_zeros(mine, (size + width) * WIDTH)
        fill_zeros(px, planar.size)
        acc, row, at = tile(TAPS, FILTERS, b), tile(1, FILTERS, b), indices(TAPS)
        nonfinite = splat(b, 0)
        begin, end = part_range(part, parts, N * planes.bands)
        for item in range(begin, end):
            sample, first = item // planes.bands, item % planes.bands * planes.rows
            high = min(planes.rows, height - first)
            down = 2 * high + (window.KH - 1) * window.DH
            read_padded(b, plain_source(pointer(x)), sample, 2 * first, down, window, C)
            for i in range(0, down * WP * C, n):
                v = load_row(b, i, down * WP * C - i)
                nonfinite = nonfinite + (v - v)
            split_planes(px, b, down, WP, C, planes.pitch, planes.size, True)
            start = (sample * height + first) * wide * F
            given = high, wide, F, planes.pitch, pixels
            scatter_gradients(pd, read.x + start, read.argmax + start, *given)
            to = mine
            for f in range(0, width, FILTERS):
                for k in range(0, K, TAPS):
                    for lane in range(0, WIDTH, n):
                        for i in range(TAPS):
                            for j in range(FILTERS):
                                acc[i, j] = load(to, (i * FILTERS + j) * WIDTH + lane)
                        for q in range(CELLS):
                            for i in range(TAPS):
                                at[i] = taps[min(k + i, K - 1) * CELLS + q]
                            g = pd + ((f * (CELLS + 1) + q) * pixels + lane)
                            add_pixels(acc, row, px + lane, at, g, (CELLS + 1) * pixels, pixels)
                        for i in range(TAPS):
                            for j in range(FILTERS):
                                store(to, (i * FILTERS + j) * WIDTH + lane, acc[i, j])
                    to = to + TAPS * FILTERS * WIDTH
            for f in range(F):
                value, g = load(to, f * WIDTH, WIDTH), pd + f * (CELLS + 1) * pixels
                for p in range(0, CELLS * pixels, WIDTH):
                    value = value + load(g, p, WIDTH)
                store(to, f * WIDTH, value)
        to = pointer(sums) + part * (K + 1) * F
        for f in range(0, width, FILTERS):
            for k in range(0, K, TAPS):
                for i in range(min(TAPS, K - k)):
                    for j in range(min(FILTERS, F - f)):
                        place = to + ((k + i) * F + f + j)
                        place[0] = total(load(mine, (i * FILTERS + j) * WIDTH, WIDTH))
                mine = mine + TAPS * FILTERS * WIDTH
        for f in range(F):
            to[K * F + f] = total(load(mine, f * WIDTH, WIDTH))
        flags[part] = total(nonfinite) != 0

    return _planar_dweight
