"""Pooling without im2col: the channels of a cell lie side by side, so the inner loop is a vector's.

Padding is never written anywhere: a window at the border visits its real cells only.
"""

from math import prod

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import inline, kernel, part_range
from ...jit.simd import convert, lanes, load_row, pointer, select, splat, store_row
from ...jit.threads import run
from ..geometry import Window
from .outputs import Array, count_parts, expect, result, results

EXACT = 1 << 24  # the numbers of a window's cells are counted in floats: all up to here are exact


def _check(name: str, x: Array, *shape: int) -> None:
    if x.shape[1:3] != shape or x.ndim != 4:
        raise ShapeError(f"{name}: expected (N, {shape[0]}, {shape[1]}, C), got {x.shape}")


def _parts(x: Array, window: Window) -> int:
    return min(count_parts(prod(x.shape) * window.KH * window.KW), max(len(x), 1))


@inline
def _reach(place, stride, before, dilation, k, size):
    """Which k of a window are inside the image, as a range, and where its first cell would lie."""
    first = place * stride - before
    start = max(0, -(first // dilation))
    stop = min(k, (size - first + dilation - 1) // dilation)
    return first, start, stop


def max_pool_forward(
    x: Array, window: Window, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """x (N,H,W,C) -> y (N,OH,OW,C) and the winning cell of each window (the first maximum)."""
    _check("x", x, window.H, window.W)
    cells = window.KH * window.KW
    if cells > EXACT:
        raise ShapeError(f"max_pool_forward: a window of {cells} cells, expected {EXACT} at most")
    shape = (len(x), window.OH, window.OW, x.shape[3])
    code = np.uint8 if cells <= 255 else np.int32
    y, argmax = results(out, (shape, x.dtype), (shape, np.dtype(code)))
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
            row, first_kh, last_kh = _reach(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _reach(ow, SW, left, DW, KW, W)
                to = ((n * OH + oh) * OW + ow) * C
                for c in range(0, C, lanes(p)):
                    best, code = splat(p, -np.inf), splat(p, 0)
                    for kh in range(first_kh, last_kh):
                        for kw in range(first_kw, last_kw):
                            at = ((n * H + row + kh * DH) * W + column + kw * DW) * C + c
                            cell = load_row(p, at, C - c)
                            # larger, or the first NaN
                            wins = ((cell > best) | (cell != cell)) & (best == best)
                            best = select(wins, cell, best)
                            code = select(wins, splat(p, kh * KW + kw), code)
                    store_row(maxima, to + c, best, C - c)
                    store_row(argmaxes, to + c, convert(code, argmaxes), C - c)


def max_pool_backward(dy: Array, argmax: Array, window: Window, out: Array | None = None) -> Array:
    """dy, winner (N,OH,OW,C) -> dx (N,H,W,C): each gradient goes to its window's winner."""
    _check("dy", dy, window.OH, window.OW)
    expect(dy.shape, argmax.dtype, argmax=argmax)
    dx = result(out, (len(dy), window.H, window.W, dy.shape[3]), dy.dtype)
    arrays = np.ascontiguousarray(dy), np.ascontiguousarray(argmax), dx
    run(_max_pool_backward, _parts(dy, window), *arrays, tuple(window))
    return dx


@kernel
def _max_pool_backward(part, parts, dy, argmax, dx, window):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = dy.shape[0], dy.shape[3]
    zero = dy.dtype.type(0)
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        dx[n] = zero
        for oh in range(OH):
            row, first_kh, last_kh = _reach(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _reach(ow, SW, left, DW, KW, W)
                grad, code = dy[n, oh, ow], argmax[n, oh, ow]
                for kh in range(first_kh, last_kh):
                    for kw in range(first_kw, last_kw):
                        cell = dx[n, row + kh * DH, column + kw * DW]
                        q = kh * KW + kw
                        for c in range(C):
                            cell[c] += grad[c] if code[c] == q else zero


def average_pool_forward(x: Array, window: Window, out: Array | None = None) -> Array:
    """x (N,H,W,C) -> y (N,OH,OW,C): the mean of each window's real cells."""
    _check("x", x, window.H, window.W)
    y = result(out, (len(x), window.OH, window.OW, x.shape[3]), x.dtype)
    run(_average_pool_forward, _parts(y, window), np.ascontiguousarray(x), y, tuple(window))
    return y


@kernel
def _average_pool_forward(part, parts, x, y, window):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = x.shape[0], x.shape[3]
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        for oh in range(OH):
            row, first_kh, last_kh = _reach(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _reach(ow, SW, left, DW, KW, W)
                mean = y[n, oh, ow]
                mean[:] = 0
                for kh in range(first_kh, last_kh):
                    for kw in range(first_kw, last_kw):
                        cell = x[n, row + kh * DH, column + kw * DW]
                        for c in range(C):
                            mean[c] += cell[c]
                count = x.dtype.type((last_kh - first_kh) * (last_kw - first_kw))
                for c in range(C):
                    mean[c] /= count


def average_pool_backward(dy: Array, window: Window, out: Array | None = None) -> Array:
    """dy (N,OH,OW,C) -> dx (N,H,W,C): each real cell of a window gets an equal share."""
    _check("dy", dy, window.OH, window.OW)
    dx = result(out, (len(dy), window.H, window.W, dy.shape[3]), dy.dtype)
    run(_average_pool_backward, _parts(dy, window), np.ascontiguousarray(dy), dx, tuple(window))
    return dx


@kernel
def _average_pool_backward(part, parts, dy, dx, window):
    H, W, KH, KW, SH, SW, DH, DW, top, _, left, _, OH, OW = window
    N, C = dy.shape[0], dy.shape[3]
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        dx[n] = 0
        for oh in range(OH):
            row, first_kh, last_kh = _reach(oh, SH, top, DH, KH, H)
            for ow in range(OW):
                column, first_kw, last_kw = _reach(ow, SW, left, DW, KW, W)
                count = dy.dtype.type((last_kh - first_kh) * (last_kw - first_kw))
                for kh in range(first_kh, last_kh):
                    for kw in range(first_kw, last_kw):
                        cell = dx[n, row + kh * DH, column + kw * DW]
                        for c in range(C):
                            cell[c] += dy[n, oh, ow, c] / count
