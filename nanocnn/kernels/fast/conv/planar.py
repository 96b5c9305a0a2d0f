"""Convolution with lanes along pixels, for layers whose channels do not fill them.

What differs from the reference: the sample is split into planes, one channel after the other, so
that a register holds neighbouring pixels of one channel (planes.py). A tile of filters x 4 such
registers is summed over the window; an item of weight is broadcast. With a pool the four are the
cells of one vector of pools. The results of a band are transposed to NHWC at the end.
"""

from typing import Any

from ....common.arrays import Array
from ....jit.compile import kernel, part_range, variants
from ....jit.cpu import cpu
from ....jit.inline import inline, noinline
from ....jit.scratch import run
from ....jit.simd import (
    fma,
    lanes,
    load,
    pointer,
    rows,
    splat,
    store,
    tile,
)
from ...geometry import Window
from .epilogue import Epilogue, epilogue_pointers, pool_four, positive_cell, relu
from .pack import lanes_of, pack, padded_size, split_work
from .planar_dweight import weight_gradient
from .planes import CELLS, Planes, plane_table, planes_of, planes_size, split_planes, supports
from .source import PLAIN, Source, read_padded, source_pointers

__all__ = ["correlate", "is_faster", "supports", "weight_gradient"]

FILTERS = (
    (6, 5, 4, 3, 2, 1) if cpu.registers == 32 else (3, 2, 1)
)  # tiles; one is compiled for each in use
CACHE_BYTES = 24 * 1024  # results of a band: they stay in the first-level cache


def is_faster(window: Window, C: int, F: int) -> bool:
    """Whether this is faster than the direct kernel: measured; few filters leave lanes empty."""
    return supports(window) and F <= 8 and (C <= 3 or F <= 3)


def filters_per_tile(F: int) -> int:
    """The number of filters of a tile that leaves the fewest unused."""
    return min(FILTERS, key=lambda n: -(-F // n) * (n + 1))


def correlate(
    source: Source, weight: Array, window: Window, epilogue: Epilogue, transposed: bool = False
) -> None:
    """epilogue.y = the convolution of source.x (N,H,W,C), padded, with weight (KH,KW,C,F).

    `transposed`: dx from dy; weight is then transposed and `window` a `transposed_window`.
    """
    C, (N, rows, columns, F), pooled = source.x.shape[3], epilogue.y.shape, epilogue.pool
    K, n = window.KH * window.KW * C, filters_per_tile(F)
    blocks = -(-F // n)
    parts, strips = split_work(N, rows, window.OH * window.OW * K * F)
    row_bytes = columns * blocks * n * (1 + epilogue.save_argmax) * weight.itemsize
    most = max(1, min(CACHE_BYTES // row_bytes, -(-rows // strips)))
    planes = planes_of(window, pooled, most, lanes_of(weight.dtype) * (1 if pooled else CELLS))
    packed = pack(weight, transposed, n)
    result = blocks * n * planes.pixels
    buffers = {"padded": padded_size(window, C), "planes": planes_size(planes, C, pooled),
               "y": result, "cells": result * epilogue.save_argmax}  # fmt: skip
    table = plane_table(window, C, pooled, planes)
    run(planar_kernel(n), parts, buffers, source, packed, epilogue, table, window, tuple(planes))


@inline
def sum_planes(acc, x, table, K, w):
    """acc (filters, CELLS) = sum over k < K of w[k, filter] * x[table[k, cell]:]."""
    pixels, n = tile(1, CELLS, x), rows(acc)
    for i in range(n):
        for j in range(CELLS):
            acc[i, j] = splat(x, 0)
    for k in range(K):
        for j in range(CELLS):
            pixels[0, j] = load(x, table[k * CELLS + j])
        for i in range(n):
            a = splat(x, w[k * n + i])
            for j in range(CELLS):
                acc[i, j] = fma(a, pixels[0, j], acc[i, j])


@variants
def planar_kernel(FILTERS: int) -> Any:
    """The kernel whose register tile is FILTERS x CELLS."""

    @kernel
    def _planar(part, parts, buffers, source, weight, epilogue, table, window, planes):
        """Convolve this part's bands of samples; weight as in panels (K, FILTERS)."""
        source, epilogue, window = Source(*source), Epilogue(*epilogue), Window(*window)
        (N, rows, columns, F), C, planes = epilogue.y.shape, source.x.shape[3], Planes(*planes)
        padded, planar, result, cells = buffers
        b, px, y, argmax = pointer(padded), pointer(planar), pointer(result), pointer(cells)
        read, out, taps = source_pointers(source), epilogue_pointers(epilogue), pointer(table)
        K, n, each = table.size // CELLS, lanes(b), 1 + epilogue.pool
        WP, pixels = window.left + window.W + window.right, planes.pixels
        padding = window.top + window.bottom + window.left + window.right
        acc = tile(FILTERS, CELLS, b)
        begin, end = part_range(part, parts, N * planes.bands)
        for item in range(begin, end):
            sample, first = item // planes.bands, item % planes.bands * planes.rows
            high = min(planes.rows, rows - first)
            height = each * high + (window.KH - 1) * window.DH
            x = read.x + (sample * window.H + each * first) * window.W * C
            if read.mode > PLAIN or padding > 0:
                x = b
                read_padded(x, read, sample, each * first, height, window, C)
            split_planes(px, x, height, WP, C, planes.pitch, planes.size, out.pool)
            for f in range(0, F, FILTERS):
                w = pointer(weight) + f * K
                for p in range(0, high * planes.pitch, planes.step):
                    sum_planes(acc, px + p, taps, K, w)
                    for i in range(FILTERS):
                        bias = splat(b, out.bias[min(f + i, F - 1)])
                        to = (f + i) * pixels + p
                        if out.pool:
                            best, cell = pool_four(acc[i, 0], acc[i, 1], acc[i, 2], acc[i, 3])
                            best = best + bias
                            store(y, to, relu(best))
                            if out.save_argmax:
                                store(argmax, to, positive_cell(best, cell))
                        else:
                            for j in range(CELLS):
                                value = acc[i, j] + bias
                                store(y, to + j * n, relu(value) if out.relu else value)
            for row in range(high):
                at = ((sample * rows + first + row) * columns) * F
                write_row(out.y + at, y + row * planes.pitch, pixels, columns, F)
                if out.save_argmax:
                    write_row(out.argmax + at, argmax + row * planes.pitch, pixels, columns, F)

    return _planar


@noinline
def write_row(target, source, size, columns, F):
    """target (columns, F) = the transpose of source: F rows, `size` apart, of `columns` items."""
    for w in range(columns):
        for f in range(F):
            target[f] = source[f * size + w]
        target = target + F
