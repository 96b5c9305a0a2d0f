"""Convolution as matrix products of an im2col matrix: any stride, dilation, padding and size.

What differs from the reference: the matrix is built for a few samples at a time, in a buffer that
is reused, and threads share these groups; BLAS computes each product on one thread. Slower than
`direct` wherever that applies, since the matrix is written and read; but the input gradient of a
strided convolution has no direct kernel.
"""

import numpy as np

from ....common.arrays import Array
from ....jit import pool
from ....jit.compile import kernel
from ....jit.capture import abort_capture
from ....jit.scratch import prepared, scratch
from ....jit.simd import pointer
from ....jit.threads import single_threaded_blas
from ...geometry import Window
from .pack import count_partials, padded_size, pixel_table, split_work, tap_table
from .source import MASKED, Source, copy, fill_zeros, read_padded, source_of, source_pointers

GROUP = 1024  # rows of the matrix that are built at a time


@kernel
def _gather(cols, buffer, source, first, count, tables, window):
    """cols (count*P, K) = im2col of `count` samples of source.x (N,H,W,C)."""
    source, window = Source(*source), Window(*window)
    (pixels, taps), C = tables, source.x.shape[3]
    P, K, run = pixels.size, taps.size, window.KW * C
    read, b, to = source_pointers(source), pointer(buffer), pointer(cols)
    for sample in range(first, first + count):
        read_padded(b, read, sample, 0, window.H + window.top + window.bottom, window, C)
        for p in range(P):
            for k in range(0, K, run):
                if window.DW == 1:
                    copy(to, b + pixels[p] + taps[k], run)
                else:
                    for i in range(run):
                        to[i] = b[pixels[p] + taps[k + i]]
                to = to + run


@kernel
def _scatter(cols, buffer, dx, first, count, tables, window):
    """dx (N,H,W,C) of `count` samples = col2im of cols (count*P, K)."""
    window = Window(*window)
    (pixels, taps), C = tables, dx.shape[3]
    P, K = pixels.size, taps.size
    b, source, pitch = pointer(buffer), pointer(cols), (window.left + window.W + window.right) * C
    for sample in range(first, first + count):
        fill_zeros(b, (window.top + window.H + window.bottom) * pitch)
        for p in range(P):
            for k in range(K):
                b[pixels[p] + taps[k]] = b[pixels[p] + taps[k]] + source[p * K + k]
        source = source + P * K
        for h in range(window.H):
            to = pointer(dx) + (sample * window.H + h) * window.W * C
            copy(to, b + (window.top + h) * pitch + window.left * C, window.W * C)


def _groups(part: int, parts: int, N: int, P: int) -> list[tuple[int, int]]:
    """The samples of this part in groups of about GROUP rows, as (first, count)."""
    begin, end, size = part * N // parts, (part + 1) * N // parts, max(1, GROUP // P)
    return [(first, min(size, end - first)) for first in range(begin, end, size)]


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window, y: Array, relu: bool
) -> None:
    """y (N,OH,OW,F) = im2col(x) @ weight + bias; `relu`: max(y, 0)."""
    abort_capture()  # a replay would not limit BLAS to one thread
    N, P, C, F = len(x), window.OH * window.OW, *weight.shape[2:]
    matrix = weight.reshape(-1, F)
    K = len(matrix)
    source, geometry = prepared(source_of(x)), prepared(window)
    tables = pixel_table(window, C), tap_table(window, C)

    def work(part: int, parts: int) -> None:
        buffer = scratch("padded", padded_size(window, C), x.dtype)
        for first, count in _groups(part, parts, N, P):
            cols = scratch("cols", count * P * K, x.dtype)[: count * P * K]
            _gather(cols, buffer, source, first, count, tables, geometry)
            out = y.reshape(N * P, F)[first * P : (first + count) * P]
            np.matmul(cols.reshape(count * P, K), matrix, out=out)
            if bias is not None:
                np.add(out, bias, out=out)
            if relu:
                np.maximum(out, 0, out=out)

    single_threaded_blas(pool.run, work, split_work(N, 1, P * matrix.size)[0])


def backward(
    gradient: Source, x: Array, weight: Array, window: Window, dx: Array | None, dweight: Array,
    dbias: Array,
) -> None:  # fmt: skip
    """dx (N,H,W,C) or None, dweight (KH,KW,C,F) and dbias (F,) from the same matrix."""
    dy = gradient.x
    if gradient.mode == MASKED:
        dy = np.where(gradient.mask > 0, dy, dy.dtype.type(0))
    N, P, (*_, C, F) = len(x), window.OH * window.OW, weight.shape
    matrix = weight.reshape(-1, F)
    K = len(matrix)
    source, geometry = prepared(source_of(x)), prepared(window)
    tables = pixel_table(window, C), tap_table(window, C)
    dY = dy.reshape(N * P, F)
    parts = count_partials(N, P * weight.size, weight.size)
    # per part (K+1, F): dweight and, in the last row, dbias
    partial = scratch("dweights", parts * (K + 1) * F, x.dtype)[: parts * (K + 1) * F]
    partial = partial.reshape(parts, K + 1, F)

    def work(part: int, parts: int) -> None:
        buffer = scratch("padded", padded_size(window, C), x.dtype)
        mine = partial[part]
        mine[...] = 0
        for first, count in _groups(part, parts, N, P):
            cols = scratch("cols", count * P * K, x.dtype)[: count * P * K]
            rows = dY[first * P : (first + count) * P]
            _gather(cols, buffer, source, first, count, tables, geometry)
            mine[:K] += cols.reshape(count * P, K).T @ rows
            mine[K] += rows.sum(axis=0)
            if dx is not None:
                np.matmul(rows, matrix.T, out=cols.reshape(count * P, K))
                _scatter(cols, buffer, dx, first, count, tables, geometry)

    single_threaded_blas(pool.run, work, parts)
    total = partial.sum(axis=0)
    dweight[...], dbias[...] = total[:K].reshape(weight.shape), total[K]
