"""Zero padding: a copy of each image row by row, into zeros or out of them."""

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.simd import lanes, load_row, pointer, splat, store_row
from .outputs import Array, count_parts, result

Padding = tuple[tuple[int, int], tuple[int, int]]


def zero_pad_forward(x: Array, padding: Padding, out: Array | None = None) -> Array:
    """x (N,H,W,C) -> y (N,HP,WP,C); padding: ((top, bottom), (left, right))."""
    N, H, W, C = x.shape
    (top, bottom), (left, right) = padding
    y = result(out, (N, H + top + bottom, W + left + right, C), x.dtype)
    arrays = np.ascontiguousarray(x).reshape(N, H, W * C), y.reshape(N, -1, (W + left + right) * C)
    run(_zero_pad_forward, min(count_parts(y.size), max(N, 1)), *arrays, top, left * C)
    return y


@kernel
def _zero_pad_forward(part, parts, x, y, top, left):
    p, to = pointer(x), pointer(y)
    H, size, HP, padded = x.shape[1], x.shape[2], y.shape[1], y.shape[2]
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        for row in range(HP):
            at, h = (n * HP + row) * padded, row - top
            if h < 0 or h >= H:
                _set_to_zero(to, at, at + padded)
            else:
                _set_to_zero(to, at, at + left)
                _copy(p, (n * H + h) * size, to, at + left, size)
                _set_to_zero(to, at + left + size, at + padded)


@inline
def _set_to_zero(p, start, stop):
    for i in range(start, stop, lanes(p)):
        store_row(p, i, splat(p, 0), stop - i)


@inline
def _copy(p, at, to, to_at, count):
    for i in range(0, count, lanes(p)):
        store_row(to, to_at + i, load_row(p, at + i, count - i), count - i)


def zero_pad_backward(dy: Array, padding: Padding, out: Array | None = None) -> Array:
    """dy (N,HP,WP,C) -> dx (N,H,W,C): without the padding."""
    N, HP, WP, C = dy.shape
    (top, bottom), (left, right) = padding
    H, W = HP - top - bottom, WP - left - right
    if min(H, W) < 1:
        raise ShapeError(f"dy: expected images larger than their padding {padding}, got {dy.shape}")
    dx = result(out, (N, H, W, C), dy.dtype)
    arrays = np.ascontiguousarray(dy).reshape(N, HP, WP * C), dx.reshape(N, H, W * C)
    run(_zero_pad_backward, min(count_parts(dx.size), max(N, 1)), *arrays, top, left * C)
    return dx


@kernel
def _zero_pad_backward(part, parts, dy, dx, top, left):
    H, size, HP, padded = dx.shape[1], dx.shape[2], dy.shape[1], dy.shape[2]
    start, stop = part_range(part, parts, dx.shape[0])
    for n in range(start, stop):
        for h in range(H):
            at = (n * HP + top + h) * padded + left
            _copy(pointer(dy), at, pointer(dx), (n * H + h) * size, size)
