"""What is prepared before a kernel runs: tables of offsets, packed weights, the split into parts.

Weights (K, F) are packed into panels (K, width): the filters that one register tile computes, in
the order in which the microkernel reads them, padded with zeros to whole vectors.
"""

from functools import lru_cache
from math import gcd
from typing import Any

import numba
import numpy as np

from ....common.arrays import Array
from ....jit import pool, threads
from ....jit.compile import kernel
from ....jit.scratch import scratch
from ....jit.simd import lanes, load_row, pointer, store
from ....jit.simd_types import lane_count
from ...geometry import Window
from .microkernel import panel_width

MAX_PARTS = 16  # small enough parts that one delayed thread does not delay the others by much
MAX_PARTIALS = 8  # the same for parts that each have partial sums to be added up
MIN_WORK = 4e6  # multiply-adds; with less, a second thread costs more than it saves


def split_work(N: int, rows: int, work: float) -> tuple[int, int]:
    """Split N samples of `rows` output rows and `work` multiply-adds each between threads.

    Returns the number of parts, and of strips per sample: 1 unless there are few samples. Each
    output is summed within one part, so the bits do not depend on the number of threads.
    """
    if N * work < MIN_WORK:
        return 1, 1
    n = threads.get_num_threads()
    strips = min(rows, n // gcd(N, n)) if N < MAX_PARTS else 1
    return min(N * strips, n if N * work < 16 * MIN_WORK else max(MAX_PARTS, n)), strips


def count_partials(N: int, work: float) -> int:
    """The number of parts, each with partial sums, of N samples of `work` multiply-adds each."""
    return 1 if N * work < MIN_WORK else min(N, MAX_PARTIALS)


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


def pack(weight: Array, transposed: bool) -> Array:
    """Pack weight (T,C,F) into panels (T*C, width), in this thread's work memory.

    `transposed`, for the input gradient: reverse the first axis and exchange C and F.
    """
    T, C, F = weight.shape
    first, steps = 0, (C * F, F, 1)  # offset of the first item; strides of T, C, F
    if transposed:
        C, F = F, C
        first, steps = (T - 1) * C * F, (-C * F, 1, C)
    packed = scratch("weights", T * C * panel_size(F, weight.dtype), weight.dtype)
    flat = np.ascontiguousarray(weight).reshape(-1)
    pool.run(_pack, 1, flat, packed, (T, C, F), first, steps)
    return packed


@kernel
def _pack(part, parts, weight, packed, shape, first, steps):
    """packed = panels (T*C, width) of weight; its item (t,c,f) is at first + (t,c,f) . steps."""
    (T, C, F), (step_t, step_c, step_f) = shape, steps
    source, target = pointer(weight) + first, pointer(packed)
    n = lanes(source)
    vectors, done = (F + n - 1) // n, 0
    while done < vectors:
        width = panel_width(vectors - done) * n
        f = done * n
        left = F - f
        for t in range(T):
            for c in range(C):
                row = source + (t * step_t + c * step_c + f * step_f)
                if step_f == 1:
                    for j in range(0, width, n):
                        store(target, j, load_row(row, j, left - j))
                else:
                    for j in range(width):
                        target[j] = row[j * step_f] if j < left else 0
                target = target + width
        done += width // n


def add_partials(partials: Array, total: Array) -> None:
    """total = the sum of the rows of `partials`, in their order.

    The same bits as `np.add.reduce`, which allocates a buffer of 8,192 items before NumPy 2.3.
    """
    total[...] = partials[0]
    for partial in partials[1:]:
        total += partial


def unpack_sum(partials: Array, parts: int, weight: Array) -> None:
    """weight (K,F) = the sum, in their order, of `parts` partial weights in panels (K, width)."""
    K, F = weight.shape
    size = K * panel_size(F, weight.dtype)
    total = scratch("sum", size, weight.dtype)[:size]
    add_partials(partials[: parts * size].reshape(parts, size), total)
    for f, width in panels(F, weight.dtype):
        panel = total[f * K : (f + width) * K].reshape(K, width)
        weight[:, f : f + width] = panel[:, : F - f]


def packed_weights(weight: Array, transposed: bool = False) -> Array:
    """Pack the weights (KH,KW,C,F) of a layer into panels (KH*KW*C, width)."""
    KH, KW, C, F = weight.shape
    return pack(weight.reshape(KH * KW, C, F), transposed)
