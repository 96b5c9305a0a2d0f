"""The weight gradient behind a ReLU and a 2x2 max-pool, by visiting winners only.

What differs from the reference: of the four output gradients of a pool window at most one is not
zero, and none where the ReLU was off. So for each filter the places and values of the gradients
that are left are listed, and the windows of x at those places summed up, times their values: a
quarter of the multiplications or less. The lanes lie along the row of KW*C items that a window
shares with the image; `block` rows of it at a time are summed up in registers, over all places.

Gradients that are zero are skipped: zero times an infinity or NaN in x is left out of the sum.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import Window
from ..host import host
from ..inlining import inlined
from ..simd import columns, fma, lanes, load, pointer, rows, select, splat, store, tile
from .compiler import compiled, share
from .conv_read import clear, read_padded
from .conv_tiles import NO_WINNER, PLAIN
from .conv_work import lanes_of, padded_items, run, scratch

Array = NDArray[Any]

FIRST_CACHE = 24 * 1024  # bytes of x to visit at a time
CELLS = host.registers - 3  # sums in registers, beside a splat and what the compiler needs


def block(window: Window, C: int, dtype: Any) -> tuple[int, int, int]:
    """How the sums of a filter are cut: (kernel rows, vectors) at a time, so many times a row."""
    vectors = -(-window.KW * C // lanes_of(dtype))
    if vectors * window.KH <= CELLS:
        return window.KH, vectors, 1
    times = -(-vectors // CELLS)
    return 1, -(-vectors // times), times


def band_rows(window: Window, C: int, dtype: Any) -> int:
    """Rows of pool windows whose rows of x stay in the first-level cache for all filters."""
    pitch = (window.left + window.W + window.right) * C * np.dtype(dtype).itemsize
    most = max(1, (FIRST_CACHE // pitch - window.KH + 1) // 2)
    PH = window.OH // 2
    return -(-PH // -(-PH // most))


@inlined
def list_winners(dy, codes, R, F, PW, pitch, C, where, value, counts, dbias):
    """For each filter the winners among R gradients: offset of the window, gradient, how many."""
    for f in range(F):
        counts[f] = 0
    for r in range(R):
        start = 2 * (r // PW) * pitch + 2 * (r % PW) * C
        for f in range(F):
            q, g, at = codes[f], dy[f], f * R + counts[f]
            where[at] = start + (q >> 1) * pitch + (q & 1) * C
            value[at] = g
            counts[f] = counts[f] + ((q != NO_WINNER) & (g != 0))
        zero = splat(dy, 0)
        for f in range(0, F - F % lanes(dy), lanes(dy)):
            off = load(codes, f, zero)
            kept = select(off == splat(off, NO_WINNER), zero, load(dy, f))
            store(dbias, f, load(dbias, f) + kept)
        for f in range(F - F % lanes(dy), F):
            dbias[f] = dbias[f] + (dy[f] if codes[f] != NO_WINNER else 0)
        dy, codes = dy + F, codes + F


@inlined
def add_windows(acc, x, pitch, where, value, count):
    """acc = the sum of `count` windows of x (rows `pitch` apart), each times its value."""
    for i in range(rows(acc)):
        for j in range(columns(acc)):
            acc[i, j] = splat(x, 0)
    for e in range(count):
        source, g = x + where[e], splat(x, value[e])
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                acc[i, j] = fma(g, load(source, i * pitch + j * lanes(x)), acc[i, j])


@lru_cache(maxsize=64)
def weight_kernel(ROWS: int, VECTORS: int) -> Any:
    """The kernel whose sums are ROWS x VECTORS registers."""

    @compiled
    def _winners(
        part, parts, buffer, value, where, counts, x, dy, codes, dweights, dbiases, window, times,
        band,
    ):  # fmt: skip
        """This part's samples: dweights[part] (F, KH, times*VECTORS*lanes), dbiases[part] (F,)."""
        C, F, PH, PW = x.shape[3], dy.shape[3], dy.shape[1], dy.shape[2]
        px, pb, pv, pw = pointer(x), pointer(buffer), pointer(value), pointer(where)
        pitch = (window.left + window.W + window.right) * C
        width = VECTORS * lanes(px)
        size = F * window.KH * times * width
        dbias = pointer(dbiases) + part * F
        clear(pointer(dweights) + part * size, size)
        clear(dbias, F)
        bands = (PH + band - 1) // band
        begin, end = share(part, parts, x.shape[0] * bands)
        for item in range(begin, end):
            sample, first = item // bands, item % bands * band
            down = min(band, PH - first)
            height, R = 2 * down + window.KH - 1, down * PW
            read_padded(pb, px, px, pointer(codes), sample, 2 * first, height, window, C, PLAIN)
            at = (sample * PH + first) * PW * F
            list_winners(
                pointer(dy) + at, pointer(codes) + at, R, F, PW, pitch, C, pw, pv, pointer(counts),
                dbias,
            )  # fmt: skip
            dw = pointer(dweights) + part * size
            for f in range(F):
                for cell in range(window.KH // ROWS * times):
                    source = pb + (cell // times * pitch + cell % times * width)
                    acc = tile(ROWS, VECTORS, px)
                    add_windows(acc, source, pitch, pw + f * R, pv + f * R, counts[f])
                    for i in range(ROWS):
                        for j in range(VECTORS):
                            to = i * width + j * lanes(px)
                            store(dw, to, load(dw, to) + acc[i, j])
                    dw = dw + ROWS * width

    return _winners


@compiled
def _sum_rows(part, parts, dweights, dbiases, dweight, dbias, count, KH, pitch):
    """dweight (K,F), dbias (F,) = the sums of `count` partial (F,KH,pitch), (F,), in order."""
    K, F = dweight.shape
    size, run, n = F * KH * pitch, K // KH, lanes(pointer(dweight))
    first, out = pointer(dweights), pointer(dweight)
    begin, end = share(part, parts, F)
    for at in range(begin * KH * pitch, end * KH * pitch, n):
        total = load(first, at)
        for i in range(1, count):
            total = total + load(first, i * size + at)
        store(first, at, total)
    for f in range(begin, end):
        for k in range(K):
            out[k * F + f] = first[(f * KH + k // run) * pitch + k % run]
        total_bias = dbiases[f]
        for i in range(1, count):
            total_bias += dbiases[i * F + f]
        dbias[f] = total_bias


def weight_gradient(
    dy: Array, codes: Array, x: Array, window: Window, parts: int, dweight: Array, dbias: Array
) -> None:
    """dweight (KH,KW,C,F) and dbias (F,) from the gradient dy behind the pool and its winners."""
    _, R, C, F = len(x), dy.shape[1] * dy.shape[2], *dweight.shape[2:]
    ROWS, VECTORS, times = block(window, C, x.dtype)
    pitch = times * VECTORS * lanes_of(x.dtype)
    dweights = scratch("dweights", parts * F * window.KH * pitch, x.dtype)
    dbiases = scratch("dbiases", parts * F, x.dtype)
    run(
        weight_kernel(ROWS, VECTORS), parts,
        {"padded": padded_items(window, C) + pitch, "value": F * R, "where": F * R, "counts": F},
        x, dy, codes, dweights, dbiases, window, times, band_rows(window, C, x.dtype),
    )  # fmt: skip
    _sum_rows(0, 1, dweights, dbiases, dweight.reshape(-1, F), dbias, parts, window.KH, pitch)
