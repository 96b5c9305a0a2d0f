"""Planes: one channel of a padded sample after the other, so that lanes can run along pixels.

Output pixels are numbered row by row as the planes are, `pitch` apart, so that a vector of
neighbours may reach into the next row: an image needs no whole number of vectors per row. The
numbers between two rows of outputs are computed and ignored.

For a 2x2 pool each channel has four planes, of the even and odd rows and columns. The pixels of one
cell of all pools are then neighbours, and the pool is a maximum of four vectors:

    a row of x        0 1 2 3 4 5 6 7          planes   0 2 4 6   1 3 5 7
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ....common.arrays import Array
from ....jit.inline import noinline
from ....jit.simd import lanes, load_row, store_row
from ....jit.simd_lanes import every_second
from ...geometry import Window

CELLS = 4  # vectors of pixels per tile: those of a pool's cells, or neighbours


class Planes(NamedTuple):
    """The planes of a band of output rows (pooled ones, for a pool).

    bands, rows  a sample is computed in `bands` of at most `rows` output rows
    pitch, size  items from one row of a plane to the next, and of a plane
    step         pixels of a tile: CELLS vectors of them, or the CELLS of a vector of pools
    pixels       of a band, rounded up to whole tiles
    """

    bands: int
    rows: int
    pitch: int
    size: int
    step: int
    pixels: int


def supports(window: Window) -> bool:
    """Whether a window moves by one pixel."""
    return (window.SH, window.SW) == (1, 1)


def planes_of(window: Window, pool: bool, rows: int, step: int) -> Planes:
    """The planes for bands of at most `rows` output rows, and tiles of `step` pixels."""
    cells = 1 + pool
    total = window.OH // cells
    bands = -(-total // rows)
    rows = -(-total // bands)
    pitch = -(-(window.left + window.W + window.right) // cells)
    high = cells * rows + (window.KH - 1) * window.DH
    pixels = -(-rows * pitch // step) * step
    return Planes(bands, rows, pitch, -(-high // cells) * pitch, step, pixels)


def planes_size(planes: Planes, C: int, pool: bool) -> int:
    """The number of items of all planes, and behind them as many as a tile may read."""
    return planes.size * C * (CELLS if pool else 1) + planes.step + planes.pitch


@lru_cache(maxsize=256)
def plane_table(window: Window, C: int, pool: bool, planes: Planes) -> Array:
    """The offset of weight (kh,kw,c) from pixel 0 for each of a tile's vectors: (K*CELLS,)."""
    kh, kw, c, q = np.ogrid[: window.KH, : window.KW, :C, :CELLS]
    if pool:
        h, w = kh * window.DH + q // 2, kw * window.DW + q % 2
        plane = (c * 2 + h % 2) * 2 + w % 2
        table = plane * planes.size + h // 2 * planes.pitch + w // 2
    else:
        place = kh * window.DH * planes.pitch + kw * window.DW
        table = c * planes.size + place + q * (planes.step // CELLS)
    return np.ravel(table).astype(np.intp)


@noinline
def split_planes(target, source, rows, width, C, pitch, size, pool):
    """target (C, planes, size) = rows of source (rows, width*C), in planes; see above."""
    n = lanes(target)
    for i in range(rows):
        row = source + i * width * C
        if not pool:
            to = target + i * pitch
            if C == 1:
                for j in range(0, width, n):
                    store_row(to, j, load_row(row, j, width - j), width - j)
            else:
                for c in range(C):
                    for w in range(width):
                        to[c * size + w] = row[w * C + c]
        else:
            to = target + (i % 2 * 2 * size + i // 2 * pitch)
            if C == 1:
                for j in range(0, (width + 1) // 2, n):
                    a = load_row(row, 2 * j, width - 2 * j)
                    b = load_row(row, 2 * j + n, width - 2 * j - n)
                    store_row(to, j, every_second(a, b, 0), (width + 1) // 2 - j)
                    store_row(to + size, j, every_second(a, b, 1), width // 2 - j)
            else:
                for c in range(C):
                    for w in range(width):
                        to[(c * 4 + w % 2) * size + w // 2] = row[w * C + c]
