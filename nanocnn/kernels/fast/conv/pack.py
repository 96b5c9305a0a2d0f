"""What convolutions prepare: tables of offsets, packed weights, the cut into parts."""

from functools import lru_cache
from math import gcd
from typing import Any

import numba
import numpy as np

from ....common.arrays import Array
from ....jit import threads
from ....jit.compile import kernel
from ....jit.scratch import plain, scratch
from ....jit.simd import lanes, load_row, pointer, store
from ....jit.simd_types import lane_count
from ...geometry import Window
from .microkernel import panel_width

PARTS = 16  # of much work: small enough that a thread that is held up delays little
PARTIALS = 8  # the same where each part has sums of its own to be added up
SMALL = 4e6  # multiply-adds below which handing work to another thread costs more than it saves


def cut(N: int, rows: int, work: float) -> tuple[int, int]:
    """How N samples of `rows` output rows and `work` multiply-adds each are shared out.

    Returns (parts, strips a sample). Samples are cut into strips only when there are few of them.
    Each output is summed in one part, so the bits do not depend on the number of threads.
    """
    if N * work < SMALL:
        return 1, 1
    n = threads.get_num_threads()
    strips = min(rows, n // gcd(N, n)) if N < PARTS else 1
    return min(N * strips, n if N * work < 16 * SMALL else max(PARTS, n)), strips


def count_partials(N: int, work: float) -> int:
    """The parts of N samples of `work` multiply-adds each, where every part has sums of its own."""
    return 1 if N * work < SMALL else min(N, PARTIALS)


def padded_items(window: Window, C: int) -> int:
    """Items of one sample with its padding."""
    return (window.H + window.top + window.bottom) * (window.W + window.left + window.right) * C


@lru_cache(maxsize=256)
def tap_table(window: Window, C: int) -> Array:
    """Offset of each weight (kh,kw,c) in a padded sample: (KH*KW*C,) whole numbers."""
    WP = window.W + window.left + window.right
    kh, kw, c = np.ogrid[: window.KH, : window.KW, :C]
    return np.ravel((kh * window.DH * WP + kw * window.DW) * C + c).astype(np.intp)


@lru_cache(maxsize=256)
def pixel_table(window: Window, C: int, pool: bool = False) -> Array:
    """Offset of each output pixel's window in a padded sample, row by row: (OH*OW,).

    With `pool` the pixels come four by four, as 2x2 pooling takes them: (OH//2 * OW//2 * 4,).
    """
    WP = window.W + window.left + window.right
    oh, ow = np.ogrid[: window.OH, : window.OW]
    table = (oh * window.SH * WP + ow * window.SW) * C
    if pool:
        PH, PW = window.OH // 2, window.OW // 2
        table = table[: 2 * PH, : 2 * PW].reshape(PH, 2, PW, 2).transpose(0, 2, 1, 3)
    return np.ravel(table).astype(np.intp)


def transposed_window(window: Window) -> Window:
    """The window that slides over dy when dx is computed (strides 1)."""
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
    """How many items of a NumPy dtype a register holds."""
    return lane_count(numba.from_dtype(np.dtype(dtype)))


@lru_cache(maxsize=256)
def panels(F: int, dtype: Any) -> tuple[tuple[int, int], ...]:
    """The panels for F filters, (first filter, width): as `conv_tiles.panel_width` cuts them."""
    n = lanes_of(dtype)
    vectors, done, found = -(-F // n), 0, []
    while done < vectors:
        width = panel_width.py_func(vectors - done)
        found.append((done * n, width * n))
        done += width
    return tuple(found)


def panel_size(F: int, dtype: Any) -> int:
    """The width of all panels for F filters together."""
    return sum(panels(F, dtype)[-1])


def pack(weight: Array, transposed: bool) -> Array:
    """weight (T,C,F) in panels (T*C, width), in this thread's work memory.

    Transposed, for the input gradient: the first axis backwards, C and F exchanged.
    """
    T, C, F = weight.shape
    first, steps = 0, (C * F, F, 1)  # where the items of (T,C,F) lie
    if transposed:
        C, F = F, C
        first, steps = (T - 1) * C * F, (-C * F, 1, C)
    packed = scratch("weights", T * C * panel_size(F, weight.dtype), weight.dtype)
    flat = plain(weight).reshape(-1)
    threads.run(_pack, 1, flat, packed, (T, C, F), first, steps)
    return packed


@kernel
def _pack(part, parts, weight, packed, shape, first, steps):
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
    """total = the rows of `partials`, added in their order.

    The bits of `np.add.reduce`, which before NumPy 2.3 allocates a buffer of 8,192 items.
    """
    total[...] = partials[0]
    for partial in partials[1:]:
        total += partial


def unpack_sum(partials: Array, parts: int, weight: Array) -> None:
    """weight (K,F) = the sum, in their order, of `parts` partial ones in panels (K, width)."""
    K, F = weight.shape
    size = K * panel_size(F, weight.dtype)
    total = scratch("sum", size, weight.dtype)[:size]
    add_partials(partials[: parts * size].reshape(parts, size), total)
    for f, width in panels(F, weight.dtype):
        panel = total[f * K : (f + width) * K].reshape(K, width)
        weight[:, f : f + width] = panel[:, : F - f]


def packed_weights(weight: Array, transposed: bool = False) -> Array:
    """A layer's weights (KH,KW,C,F) in panels."""
    KH, KW, C, F = weight.shape
    return pack(weight.reshape(KH * KW, C, F), transposed)
