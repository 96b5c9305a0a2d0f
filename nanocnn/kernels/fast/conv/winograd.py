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

from functools import lru_cache
from typing import Any

import numpy as np

from ....common.arrays import Array
from ....jit.compile import kernel, part_range
from ....jit.inline import inline, noinline
from ....jit.capture import abort_capture
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
from ....jit.threads import single_threaded_blas
from ...geometry import Window
from . import direct
from .epilogue import Epilogue, epilogue_pointers, write, write_pooled
from .microkernel import ROWS1, ROWS2, ROWS3, panel_width
from .pack import MAX_PARTS, pack, padded_size, panel_size
from .source import Source, read_padded, source_pointers

POINTS = 36
PATCH_BYTES = 1 << 18  # transformed patches at a time: half of a second-level cache


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
    m = outputs_per_patch.py_func(window.KH)
    taps, pixels = window.KH * window.KW, window.OH * window.OW
    patches = -(-window.OH // m) * -(-window.OW // m)
    return patches * POINTS < 0.6 * pixels * taps  # patches overhang the border


@lru_cache(maxsize=16)
def kernel_matrix(size: int, transposed: bool, dtype: Any) -> Array:
    """kron(G, G) (36, size*size). Row i of G evaluates the kernel, a polynomial, at point i."""
    points = np.array([[0.0], [1], [-1], [2], [-2]])
    scales = np.array([[4.0], [-6], [-6], [24], [24]])
    last = np.eye(size)[-1:]
    G = np.concatenate([points ** np.arange(size) / scales, last]).astype(dtype)
    if transposed:  # flip the kernel; the first [::-1] undoes the reversal of points in `pack`
        G = G[::-1, ::-1]
    return np.kron(G, G)


def transformed_weights(weight: Array, transposed: bool) -> Array:
    """G kernel G' of weight (KH,KW,C,F), packed into panels (36*C, width)."""
    size, _, C, F = weight.shape
    G = kernel_matrix(size, transposed, weight.dtype)
    points = scratch("points", POINTS * C * F, weight.dtype)[: POINTS * C * F]
    points = points.reshape(POINTS, C * F)
    single_threaded_blas(np.matmul, G, weight.reshape(size * size, C * F), points)
    return pack(points.reshape(POINTS, C, F), transposed)


@inline
def transform_six(source, step, target, pitch, four, five, two):
    """target (6 vectors `pitch` apart) = B' @ source (6 vectors `step` apart)."""
    d0, d1, d2 = load(source, 0), load(source, step), load(source, 2 * step)
    d3, d4, d5 = load(source, 3 * step), load(source, 4 * step), load(source, 5 * step)
    even, odd = d4 - four * d2, d3 - four * d1
    store(target, pitch, even + odd)
    store(target, 2 * pitch, even - odd)
    even, odd = d4 - d2, two * (d3 - d1)
    store(target, 3 * pitch, even + odd)
    store(target, 4 * pitch, even - odd)
    store(target, 0, fma(four, d0, d4) - five * d2)
    store(target, 5 * pitch, fma(four, d1, d5) - five * d3)


@noinline
def transform_patch(source, width, C, temp, target, pitch):
    """target = B' patch B: 36 points (C,), `pitch` apart; patch: 6 rows (6, C), `width` apart."""
    n = lanes(temp)
    four, five, two = splat(temp, 4), splat(temp, 5), splat(temp, 2)
    for c in range(0, C, n):
        for w in range(6):
            transform_six(source + w * C + c, width, temp + w * n, 6 * n, four, five, two)
        for i in range(6):
            to = target + 6 * i * pitch + c
            transform_six(temp + 6 * i * n, n, to, pitch, four, five, two)


@inline
def inverse_six(source, step, target, pitch, m):
    """target (m vectors `pitch` apart) = A' @ source (6 vectors `step` apart)."""
    p0, p5 = load(source, 0), load(source, 5 * step)
    p1, p2 = load(source, step), load(source, 2 * step)
    p3, p4 = load(source, 3 * step), load(source, 4 * step)
    near, far = p1 - p2, p3 - p4
    two = splat(source, 2)
    store(target, 0, p0 + (p1 + p2) + (p3 + p4))
    if m == 2:
        store(target, pitch, fma(two, far, near) + p5)
    else:
        store(target, pitch, fma(two, far, near))
        store(target, 2 * pitch, fma(splat(source, 4), p3 + p4, p1 + p2))
        store(target, 3 * pitch, fma(splat(source, 8), far, near) + p5)


@noinline
def inverse_transform(source, pitch, temp, target, m):
    """target (m, m, lanes) = A' product A, of 36 points `pitch` apart."""
    n = lanes(temp)
    for j in range(6):
        inverse_six(source + j * pitch, 6 * pitch, temp + j * n, 6 * n, m)
    for i in range(m):
        inverse_six(temp + 6 * i * n, n, target + i * m * n, n, m)


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


def correlate(
    source: Source, weight: Array, window: Window, epilogue: Epilogue, transposed: bool = False
) -> None:
    """epilogue.y = the convolution of source.x (N,H,W,C), padded, with weight (KH,KW,C,F).

    `transposed`: dx from dy; weight is then transposed and `window` a `transposed_window`.
    """
    abort_capture()  # what is called next depends on the result
    x, (N, *_, C) = source.x, source.x.shape
    m = outputs_per_patch.py_func(window.KH)
    TH, TW = -(-window.OH // m), -(-window.OW // m)
    extended = window._replace(
        bottom=m * TH + window.KH - 1 - window.H - window.top,
        right=m * TW + window.KW - 1 - window.W - window.left,
    )
    CP = panel_size(C, x.dtype)
    max_patches = max(12, PATCH_BYTES // (POINTS * CP * x.itemsize))
    group, height = max(1, min(N, max_patches // (TH * TW))), max(1, min(TH, max_patches // TW))
    count = group * height * TW
    parts = min(-(-N // group) * -(-TH // height), MAX_PARTS)
    packed = transformed_weights(weight, transposed)
    flags = scratch("flags", parts, np.intp)
    buffers = {"padded": padded_size(extended, C), "patches": (POINTS * count + 8) * CP,
               "products": POINTS * (count + 8) * 48, "temp": 64 * 16}  # fmt: skip
    run(_winograd, parts, buffers, source, packed, epilogue, extended, group, height, flags)
    if flags[:parts].any():
        direct.correlate(source, weight, window, epilogue, transposed)


@kernel
def _winograd(part, parts, buffers, source, weight, epilogue, window, group, height, flags):
    """Convolve this part's units of work: `group` samples, or `height` patch rows of one sample.

    weight is in panels (36*C, width). flags[part] is 1 if any result is not finite.
    """
    source, epilogue, window = Source(*source), Epilogue(*epilogue), Window(*window)
    (N, rows, columns, F), C, cells = epilogue.y.shape, source.x.shape[3], 1 + epilogue.pool
    read, out = source_pointers(source), epilogue_pointers(epilogue)
    padded, patches, products, temp = buffers
    b, V, M, tmp = pointer(padded), pointer(patches), pointer(products), pointer(temp)
    m, n = outputs_per_patch(window.KH), lanes(b)
    TH, TW = (window.OH + m - 1) // m, (window.OW + m - 1) // m
    WP = window.W + window.left + window.right
    vectors, CP = (F + n - 1) // n, (C + n - 1) // n * n
    strips = (TH + height - 1) // height
    nonfinite = splat(b, 0)
    begin, end = part_range(part, parts, (N + group - 1) // group * strips)
    for unit in range(begin, end):
        sample, top = unit // strips * group, unit % strips * height
        samples, patch_rows = min(group, N - sample), min(height, TH - top)
        per_sample = patch_rows * TW
        count = samples * per_sample
        for s in range(samples):
            read_padded(b, read, sample + s, top * m, patch_rows * m + window.KH - 1, window, C)
            for t in range(per_sample):
                patch = b + (t // TW * WP + t % TW) * m * C
                transform_patch(patch, WP * C, C, tmp, V + (s * per_sample + t) * CP, count * CP)
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            w, pitch = pointer(weight) + f * C * POINTS, (count + 8) * width * n
            for point in range(POINTS):
                to, left = M + point * pitch, V + point * count * CP
                right = w + point * C * width * n
                if width == 3:
                    multiply(tile(ROWS3, 3, b), left, CP, count, C, right, to)
                elif width == 2:
                    multiply(tile(ROWS2, 2, b), left, CP, count, C, right, to)
                else:
                    multiply(tile(ROWS1, 1, b), left, CP, count, C, right, to)
            for t in range(count):
                h, v = (top + t % per_sample // TW) * m // cells, t % TW * m // cells
                to = (((sample + t // per_sample) * rows + h) * columns + v) * F
                high, wide = min(m // cells, rows - h), min(m // cells, columns - v)
                for j in range(width):
                    if f + j * n >= F:
                        continue
                    y = tmp + 36 * n
                    inverse_transform(M + (t * width + j) * n, pitch, tmp, y, m)
                    for i in (0, m - 1, m * (m - 1), m * m - 1):  # each product is in a corner
                        corner = load(y, i * n)
                        nonfinite = nonfinite + (corner - corner)
                    write_patch(out, to, y, m, high, wide, columns, f + j * n, F)
            done += width
    flags[part] = total(nonfinite) != 0


@noinline
def write_patch(out, at, sums, m, high, wide, columns, f, F):
    """Store high x wide of a patch's sums (m, m, lanes), of the filters from f, to y[at]."""
    n, bias = lanes(sums), load_row(out.bias, f, F - f)
    for i in range(high):
        for j in range(wide):
            to, place = at + (i * columns + j) * F + f, (i * m + j) * n
            if out.pool:
                write_pooled(out, to, sums + 2 * place, n, m * n, bias, F - f)
            else:
                write(out, to, sums + place, bias, F - f)
