"""Zero padding: a copy of each image row by row, into zeros or out of them."""

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.pool import run
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
    start, stop = part_range(part, parts, x.shape[0])
    for n in range(start, stop):
        y[n] = 0
        for h in range(x.shape[1]):
            row, to = x[n, h], y[n, top + h]
            for i in unsigned_range(0, x.shape[2]):
                to[left + i] = row[i]


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
    start, stop = part_range(part, parts, dx.shape[0])
    for n in range(start, stop):
        for h in range(dx.shape[1]):
            row, to = dy[n, top + h], dx[n, h]
            for i in unsigned_range(0, dx.shape[2]):
                to[i] = row[left + i]
