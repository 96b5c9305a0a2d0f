"""The weight gradient of a layer with ReLU and 2x2 max-pool, skipping zero gradients.

What differs from the reference: of the four gradients of a pool at most one is nonzero, and none if
the ReLU's output is 0. The offsets and values of the nonzero gradients are listed for each filter,
and the windows of x at these offsets are summed, weighted by the values: a quarter of the
multiplications or less. Lanes run along a window's row of KW*C items, contiguous in x, and the sums
over all offsets stay in registers.

This skips 0 * inf and 0 * NaN, which are NaN. If x is not finite, the direct kernel computes the
layer again.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from ....common.arrays import Array
from ....jit.compile import kernel, part_range
from ....jit.cpu import cpu
from ....jit.inline import inline, noinline
from ....jit.scratch import run, scratch
from ....jit.simd import (
    columns,
    fma,
    lanes,
    load,
    load_row,
    pointer,
    select,
    splat,
    store,
    tile,
    total,
)
from ...geometry import Window
from . import direct
from .epilogue import NOT_POSITIVE
from .pack import add_partials, count_partials, lanes_of, padded_size
from .source import Source, fill_zeros, plain_source, read_padded, source_pointers

CACHE_BYTES = 24 * 1024  # bytes of x per band: they stay in the first-level cache
# Vectors of sums that leave registers for a broadcast item and the compiler. A kernel is compiled
# for each width in use.
WIDTHS = (2, 4, 6, 8, 10, 12, 13) if cpu.registers == 16 else (2, 4, 8, 12, 16, 20, 24, 28)


def register_block(window: Window, C: int, dtype: Any) -> tuple[int, int]:
    """(vectors, times): a row of KW*C weights takes `times` passes of `vectors` registers each."""
    vectors = -(-window.KW * C // lanes_of(dtype))
    times = -(-vectors // WIDTHS[-1])
    return next(w for w in WIDTHS if w * times >= vectors), times


def supports(window: Window) -> bool:
    """Whether a row of the window is contiguous in x, as the kernel needs it."""
    return (window.DH, window.DW) == (1, 1)


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
def add_runs(acc, x, where, value, count):
    """acc = sum over e < count of value[e] * x[where[e]:], as many items as acc holds."""
    for j in range(columns(acc)):
        acc[0, j] = splat(x, 0)
    for e in range(count):
        source, g = x + where[e], splat(x, value[e])
        for j in range(columns(acc)):
            acc[0, j] = fma(g, load(source, j * lanes(x)), acc[0, j])


@lru_cache(maxsize=64)
def weight_kernel(VECTORS: int) -> Any:
    """The kernel whose register tile is VECTORS wide."""

    @kernel
    def _sparse(part, parts, buffers, dy, x, dweights, dbiases, flags, window, band):
        """dweights[part] (F, KH, times*VECTORS*lanes), dbiases[part] (F,): sums over this part.

        flags[part] is 1 if x is not finite.
        """
        dy, window = Source(*dy), Window(*window)
        (N, PH, PW, F), C, gradient, px = dy.x.shape, x.shape[3], source_pointers(dy), pointer(x)
        padded, value, where, counts = buffers
        pb, pv, pw, pc = pointer(padded), pointer(value), pointer(where), pointer(counts)
        pitch, width = (window.left + window.W + window.right) * C, VECTORS * lanes(px)
        times = (window.KW * C + width - 1) // width
        size = F * window.KH * times * width
        dbias = pointer(dbiases) + part * F
        fill_zeros(pointer(dweights) + part * size, size)
        fill_zeros(dbias, F)
        nonfinite = splat(px, 0)
        bands = (PH + band - 1) // band
        begin, end = part_range(part, parts, N * bands)
        for item in range(begin, end):
            sample, first = item // bands, item % bands * band
            down = min(band, PH - first)
            height, R = 2 * down + window.KH - 1, down * PW
            read_padded(pb, plain_source(px), sample, 2 * first, height, window, C)
            for i in range(0, height * pitch, lanes(px)):
                v = load_row(pb, i, height * pitch - i)
                nonfinite = nonfinite + (v - v)
            at = (sample * PH + first) * PW * F
            list_maxima(gradient.x + at, gradient.argmax + at, R, F, window, C, pw, pv, pc, dbias)
            dw = pointer(dweights) + part * size
            for f in range(F):
                for row in range(window.KH * times):
                    source = pb + (row // times * pitch + row % times * width)
                    acc = tile(1, VECTORS, px)
                    add_runs(acc, source, pw + f * R, pv + f * R, pc[f])
                    for j in range(VECTORS):
                        to = j * lanes(px)
                        store(dw, to, load(dw, to) + acc[0, j])
                    dw = dw + width
        flags[part] = total(nonfinite) != 0

    return _sparse


def weight_gradient(dy: Source, x: Array, window: Window, dweight: Array, dbias: Array) -> None:
    """dweight (KH,KW,C,F) and dbias (F,) from dy (N,OH//2,OW//2,F) and the argmax of the pool."""
    (N, PH, PW, F), C = dy.x.shape, x.shape[3]
    VECTORS, times = register_block(window, C, x.dtype)
    R, pitch = PH * PW, times * VECTORS * lanes_of(x.dtype)
    parts = count_partials(N, window.OH * window.OW * dweight.size)
    dweights = scratch("dweights", parts * F * window.KH * pitch, x.dtype)
    dbiases = scratch("dbiases", parts * F, x.dtype)
    flags = scratch("flags", parts, np.intp)
    run(
        weight_kernel(VECTORS), parts,
        {"padded": padded_size(window, C) + pitch, "value": F * R, "where": F * R, "counts": F},
        dy, x, dweights, dbiases, flags, window, band_rows(window, C, x.dtype),
    )  # fmt: skip
    if flags[:parts].any():
        return direct.weight_gradient(dy, x, window, dweight, dbias)
    size = F * window.KH * pitch
    total = scratch("sum", size, x.dtype)[:size]
    add_partials(dweights[: parts * size].reshape(parts, size), total)
    rows = total.reshape(F, window.KH, pitch)[:, :, : window.KW * C]
    dweight.reshape(window.KH, -1, F)[...] = rows.transpose(1, 2, 0)
    add_partials(dbiases[: parts * F].reshape(parts, F), dbias)
    return None
