"""Winograd convolution for 3x3 and 5x5 kernels of strides 1: fewer multiplications.

What differs from the reference: the image is divided into overlapping patches of 6x6 pixels.
Patches and kernels are transformed (B' patch B and G kernel G') and multiplied elementwise, and the
36 products transformed to m x m outputs (A' product A), m = 4 for a 3x3 kernel and 2 for 5x5. With
the sum over channels, the 36 points are 36 matrix products: 2.25 multiplications per output, filter
and channel instead of 9, or 9 instead of 25. The transforms mostly add vectors of channels.

Intermediate values are larger than the results, so the error is about 10 times that of the direct
kernel (float32: usually 1e-6 to 1e-5 of the largest value; the tests allow 1e-4). A NaN, an
infinity or an overflow would spread over its patch; if there is any, the direct kernel computes the
layer again.

Both kernel sizes use the points 0, 1, -1, 2, -2 and infinity, so B is the same. Source: Lavin and
Gray, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308.
"""

import numpy as np

from ....jit import threads
from ....jit.capture import when
from ....jit.compile import kernel, part_range
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
from ..outputs import Array
from . import direct
from .epilogue import Epilogue, epilogue_pointers, write, write_pooled
from .microkernel import ROWS1, ROWS2, ROWS3, panel_width
from .pack import MAX_PARTS, padded_size, panel_size
from .source import Source, read_padded, source_pointers
from .winograd_transform import (
    BLOCK,
    POINTS,
    block_pitch,
    inverse_transform,
    transform_patches,
    transformed_weights,
)

PATCH_BYTES = 1 << 18  # transformed patches at a time: they stay in the second-level cache
MIN_WORK = 250_000  # multiply-adds; with less, a second thread costs more than it saves


@inline
def outputs_per_patch(size):
    """m: a patch has m x m outputs for a kernel of size x size."""
    return 7 - size


def supports(window: Window) -> bool:
    """Whether Winograd's algorithm applies to this window."""
    return window[2:8] in ((3, 3, 1, 1, 1, 1), (5, 5, 1, 1, 1, 1))


def is_faster(window: Window, C: int, F: int) -> bool:
    """Whether this is faster than the direct kernel: measured, with a margin."""
    if not supports(window) or min(C, F) < 12:
        return False
    TH, TW = _patches(window)  # they overhang the border
    return TH * TW * POINTS < 0.6 * window.OH * window.OW * window.KH * window.KW


def _patches(window: Window) -> tuple[int, int]:
    """Rows and columns of patches."""
    m = outputs_per_patch.py_func(window.KH)
    return -(-window.OH // m), -(-window.OW // m)


def correlate(
    source: Source, weight: Array, window: Window, epilogue: Epilogue, transposed: bool = False
) -> None:
    """epilogue.y = the convolution of source.x (N,H,W,C), padded, with weight (KH,KW,C,F).

    `transposed`: dx from dy; weight is then transposed and `window` a `transposed_window`.
    """
    x, (N, *_, C), F = source.x, source.x.shape, epilogue.y.shape[3]
    m, (TH, TW) = outputs_per_patch.py_func(window.KH), _patches(window)
    extended = window._replace(
        bottom=m * TH + window.KH - 1 - window.H - window.top,
        right=m * TW + window.KW - 1 - window.W - window.left,
    )
    CP = panel_size(C, x.dtype)
    unit, parts = _split(N * TH * TW, POINTS * CP * x.itemsize, POINTS * C * F)
    flags = scratch("flags", parts, np.intp)[:parts]
    buffers = {
        "padded": padded_size(extended, C),
        "patches": POINTS * (unit + BLOCK) * (CP + 16),
        "products": POINTS * (BLOCK * 48 + 16),
        "temp": (6 * (m * TH + 4) + 36) * 16,
    }
    packed = transformed_weights(weight, transposed)
    run(_winograd, parts, buffers, source, packed, epilogue, extended, unit, flags)
    when(flags, direct.correlate, source, weight, window, epilogue, transposed)


def _split(patches: int, size: int, work: int) -> tuple[int, int]:
    """Patches per unit of work, and parts, for patches of `size` bytes and `work` multiply-adds.

    Units are whole tiles, and so many that the thread with most of them has least to do.
    """
    tiles = -(-max(patches, 1) // ROWS2)  # one even of an empty batch
    n = min(threads.get_num_threads(), max(1, patches * work // MIN_WORK))
    most = max(PATCH_BYTES // (size * ROWS2), 1)
    tall = min(range(most, 0, -1), key=lambda tall: -(-tiles // (tall * n)) * tall)
    units = -(-tiles // tall)
    return tall * ROWS2, min(units, max(MAX_PARTS, n) if n > 1 else 1)


@kernel
def _winograd(part, parts, buffers, source, weight, epilogue, window, unit, flags):
    """Convolve this part's units of `unit` patches; weight is in panels (36*C, width).

    flags[part] is 1 if any result is not finite.
    """
    source, epilogue, window = Source(*source), Epilogue(*epilogue), Window(*window)
    (N, _, _, F), C = epilogue.y.shape, source.x.shape[3]
    read, out = source_pointers(source), epilogue_pointers(epilogue)
    padded, patches, products, temp = buffers
    b, V, M, tmp = pointer(padded), pointer(patches), pointer(products), pointer(temp)
    m, n = outputs_per_patch(window.KH), lanes(b)
    TH, TW = (window.OH + m - 1) // m, (window.OW + m - 1) // m
    vectors, CP = (F + n - 1) // n, (C + n - 1) // n * n
    nonfinite, row = splat(b, 0), epilogue.y.shape[2]
    begin, end = part_range(part, parts, (N * TH * TW + unit - 1) // unit)
    for first in range(begin * unit, end * unit, unit):
        last = min(first + unit, N * TH * TW)
        read_patches(V, read, first, last, window, C, b, tmp)
        done = 0
        while done < vectors:
            width = panel_width(vectors - done)
            w = pointer(weight) + done * n * C * POINTS
            for block in range(first, last, BLOCK):
                count, pitch = min(BLOCK, last - block), block_pitch(width * n, b)
                for point in range(POINTS):
                    left = V + ((block - first) // BLOCK * POINTS + point) * block_pitch(CP, b)
                    right, to = w + point * C * width * n, M + point * pitch
                    if width == 3:
                        multiply(tile(ROWS3, 3, b), left, CP, count, C, right, to)
                    elif width == 2:
                        multiply(tile(ROWS2, 2, b), left, CP, count, C, right, to)
                    else:
                        multiply(tile(ROWS1, 1, b), left, CP, count, C, right, to)
                for t in range(count):
                    at, high, wide = place_of(block + t, out, window, m)
                    for j in range(width):
                        product = M + (t * width + j) * n
                        if m == 2:
                            inverse_transform(tile(7, 2, b), product, pitch, tmp)
                        else:
                            inverse_transform(tile(7, 4, b), product, pitch, tmp)
                        # every product is in one of the corners
                        corners = load(tmp, 0) + load(tmp, (m - 1) * n)
                        corners = corners + load(tmp, m * (m - 1) * n) + load(tmp, (m * m - 1) * n)
                        nonfinite = nonfinite + (corners - corners)
                        write_patch(out, at * F, tmp, m, high, wide, row, (done + j) * n, F)
            done += width
    flags[part] = total(nonfinite) != 0


@noinline
def read_patches(V, source, first, last, window, C, padded, tmp):
    """V = the transformed patches `first` to `last`, counted through all samples."""
    m, n = outputs_per_patch(window.KH), lanes(V)
    TH, TW = (window.OH + m - 1) // m, (window.OW + m - 1) // m
    row, CP = (window.left + window.W + window.right) * C, (C + n - 1) // n * n
    for sample in range(first // (TH * TW), (last - 1) // (TH * TW) + 1):
        start = sample * TH * TW
        begin, end = max(first - start, 0), min(last - start, TH * TW)
        top, bottom = begin // TW, (end - 1) // TW + 1
        read_padded(padded, source, sample, top * m, (bottom - top) * m + window.KH - 1, window, C)
        for tw in range(TW):
            high, low = top + (top * TW + tw < begin), bottom - ((bottom - 1) * TW + tw >= end)
            patch, x = start + high * TW + tw - first, padded + (high - top) * m * row + tw * m * C
            transform_patches(x, row, C, m, low - high, tmp, V, patch, TW, CP)


@inline
def multiply(acc, patches, pitch, count, C, w, products):
    """products (count, width) = patches (count, pitch) @ w (C, width), a panel.

    Computes whole tiles: reads up to 7 rows beyond the patches and writes as many more products.
    """
    at = indices(acc)
    for i in range(rows(acc)):
        at[i] = i * pitch
    for t in range(0, count, rows(acc)):
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                acc[i, j] = splat(patches, 0)
        source = patches + t * pitch
        for c in range(C):
            for i in range(rows(acc)):
                a = splat(w, source[at[i] + c])
                for j in range(columns(acc)):
                    b = load(w, (c * columns(acc) + j) * lanes(w))
                    acc[i, j] = fma(a, b, acc[i, j])
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                store(products, ((t + i) * columns(acc) + j) * lanes(w), acc[i, j])


@inline
def place_of(patch, out, window, m):
    """The pixel of y where a patch begins, and how many rows and columns of it are in y."""
    TH, TW, cells = (window.OH + m - 1) // m, (window.OW + m - 1) // m, 1 + out.pool
    rows, columns = window.OH // cells, window.OW // cells
    sample, t = patch // (TH * TW), patch % (TH * TW)
    h, w = t // TW * m // cells, t % TW * m // cells
    at = (sample * rows + h) * columns + w
    return at, min(m // cells, rows - h), min(m // cells, columns - w)


@noinline
def write_patch(out, at, sums, m, high, wide, columns, f, F):
    """Store high x wide of the sums (m, m, lanes), of the filters from f, to y[at:]."""
    n, bias = lanes(sums), load_row(out.bias, f, F - f)
    for i in range(high):
        for j in range(wide):
            to, place = at + (i * columns + j) * F + f, (i * m + j) * n
            if out.pool:
                write_pooled(out, to, sums + 2 * place, n, m * n, bias, F - f)
            else:
                write(out, to, sums + place, bias, F - f)
