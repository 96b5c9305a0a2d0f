"""Pooling without im2col: vectors hold channels of a pixel.

Nothing is padded: a window at the border visits only its cells inside the image.
"""

from math import prod

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.simd import lanes, load_row, pointer, select, splat, store_row
from ...jit.simd_lanes import convert
from ..geometry import Window
from .outputs import Array, check_arrays, count_parts, result, results
from .rows import load_as

MAX_CELLS = 1 << 24  # of a window: positions are computed as floats, which are exact up to here


def _check(name: str, x: Array, *shape: int) -> None:
    if x.shape[1:3] != shape or x.ndim != 4:
        raise ShapeError(f"{name}: expected (N, {shape[0]}, {shape[1]}, C), got {x.shape}")


def _parts(x: Array, window: Window) -> int:
    return min(count_parts(prod(x.shape) * window.KH * window.KW), max(len(x), 1))


@inline
def _cells_inside(place, stride, before, dilation, k, size):
    """The position of the window's first cell, and the range of its cells inside the image."""
    first = place * stride - before
    start = max(0, -(first // dilation))
    stop = min(k, (size - first + dilation - 1) // dilation)
    return first, start, stop


def max_pool_forward(
    x: Array, window: Window, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """x (N,H,W,C) -> y (N,OH,OW,C), argmax (N,OH,OW,C): the first maximum of each window."""
    _check("x", x, window.H, window.W)
    cells = window.KH * window.KW
    if cells > MAX_CELLS:
        raise ShapeError(
            f"max_pool_forward: a window of {cells} cells, expected at most {MAX_CELLS}"
        )
    shape = (len(x), window.OH, window.OW, x.shape[3])
    dtype = np.dtype(np.uint8 if cells <= 255 else np.int32)
    y, argmax = results(out, (shape, x.dtype), (shape, dtype))
    run(_max_pool_forward, _parts(y, window), np.ascontiguousarray(x), y, argmax, tuple(window))
    return y, argmax


@kernel
def _max_pool_forward(part, parts, x, y, argmax, window):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = x.shape[0], x.shape[3]
    p, maxima, argmaxes = pointer(x), pointer(y), pointer(argmax)
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        for oh in range(OH):
            row, first_kh, last_kh = _cells_inside(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _cells_inside(ow, SW, left, DW, KW, W)
                to = ((n * OH + oh) * OW + ow) * C
                for c in range(0, C, lanes(p)):
                    best, best_cell = splat(p, -np.inf), splat(p, 0)
                    for kh in range(first_kh, last_kh):
                        for kw in range(first_kw, last_kw):
                            at = ((n * H + row + kh * DH) * W + column + kw * DW) * C + c
                            cell = load_row(p, at, C - c)
                            # larger, or the first NaN
                            is_max = ((cell > best) | (cell != cell)) & (best == best)
                            best = select(is_max, cell, best)
                            best_cell = select(is_max, splat(p, kh * KW + kw), best_cell)
                    store_row(maxima, to + c, best, C - c)
                    store_row(argmaxes, to + c, convert(best_cell, argmaxes), C - c)


def _leaves_gaps(window: Window) -> bool:
    """Whether some pixel is in no window or in several: the image is not cut into windows."""
    exact = (window.H, window.W) == (window.OH * window.KH, window.OW * window.KW)
    return not exact or (window.KH, window.KW) != (window.SH, window.SW)


def max_pool_backward(dy: Array, argmax: Array, window: Window, out: Array | None = None) -> Array:
    """dy, argmax (N,OH,OW,C) -> dx (N,H,W,C): each gradient goes to the maximum of its window."""
    _check("dy", dy, window.OH, window.OW)
    check_arrays(dy.shape, argmax.dtype, argmax=argmax)
    dx = result(out, (len(dy), window.H, window.W, dy.shape[3]), dy.dtype)
    arrays = np.ascontiguousarray(dy), np.ascontiguousarray(argmax), dx
    run(_max_pool_backward, _parts(dy, window), *arrays, tuple(window), _leaves_gaps(window))
    return dx


@kernel
def _max_pool_backward(part, parts, dy, argmax, dx, window, adds):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = dy.shape[0], dy.shape[3]
    p, to, argmaxes = pointer(dy), pointer(dx), pointer(argmax)
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        if adds:
            dx[n] = 0
        for oh in range(OH):
            row, first_kh, last_kh = _cells_inside(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _cells_inside(ow, SW, left, DW, KW, W)
                at = ((n * OH + oh) * OW + ow) * C
                for c in range(0, C, lanes(p)):
                    grad = load_row(p, at + c, C - c)
                    best = load_as(argmaxes, at + c, C - c, grad)
                    for kh in range(first_kh, last_kh):
                        for kw in range(first_kw, last_kw):
                            is_max = best == splat(best, kh * KW + kw)
                            cell = select(is_max, grad, splat(p, 0))
                            pixel = ((n * H + row + kh * DH) * W + column + kw * DW) * C + c
                            _put(to, pixel, cell, C - c, adds)


@inline
def _put(p, i, vector, count, adds):
    """Write the vector to p[i], or add it."""
    store_row(p, i, load_row(p, i, count) + vector if adds else vector, count)


def average_pool_forward(x: Array, window: Window, out: Array | None = None) -> Array:
    """x (N,H,W,C) -> y (N,OH,OW,C): the mean of each window, padding excluded."""
    _check("x", x, window.H, window.W)
    y = result(out, (len(x), window.OH, window.OW, x.shape[3]), x.dtype)
    run(_average_pool_forward, _parts(y, window), np.ascontiguousarray(x), y, tuple(window))
    return y


@kernel
def _average_pool_forward(part, parts, x, y, window):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = x.shape[0], x.shape[3]
    p, to = pointer(x), pointer(y)
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        for oh in range(OH):
            row, first_kh, last_kh = _cells_inside(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _cells_inside(ow, SW, left, DW, KW, W)
                at = ((n * OH + oh) * OW + ow) * C
                count = splat(p, (last_kh - first_kh) * (last_kw - first_kw))
                for c in range(0, C, lanes(p)):
                    total = splat(p, 0)
                    for kh in range(first_kh, last_kh):
                        for kw in range(first_kw, last_kw):
                            pixel = ((n * H + row + kh * DH) * W + column + kw * DW) * C + c
                            total = total + load_row(p, pixel, C - c)
                    store_row(to, at + c, total / count, C - c)


def average_pool_backward(dy: Array, window: Window, out: Array | None = None) -> Array:
    """dy (N,OH,OW,C) -> dx (N,H,W,C): dy is divided among the cells of its window."""
    _check("dy", dy, window.OH, window.OW)
    dx = result(out, (len(dy), window.H, window.W, dy.shape[3]), dy.dtype)
    arrays = np.ascontiguousarray(dy), dx
    run(_average_pool_backward, _parts(dy, window), *arrays, tuple(window), _leaves_gaps(window))
    return dx


@kernel
def _average_pool_backward(part, parts, dy, dx, window, adds):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = dy.shape[0], dy.shape[3]
    p, to = pointer(dy), pointer(dx)
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        if adds:
            dx[n] = 0
        for oh in range(OH):
            row, first_kh, last_kh = _cells_inside(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _cells_inside(ow, SW, left, DW, KW, W)
                at = ((n * OH + oh) * OW + ow) * C
                count = splat(p, (last_kh - first_kh) * (last_kw - first_kw))
                for c in range(0, C, lanes(p)):
                    share = load_row(p, at + c, C - c) / count
                    for kh in range(first_kh, last_kh):
                        for kw in range(first_kw, last_kw):
                            pixel = ((n * H + row + kh * DH) * W + column + kw * DW) * C + c
                            _put(to, pixel, share, C - c, adds)


def global_max_forward(x: Array, out: Array | None = None) -> Array:
    """x (N,H,W,C) -> y (N,C): the maximum of each channel."""
    N, H, W, C = x.shape
    y = result(out, (N, C), x.dtype)
    parts = min(count_parts(x.size), max(N, 1))
    run(_global_max_forward, parts, np.ascontiguousarray(x).reshape(N, H * W, C), y)
    return y


@kernel
def _global_max_forward(part, parts, x, y):
    pixels, C = x.shape[1], x.shape[2]
    p, maxima = pointer(x), pointer(y)
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(0, C, lanes(p)):
            best = splat(p, -np.inf)
            for i in range(pixels):
                pixel = load_row(p, (n * pixels + i) * C + c, C - c)
                is_max = (pixel > best) | (pixel != pixel)
                best = select(is_max & (best == best), pixel, best)
            store_row(maxima, n * C + c, best, C - c)


def global_max_backward(dy: Array, x: Array, y: Array, out: Array | None = None) -> Array:
    """dy, y (N,C) -> dx (N,H,W,C): pixels that are equal to the maximum share its gradient."""
    N, H, W, C = x.shape
    check_arrays((N, C), x.dtype, dy=dy, y=y)
    dx = result(out, x.shape, x.dtype)
    arrays = [np.ascontiguousarray(each) for each in (dy, x.reshape(N, H * W, C), y)]
    run(_global_max_backward, min(count_parts(x.size), max(N, 1)), *arrays, dx)
    return dx


@kernel
def _global_max_backward(part, parts, dy, x, y, dx):
    pixels, C = x.shape[1], x.shape[2]
    p, maxima, grads, to = pointer(x), pointer(y), pointer(dy), pointer(dx)
    zero, one = splat(p, 0), splat(p, 1)
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for c in range(0, C, lanes(p)):
            best, count = load_row(maxima, n * C + c, C - c), zero
            for i in range(pixels):
                pixel = load_row(p, (n * pixels + i) * C + c, C - c)
                count = count + select(pixel == best, one, zero)
            share = load_row(grads, n * C + c, C - c) / count
            for i in range(pixels):
                at = (n * pixels + i) * C + c
                is_max = load_row(p, at, C - c) == best
                store_row(to, at, select(is_max, share, zero), C - c)
