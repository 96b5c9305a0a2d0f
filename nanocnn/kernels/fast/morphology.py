"""Random grey morphology: each pixel moves towards the maximum or minimum of its cross.

Each sample is copied into a border of -infinity, its sign changed for an erosion, so that the inner
loops always look for a maximum and have no case for the image's edge. Vectors hold neighbouring
numbers of a row.
"""

from typing import Any

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.scratch import run
from ...jit.simd import lanes, load_row, pointer, select, splat, store_row
from .. import transforms as formulas
from .hashing import uniform
from .outputs import Array, check_arrays, count_parts, result

PIXEL = 4  # simple operations that a number takes
between = inline(formulas.between)


def morphology_forward(
    x: Array, low: float, high: float, keys: Array, out: Array | None = None
) -> Array:
    """x (N,H,W,C) -> y (N,H,W,C): bright strokes made thicker or thinner by random amounts."""
    _check(x, keys)
    y = result(out, x.shape, x.dtype)
    _run(_morphology_forward, {}, x, low, high, keys, y)
    return y


def morphology_backward(
    dy: Array, x: Array, low: float, high: float, keys: Array, out: Array | None = None
) -> Array:
    """dy (N,H,W,C) -> dx (N,H,W,C): each gradient goes to its pixel and to the one it moved to."""
    _check(x, keys)
    check_arrays(x.shape, x.dtype, dy=dy)
    dx = result(out, x.shape, x.dtype)
    plane = (x.shape[1] + 2) * (x.shape[2] + 2) * x.shape[3]
    sizes = {"moved": plane, "first": plane}
    _run(_morphology_backward, sizes, x, low, high, keys, np.ascontiguousarray(dy), dx)
    return dx


def _check(x: Array, keys: Array) -> None:
    if x.ndim != 4 or x.dtype.kind != "f":
        raise ShapeError(f"x: expected floats (N,H,W,C), got {x.dtype} {x.shape}")
    check_arrays((2,), np.uint64, keys=keys)


def _run(
    kernel: Any, sizes: dict[str, int], x: Array, low: float, high: float, keys: Array,
    *others: Array,
) -> None:  # fmt: skip
    N, H, W, C = x.shape
    rows = [each.reshape(N, H, W * C) for each in (np.ascontiguousarray(x), *others)]
    parts = min(count_parts(x.size * PIXEL), max(N, 1))
    sizes = {"padded": (H + 2) * (W + 2) * C, **sizes}
    run(kernel, parts, sizes, C, float(low), float(high), keys, *rows)


@inline
def _drawn(low, high, keys, sample):
    """How far the pixels of a sample move, from 0 to 1, and the sign of the way: -1 to minima."""
    a = between(low, high, uniform(keys, sample, 1, 0))
    return abs(a), -1.0 if a < 0 else 1.0


@inline
def _pad(image, sign, C, padded):
    """Copy an image (H, W C), times `sign`, into a border of -infinity."""
    H, WC = image.shape
    row, p = WC + 2 * C, pointer(padded)
    outside, signs = splat(p, -np.inf), splat(p, sign)
    for k in range(0, row, lanes(p)):
        store_row(p, k, outside, row - k)
        store_row(p, (H + 1) * row + k, outside, row - k)
    for i in range(H):
        at = (i + 1) * row
        for k in range(0, WC, lanes(p)):
            pixels = load_row(pointer(image), i * WC + k, WC - k)
            store_row(p, at + C + k, signs * pixels, WC - k)
        for c in range(at, at + C):
            padded[c] = padded[c + C + WC] = -np.inf


@inline
def _is_largest(a, b):
    """Whether a is the maximum of a and b, in this order: NaN is larger than all numbers."""
    return (a >= b) | (a != a)


@inline
def _larger(a, b):
    return select(_is_largest(a, b), a, b)


@kernel
def _morphology_forward(part, parts, memory, C, low, high, keys, x, y):
    (padded,) = memory
    N, H, WC = x.shape
    row, p = WC + 2 * C, pointer(padded)
    start, stop = part_range(part, parts, N)
    for n in range(start, stop):
        size, way = _drawn(low, high, keys, n)
        share, sign = splat(p, size), splat(p, way)
        _pad(x[n], way, C, padded)
        for i in range(H):
            for k in range(0, WC, lanes(p)):
                at, count = (i + 1) * row + C + k, WC - k
                middle = load_row(p, at, count)
                across = _larger(load_row(p, at - C, count), load_row(p, at + C, count))
                down = _larger(load_row(p, at - row, count), load_row(p, at + row, count))
                found = sign * _larger(middle, _larger(across, down))
                pixel = sign * middle
                moved = pixel + share * (found - pixel)
                store_row(pointer(y), (n * H + i) * WC + k, moved, count)


@kernel
def _morphology_backward(part, parts, memory, C, low, high, keys, x, dy, dx):
    """`first`: which of the cross each pixel moved to, from 0 on; `moved`: that part of dy."""
    padded, moved, first = memory
    N, H, WC = x.shape
    row, p, m, f = WC + 2 * C, pointer(padded), pointer(moved), pointer(first)
    start, stop = part_range(part, parts, N)
    for i in range((H + 2) * row):
        first[i] = moved[i] = 0  # that of the border moved nowhere
    for n in range(start, stop):
        size, way = _drawn(low, high, keys, n)
        share = splat(p, size)
        _pad(x[n], way, C, padded)
        for i in range(H):
            for k in range(0, WC, lanes(p)):
                at, count = (i + 1) * row + C + k, WC - k
                gradient = load_row(pointer(dy), (n * H + i) * WC + k, count)
                store_row(m, at, share * gradient, count)
                _find_first(p, at, count, row, C, f)
        for i in range(H):
            for k in range(0, WC, lanes(p)):
                at, count = (i + 1) * row + C + k, WC - k
                gradient = load_row(pointer(dy), (n * H + i) * WC + k, count)
                total = gradient - load_row(m, at, count)
                total = total + _moved_by(m, f, at, 0, count)
                total = total + _moved_by(m, f, at + row, 1, count)
                total = total + _moved_by(m, f, at + C, 2, count)
                total = total + _moved_by(m, f, at - C, 3, count)
                total = total + _moved_by(m, f, at - row, 4, count)
                store_row(pointer(dx), (n * H + i) * WC + k, total, count)


@inline
def _find_first(p, at, count, row, C, f):
    """Write to f which is the first maximum of: the pixel, that above, left, right, below."""
    best, number = load_row(p, at, count), splat(p, 0)
    best, number = _better(best, number, load_row(p, at - row, count), 1)
    best, number = _better(best, number, load_row(p, at - C, count), 2)
    best, number = _better(best, number, load_row(p, at + C, count), 3)
    best, number = _better(best, number, load_row(p, at + row, count), 4)
    store_row(f, at, number, count)


@inline
def _better(best, number, pixel, its_number):
    stays = _is_largest(best, pixel)
    return select(stays, best, pixel), select(stays, number, splat(best, its_number))


@inline
def _moved_by(m, f, at, number, count):
    """What the pixels at `at` move by this step of the cross, 0 where they move by another."""
    zero = splat(m, 0)
    steps = load_row(f, at, count)
    return select(steps == splat(m, number), load_row(m, at, count), zero)
