"""Convolution as matrix products of an im2col matrix: any stride, dilation, padding and size.

What differs from the reference: the matrix is made for a few samples at a time, in memory that is
kept, and the groups are shared out over the threads; each product is BLAS's, on one thread. Slower
than `conv_direct` wherever that works, since the matrix is written and read; only the input
gradient of a strided convolution has no direct kernel.
"""

import numpy as np

from ....common.arrays import Array
from ....jit import pool
from ....jit.compile import kernel
from ....jit.program import abort_capture
from ....jit.scratch import prepared, scratch
from ....jit.simd import pointer
from ....jit.threads import single_threaded_blas
from ...geometry import Window
from .pack import count_partials, cut, padded_items, pixel_table, tap_table
from .source import Source, clear, copy, pointers_of, read_padded, source_of

GROUP = 1024  # rows of the matrix that are made at a time


@kernel
def _gather(cols, buffer, source, first, count, tables, window):
    """cols (count*P, K) = im2col of `count` samples."""
    source, window = Source(*source), Window(*window)
    (pixels, taps), C = tables, source.x.shape[3]
    P, K, run = pixels.size, taps.size, window.KW * C
    read, b, to = pointers_of(source), pointer(buffer), pointer(cols)
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
    """dx of `count` samples: the rows of cols (count*P, K) summed up where they came from."""
    window = Window(*window)
    (pixels, taps), C = tables, dx.shape[3]
    P, K = pixels.size, taps.size
    b, source, pitch = pointer(buffer), pointer(cols), (window.left + window.W + window.right) * C
    for sample in range(first, first + count):
        clear(b, (window.top + window.H + window.bottom) * pitch)
        for p in range(P):
            for k in range(K):
                b[pixels[p] + taps[k]] = b[pixels[p] + taps[k]] + source[p * K + k]
        source = source + P * K
        for h in range(window.H):
            to = pointer(dx) + (sample * window.H + h) * window.W * C
            copy(to, b + (window.top + h) * pitch + window.left * C, window.W * C)


def _groups(part: int, parts: int, N: int, P: int) -> list[tuple[int, int]]:
    """This part's samples in groups of about GROUP rows: (first, count)."""
    begin, end, size = part * N // parts, (part + 1) * N // parts, max(1, GROUP // P)
    return [(first, min(size, end - first)) for first in range(begin, end, size)]


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window, y: Array, relu: bool
) -> None:
    """y = x * weight + bias, rectified if `relu`."""
    abort_capture()  # at each call BLAS must be held to one thread
    N, P, C, F = len(x), window.OH * window.OW, *weight.shape[2:]
    matrix = weight.reshape(-1, F)
    K = len(matrix)
    source, geometry = prepared(source_of(x)), prepared(window)
    tables = pixel_table(window, C), tap_table(window, C)

    def work(part: int, parts: int) -> None:
        buffer = scratch("padded", padded_items(window, C), x.dtype)
        for first, count in _groups(part, parts, N, P):
            cols = scratch("cols", count * P * K, x.dtype)[: count * P * K]
            _gather(cols, buffer, source, first, count, tables, geometry)
            out = y.reshape(N * P, F)[first * P : (first + count) * P]
            np.matmul(cols.reshape(count * P, K), matrix, out=out)
            if bias is not None:
                np.add(out, bias, out=out)
            if relu:
                np.maximum(out, 0, out=out)

    single_threaded_blas(pool.run, work, cut(N, 1, P * matrix.size)[0])


def backward(
    dy: Array, x: Array, weight: Array, window: Window, dx: Array | None, dweight: Array,
    dbias: Array,
) -> None:  # fmt: skip
    """dx, dweight and dbias together: they share the matrix."""
    N, P, (*_, C, F) = len(x), window.OH * window.OW, weight.shape
    matrix = weight.reshape(-1, F)
    K = len(matrix)
    source, geometry = prepared(source_of(x)), prepared(window)
    tables = pixel_table(window, C), tap_table(window, C)
    dY = dy.reshape(N * P, F)
    parts = count_partials(N, P * weight.size)
    # of each part (K+1, F): dweight and, in the last row, dbias
    partial = scratch("dweights", parts * (K + 1) * F, x.dtype)[: parts * (K + 1) * F]
    partial = partial.reshape(parts, K + 1, F)

    def work(part: int, parts: int) -> None:
        buffer = scratch("padded", padded_items(window, C), x.dtype)
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
