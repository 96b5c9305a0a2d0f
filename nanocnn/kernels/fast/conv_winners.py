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

from numpy.typing import NDArray

from ..geometry import Window
from ..host import host
from ..inlining import inlined
from ..simd import fma, lanes, load, pointer, splat, store, tile
from .compiler import compiled, share
from .conv_read import clear, read_padded
from .conv_tiles import NO_WINNER, PLAIN
from .conv_work import lanes_of, padded_items, run, scratch

Array = NDArray[Any]

CELLS = host.registers - 3  # sums in registers, beside a splat and what the compiler needs


def block(window: Window, C: int, dtype: Any) -> tuple[int, int, int]:
    """How the sums of a filter are cut: (kernel rows, vectors) at a time, so many times a row."""
    vectors = -(-window.KW * C // lanes_of(dtype))
    if vectors * window.KH <= CELLS:
        return window.KH, vectors, 1
    times = -(-vectors // CELLS)
    return 1, -(-vectors // times), times


@inlined
def list_winners(x, dy, codes, sample, where, value, counts, dbias, window):
    """For each filter the winners of one sample: offsets of their windows, gradients, how many."""
    C, F, R = x.shape[3], dy.shape[3], dy.shape[1] * dy.shape[2]
    pitch = (window.left + window.W + window.right) * C
    g, code = pointer(dy) + sample * R * F, pointer(codes) + sample * R * F
    for f in range(F):
        counts[f] = 0
    for h in range(dy.shape[1]):
        for w in range(dy.shape[2]):
            start = 2 * h * pitch + 2 * w * C
            for f in range(F):
                q, at = code[f], f * R + counts[f]
                where[at] = start + (q >> 1) * pitch + (q & 1) * C
                value[at] = g[f]
                kept = (q != NO_WINNER) & (g[f] != 0)
                counts[f] += kept
                dbias[f] += g[f] if kept else 0
            g, code = g + F, code + F


@lru_cache(maxsize=64)
def weight_kernel(ROWS: int, VECTORS: int) -> Any:
    """The kernel whose sums are ROWS x VECTORS registers."""

    @compiled
    def _winners(
        part, parts, buffer, value, where, counts, x, dy, codes, dweights, dbiases, window, times
    ):
        """This part's samples: dweights[part] (F, KH, times*VECTORS*lanes), dbiases[part] (F,)."""
        C, F, R = x.shape[3], dy.shape[3], dy.shape[1] * dy.shape[2]
        px, pb, pv, pw = pointer(x), pointer(buffer), pointer(value), pointer(where)
        pitch = (window.left + window.W + window.right) * C
        width = VECTORS * lanes(px)
        size = F * window.KH * times * width
        dbias = pointer(dbiases) + part * F
        clear(pointer(dweights) + part * size, size)
        clear(dbias, F)
        begin, end = share(part, parts, x.shape[0])
        for sample in range(begin, end):
            height = window.top + window.H + window.bottom
            read_padded(pb, px, px, pointer(codes), sample, 0, height, window, C, PLAIN)
            list_winners(x, dy, codes, sample, pw, pv, pointer(counts), dbias, window)
            dw = pointer(dweights) + part * size
            for f in range(F):
                for cell in range(0, window.KH // ROWS * times):
                    acc = tile(ROWS, VECTORS, px)
                    for i in range(ROWS):
                        for j in range(VECTORS):
                            acc[i, j] = splat(px, 0)
                    source = pb + (cell // times * pitch + cell % times * width)
                    for e in range(f * R, f * R + counts[f]):
                        at, g = source + pw[e], splat(px, pv[e])
                        for i in range(ROWS):
                            for j in range(VECTORS):
                                v = load(at, i * pitch + j * lanes(px))
                                acc[i, j] = fma(g, v, acc[i, j])
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
        x, dy, codes, dweights, dbiases, window, times,
    )  # fmt: skip
    _sum_rows(0, 1, dweights, dbiases, dweight.reshape(-1, F), dbias, parts, window.KH, pitch)
