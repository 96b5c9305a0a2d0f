"""Winograd's convolution for 3x3 and 5x5 kernels of stride 1: fewer multiplications.

What differs from the reference: the image is cut into patches of 6x6 pixels that overlap, patch and
kernel are transformed (B' patch B, G kernel G'), multiplied point by point, and the 36 products
transformed back (A' product A) to m x m outputs, m = 4 for a 3x3 kernel and 2 for 5x5. Summed over
the channels, the 36 points are 36 matrix products: 2.25 multiplications for each output, filter and
channel instead of 9, or 9 instead of 25. The transforms are additions of whole vectors of channels.
The same mathematics, but intermediate values are larger: errors are about 10 times those of the
direct kernel (float32: usually 1e-6 to 1e-5 of the largest value; the tests allow 1e-4). A NaN, an
infinity or an overflow would spread over a whole patch: where any appears, the caller does the
layer again by the direct kernel.

Both kernel sizes share the points 0, 1, -1, 2, -2, infinity, and so B. Source: Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks, arXiv:1509.09308.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from ... import threads
from ...arrays import Array
from ..geometry import Window
from ..inlining import called, inlined
from ..simd import (
    columns,
    convert,
    fma,
    indices,
    lanes,
    load,
    pointer,
    rows,
    select,
    splat,
    store,
    tile,
    total,
)
from .compiler import compiled, share
from .conv_read import read_padded
from .conv_tiles import (
    NO_WINNER,
    ROWS2,
    ROWS3,
    panel_width,
    pool_four,
    relu,
)
from .conv_work import PARTS, pack, padded_items, panel_size
from .tails import load_row, store_row
from .work import run, scratch

POINTS = 36
MOST = 1 << 18  # bytes of transformed patches at a time: half of a second-level cache


def outputs(size: int) -> int:
    """m, the outputs a patch has in each direction."""
    return 7 - size


def fits(window: Window) -> bool:
    """Whether this convolution can be done here at all."""
    return window[2:8] in ((3, 3, 1, 1, 1, 1), (5, 5, 1, 1, 1, 1))


def pays(window: Window, C: int, F: int, N: int) -> bool:
    """Whether it is faster than the direct kernel: measured, with room for doubt."""
    if not fits(window) or min(C, F) < 12:
        return False
    m, taps, pixels = outputs(window.KH), window.KH * window.KW, window.OH * window.OW
    patches = -(-window.OH // m) * -(-window.OW // m)
    # patches at the border do work for nothing; the kernels' transforms must be worth their while
    return patches * POINTS < 0.6 * pixels * taps and N * pixels * taps > 15_000


@lru_cache(maxsize=16)
def kernel_matrix(size: int, flipped: bool, dtype: Any) -> Array:
    """G x G (36, size*size): G's row i evaluates the kernel as a polynomial at point i, scaled."""
    points = np.array([[0.0], [1], [-1], [2], [-2]])
    scales = np.array([[4.0], [-6], [-6], [24], [24]])
    last = np.eye(size)[-1:]
    G = np.concatenate([points ** np.arange(size) / scales, last]).astype(dtype)
    if flipped:  # `pack` turns the points around: the first [::-1] undoes that
        G = G[::-1, ::-1]
    return np.kron(G, G)


def transformed_weights(weight: Array, flipped: bool) -> Array:
    """G kernel G' for all kernels, packed in panels of (36*C, width), in this thread's memory."""
    size, _, C, F = weight.shape
    G = kernel_matrix(size, flipped, weight.dtype)
    points = scratch("points", POINTS * C * F, weight.dtype)[: POINTS * C * F]
    points = points.reshape(POINTS, C * F)
    threads.single_threaded_blas(np.matmul, G, weight.reshape(size * size, C * F), points)
    return pack(points.reshape(POINTS, C, F), flipped)


@inlined
def transform_six(source, step, target, pitch, four, five, two):
    """B' times the six vectors source[0], source[step], ..."""
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


@called
def transform_patch(source, width, C, temp, target, pitch):
    """The 36 points of a patch (6 rows `width` apart, pixels C apart), each `pitch` further."""
    n = lanes(temp)
    four, five, two = splat(temp, 4), splat(temp, 5), splat(temp, 2)
    for c in range(0, C, n):
        for w in range(6):
            transform_six(source + w * C + c, width, temp + w * n, 6 * n, four, five, two)
        for i in range(6):
            to = target + 6 * i * pitch + c
            transform_six(temp + 6 * i * n, n, to, pitch, four, five, two)


@inlined
def back_six(source, step, target, pitch, m):
    """A' times the six vectors source[0], source[step], ...: m of them."""
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


@called
def transform_back(source, pitch, temp, target, m):
    """The m x m outputs of the 36 points of a patch: output (i, j) at target[(i * m + j) * n]."""
    n = lanes(temp)
    for j in range(6):
        back_six(source + j * pitch, 6 * pitch, temp + j * n, 6 * n, m)
    for i in range(m):
        back_six(temp + 6 * i * n, n, target + i * m * n, n, m)


@inlined
def multiply(acc, at, patches, pitch, count, C, w, products):
    """products (count, width) = patches (count, pitch) times a panel w (C, width).

    Whole blocks: up to 7 rows behind the last patch are read, and written behind the products.
    """
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


@compiled
def _winograd(
    part, parts, buffer, patches, products, temp, flags, x, other, codes, packed, bias, y, winners,
    window, m, group, height, mode, positive, pooled, keep_codes,
):  # fmt: skip
    """y = x (padded) * weight + bias, rectified, pooled, as `conv_direct._forward`.

    A unit of work is `group` samples, or `height` rows of patches of one sample.
    flags[part] tells whether a number was not finite.
    """
    N, C, F = x.shape[0], x.shape[3], y.shape[3]
    px, n = pointer(x), lanes(pointer(x))
    b, V, M, tmp = pointer(buffer), pointer(patches), pointer(products), pointer(temp)
    TH, TW = (window.OH + m - 1) // m, (window.OW + m - 1) // m
    WP = window.W + window.left + window.right
    vectors, CP = (F + n - 1) // n, (C + n - 1) // n * n
    strips = (TH + height - 1) // height
    strange = splat(px, 0)
    begin, end = share(part, parts, (N + group - 1) // group * strips)
    for unit in range(begin, end):
        sample, top = unit // strips * group, unit % strips * height
        samples, down = min(group, N - sample), min(height, TH - top)
        tiles = down * TW
        count = samples * tiles
        for s in range(samples):
            read_padded(
                b, px, pointer(other), pointer(codes), sample + s, top * m,
                down * m + window.KH - 1, window, C, mode,
            )  # fmt: skip
            for t in range(tiles):
                patch = b + (t // TW * WP + t % TW) * m * C
                transform_patch(patch, WP * C, C, tmp, V + (s * tiles + t) * CP, count * CP)
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            w, pitch = pointer(packed) + f * C * POINTS, (count + 8) * width * n
            for point in range(POINTS):
                to, source = M + point * pitch, V + point * count * CP
                if width == 3:
                    acc3, at3 = tile(ROWS3, 3, px), indices(ROWS3)
                    multiply(acc3, at3, source, CP, count, C, w + point * C * 3 * n, to)
                else:
                    acc2, at2 = tile(ROWS2, 2, px), indices(ROWS2)
                    multiply(acc2, at2, source, CP, count, C, w + point * C * 2 * n, to)
            for t in range(count):
                image, h, v = sample + t // tiles, (top + t % tiles // TW) * m, t % TW * m
                for j in range(width):
                    left = F - f - j * n
                    if left <= 0:
                        continue
                    out = tmp + 36 * n
                    transform_back(M + (t * width + j) * n, pitch, tmp, out, m)
                    for i in (0, m - 1, m * (m - 1), m * m - 1):  # each product is in a corner
                        corner = load(out, i * n)
                        strange = strange + (corner - corner)
                    add = load_row(pointer(bias), f + j * n, left)
                    if pooled:
                        write_pooled(
                            out, add, m, y, winners, keep_codes, image, h // 2, v // 2, f + j * n
                        )
                    else:
                        write_plain(out, add, m, y, positive, image, h, v, f + j * n)
            done += width
    flags[part] = total(strange) != 0


@called
def write_plain(out, add, m, y, positive, image, h, v, f):
    """The m x m outputs of one patch at (h, v), one vector of filters from f."""
    n, (_, OH, OW, F) = lanes(out), y.shape
    for i in range(min(m, OH - h)):
        for j in range(min(m, OW - v)):
            value = load(out, (i * m + j) * n) + add
            to = pointer(y) + ((image * OH + h + i) * OW + v + j) * F + f
            store_row(to, 0, relu(value) if positive else value, F - f)


@called
def write_pooled(out, add, m, y, winners, keep_codes, image, h, v, f):
    """The same, pooled: the largest of each 2x2 outputs, rectified, and which it was."""
    n, (_, PH, PW, F) = lanes(out), y.shape
    for i in range(min(m // 2, PH - h)):
        for j in range(min(m // 2, PW - v)):
            best, code = pool_four(out + (2 * i * m + 2 * j) * n, n, m * n)
            best = best + add
            to = ((image * PH + h + i) * PW + v + j) * F + f
            store_row(pointer(y), to, relu(best), F - f)
            if keep_codes:
                code = select(best > splat(out, 0), code, splat(out, NO_WINNER))
                store_row(pointer(winners), to, convert(code, pointer(winners)), F - f)


def correlate(
    x: Array, other: Array, codes: Array, packed: Array, bias: Array, y: Array, winners: Array,
    window: Window, mode: int, positive: bool, pooled: bool, keep: bool,
) -> bool:  # fmt: skip
    """`_winograd` over all samples; False if the result can't be used, being not finite."""
    threads.not_repeatable()  # the caller looks at the result
    N, C = len(x), x.shape[3]
    m = outputs(window.KH)
    TH, TW = -(-window.OH // m), -(-window.OW // m)
    window = window._replace(
        bottom=m * TH + window.KH - 1 - window.H - window.top,
        right=m * TW + window.KW - 1 - window.W - window.left,
    )
    CP = panel_size(C, x.dtype)
    most = max(12, MOST // (POINTS * CP * x.itemsize))
    group, height = max(1, min(N, most // (TH * TW))), max(1, min(TH, most // TW))
    tiles = group * height * TW
    units = -(-N // group) * -(-TH // height)
    parts = min(units, PARTS)
    flags = scratch("flags", parts, np.intp)
    run(
        _winograd, parts,
        {"padded": padded_items(window, C), "patches": (POINTS * tiles + 8) * CP,
         "products": POINTS * (tiles + 8) * 48, "temp": 64 * 16},
        flags, x, other, codes, packed, bias, y, winners, window, m, group, height, mode,
        positive, pooled, keep,
    )  # fmt: skip
    return not flags[:parts].any()
