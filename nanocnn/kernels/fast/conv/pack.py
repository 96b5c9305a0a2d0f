"""What is prepared before a kernel runs: tables of offsets, packed weights, the split into parts.

Weights (K, F) are packed into panels (K, width): the filters that one register tile computes, in
the order in which the microkernel reads them, padded with zeros to whole vectors.
"""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from ....common.arrays import Array
from ....jit import pool
from ....jit.compile import kernel, part_range
from ....jit.inline import inline
from ....jit.scratch import scratch
from ....jit.simd import lanes, load, load_row, pointer, store, store_row
from ....jit.simd_types import lane_count
from ...geometry import Window
from .microkernel import panel_width

MAX_PARTS = 16  # small enough parts that one delayed thread does not delay the others by much
MAX_PARTIALS = 8  # the same for parts that each have many partial sums to be added up
PARTIAL_ITEMS = 1 << 18  # partial sums that are always worth the memory
MAX_THREADS = 64  # that share a layer without one of them waiting long for another
PART_WORK = 1 << 17  # multiply-adds, about a microsecond


def split_work(N: int, rows: int, work: float) -> tuple[int, int]:
    """Split N samples of `rows` output rows and `work` multiply-adds each into parts.

    Returns the number of parts, and of strips per sample: 1 unless there are few samples. Each
    output is summed within one part, so its bits do not depend on how many there are.
    """
    parts = count_parts(N * rows, work / rows)
    strips = min(rows, -(-parts // max(N, 1)))
    return max(1, min(parts, N * strips)), strips


def count_partials(N: int, work: float, size: int) -> int:
    """The number of parts of N samples, of `work` multiply-adds each, with `size` partial sums.

    Fewer where adding up the partial sums would take long.
    """
    return max(1, min(count_parts(N, work / 2), max(MAX_PARTIALS, PARTIAL_ITEMS // size)))


def count_parts(items: int, work: float) -> int:
    """The number of parts of `items`, of `work` multiply-adds each, none of which spans two parts.

    It depends on the shape only: enough parts for many threads, each worth handing over.
    """
    return max(1, min(items, MAX_THREADS, int(items * work / PART_WORK)))


def padded_size(window: Window, C: int) -> int:
    """The number of items of one padded sample."""
    return (window.H + window.top + window.bottom) * (window.W + window.left + window.right) * C


@lru_cache(maxsize=256)
def tap_table(window: Window, C: int) -> Array:
    """The offset of weight (kh,kw,c) from the first item of its window: (KH*KW*C,)."""
    WP = window.W + window.left + window.right
    kh, kw, c = np.ogrid[: window.KH, : window.KW, :C]
    return np.ravel((kh * window.DH * WP + kw * window.DW) * C + c).astype(np.intp)


@lru_cache(maxsize=256)
def pixel_table(window: Window, C: int, pool: bool = False) -> Array:
    """The offset of each output pixel's window in a padded sample, in row-major order: (OH*OW,).

    With `pool` the four pixels of each 2x2 pool come together: (OH//2 * OW//2 * 4,).
    """
    WP = window.W + window.left + window.right
    oh, ow = np.ogrid[: window.OH, : window.OW]
    table = (oh * window.SH * WP + ow * window.SW) * C
    if pool:
        PH, PW = window.OH // 2, window.OW // 2
        table = table[: 2 * PH, : 2 * PW].reshape(PH, 2, PW, 2).transpose(0, 2, 1, 3)
    return np.ravel(table).astype(np.intp)


def transposed_window(window: Window) -> Window:
    """The window that slides over dy (N,OH,OW,F) to compute dx (N,H,W,C), for strides 1."""
    reach_h, reach_w = (window.KH - 1) * window.DH, (window.KW - 1) * window.DW
    return Window(
        window.OH,
        window.OW,
        window.KH,
        window.KW,
        1,
        1,
        window.DH,
        window.DW,
        reach_h - window.top,
        reach_h - window.bottom,
        reach_w - window.left,
        reach_w - window.right,
        window.H,
        window.W,
    )


def lanes_of(dtype: Any) -> int:
    """The number of items of a NumPy dtype in a vector register."""
    return lane_count(numba.from_dtype(np.dtype(dtype)))


@lru_cache(maxsize=256)
def panels(F: int, dtype: Any) -> tuple[tuple[int, int], ...]:
    """The panels of F filters as (first filter, width); the widths are those of `panel_width`."""
    n = lanes_of(dtype)
    vectors, done, all_panels = -(-F // n), 0, []
    while done < vectors:
        width = panel_width.py_func(vectors - done)
        all_panels.append((done * n, width * n))
        done += width
    return tuple(all_panels)


def panel_size(F: int, dtype: Any) -> int:
    """The total width of the panels of F filters: F rounded up to whole vectors."""
    return sum(panels(F, dtype)[-1])


def weight_strides(
    weight: Array, transposed: bool
) -> tuple[tuple[int, int, int], int, tuple[int, int, int]]:
    """The shape (T, C, F) of weight (...,C,F) as used, the offset of its first item, its strides.

    `transposed`, for the input gradient: reverse the first axes and exchange C and F.
    """
    C, F = weight.shape[-2:]
    T = weight.size // (C * F)
    if transposed:
        return (T, F, C), (T - 1) * C * F, (-C * F, 1, F)
    return (T, C, F), 0, (C * F, F, 1)


def pack(weight: Array, transposed: bool, width: int = 0) -> Array:
    """Pack weight (...,C,F) into panels (T*C, width), in this thread's work memory.

    width  filters of a panel, the same for all; by default, those of `panels`
    """
    shape, first, steps = weight_strides(weight, transposed)
    T, C, F = shape
    size = -(-F // width) * width if width else panel_size(F, weight.dtype)
    packed = scratch("weights", T * C * size, weight.dtype)
    pool.run(_pack, 1, weight.reshape(-1), packed, shape, first, steps, width)
    return packed


@kernel
def _pack(part, parts, weight, packed, shape, first, steps, fixed):
    """packed = panels (T*C, width) of weight; its item (t,c,f) is at first + (t,c,f) . steps."""
    (T, C, F), (step_t, step_c, step_f) = shape, steps
    source, target = pointer(weight) + first, pointer(packed)
    n, f = lanes(source), 0
    while f < F:
        left = F - f
        width = fixed if fixed > 0 else panel_width((left + n - 1) // n) * n
        for t in range(T):
            for c in range(C):
                row = source + (t * step_t + c * step_c + f * step_f)
                if step_f == 1:  # what is written past the width is overwritten by the next row
                    for j in range(0, width, n):
                        store(target, j, load_row(row, j, left - j))
                else:
                    for j in range(width):
                        target[j] = row[j * step_f] if j < left else 0
                target = target + width
        f += width


def sum_partials(sums: Array, parts: int, dweight: Array, dbias: Array) -> None:
    """dweight, dbias = the sum, in their order, of `parts` partial ones: sums (parts, sizes)."""
    cut = count_parts(dweight.size, parts)
    pool.run(_sum_partials, cut, sums, parts, dweight, dbias)


@kernel
def _sum_partials(part, parts, sums, count, dweight, dbias):
    ps, pw, pb, n = pointer(sums), pointer(dweight), pointer(dbias), lanes(pointer(sums))
    size, F = dweight.size, dbias.size
    first, last = part_range(part, parts, (size + n - 1) // n)
    for i in range(first * n, last * n, n):
        store_row(pw, i, sum_vectors(ps + i, size + F, count), size - i)
    first, last = part_range(part, parts, (F + n - 1) // n)
    for i in range(first * n, last * n, n):
        store_row(pb, i, sum_vectors(ps + (size + i), size + F, count), F - i)


@inline
def sum_vectors(p, step, count):
    """p[0] + p[step] + ..., a vector."""
    value = load(p, 0)
    for i in range(1, count):
        value = value + load(p, i * step)
    return value


def packed_weights(weight: Array, transposed: bool = False) -> Array:
    """Pack the weights (KH,KW,C,F) of a layer into panels (KH*KW*C, width)."""
    KH, KW, C, F = weight.shape
    return pack(weight.reshape(KH * KW, C, F), transposed)
