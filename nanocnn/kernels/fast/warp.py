"""Random image transforms: the map of a sample is composed where its image is sampled, in one pass.

Nothing is stored for the backward pass, which draws the same numbers again. The sample is copied
into a border of one pixel, so that the inner loop has no case for the image's edge.
"""

from typing import Any

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.scratch import run
from ...jit.simd import lanes, load_row, pointer, splat, store_row
from .. import transforms as formulas
from .hashing import uniform
from .outputs import Array, count_parts, result

PIXEL = 8  # simple operations that a pixel takes
IDENTITY, NUMBERS = formulas.IDENTITY, formulas.NUMBERS
ROTATION, ZOOM = formulas.ROTATION, formulas.ZOOM
ELASTIC, ERASING = formulas.ELASTIC, formulas.ERASING
between, cos_sin, affine_map, compose, rectangle, folded = map(
    inline,
    (
        formulas.between, formulas.cos_sin, formulas.affine_map, formulas.compose,
        formulas.rectangle, formulas.folded,
    ),
)  # fmt: skip


def warp_forward(
    x: Array, transforms: Array, keys: Array, fill_mode: str, fill_value: float,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """x (N,H,W,C) -> y (N,H,W,C): each image moved, turned, bent and erased by random amounts."""
    y = result(out, x.shape, x.dtype)
    _run(_warp_forward, np.ascontiguousarray(x), y, transforms, keys, fill_mode, fill_value)
    return y


def warp_backward(
    dy: Array, transforms: Array, keys: Array, fill_mode: str, fill_value: float,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """dy (N,H,W,C) -> dx (N,H,W,C): each gradient goes back to the four pixels it was mixed of."""
    dx = result(out, dy.shape, dy.dtype)
    _run(_warp_backward, np.ascontiguousarray(dy), dx, transforms, keys, fill_mode, fill_value)
    return dx


def _run(
    kernel: Any, x: Array, y: Array, transforms: Array, keys: Array, mode: str, value: float
) -> None:
    if x.ndim != 4 or x.dtype.kind != "f":
        raise ShapeError(f"x: expected floats (N,H,W,C), got {x.dtype} {x.shape}")
    T, kinds = len(transforms), transforms[..., 0].ravel().tolist()
    fits = transforms.shape == (T, 6) and keys.shape == (T, 2)
    fits = fits and transforms.dtype == np.float64 and keys.dtype == np.uint64
    if not fits or max(kinds.count(ELASTIC), kinds.count(ERASING)) > 1:
        raise ShapeError(
            f"transforms: expected float64 (T, 6), at most one elastic and one erasing, with keys "
            f"uint64 (T, 2), got {transforms.dtype} {transforms.shape} of kinds {kinds} with keys "
            f"{keys.dtype} {keys.shape}"
        )
    N, H, W, C = x.shape
    cells = [int(row[5]) for row in transforms if row[0] == formulas.ELASTIC]
    bases = (
        [formulas.spline(*cells, n, x.dtype) for n in (H, W)] if cells else [x.reshape(-1, W)] * 2
    )
    K = cells[0] + 3 if cells else 0
    sizes = {
        "padded": (H + 2) * (W + 2) * C, "moved": 2 * W, "grid": 2 * (K + 1) * K, "shares": 2 * W,
        "where": W,
    }  # fmt: skip
    x, y = x.reshape(N, H, W * C), y.reshape(N, H, W * C)
    parts = min(count_parts(x.size * PIXEL), max(N, 1))
    run(
        kernel, parts, sizes, x, y, C, transforms, keys, *bases, K,
        formulas.FILL_MODES.index(mode), x.dtype.type(value),
    )  # fmt: skip


@inline
def _numbers(key, sample):
    """The numbers of a transform that is not elastic."""
    return (
        uniform(key, sample, NUMBERS, 0), uniform(key, sample, NUMBERS, 1),
        uniform(key, sample, NUMBERS, 2), uniform(key, sample, NUMBERS, 3),
        uniform(key, sample, NUMBERS, 4), uniform(key, sample, NUMBERS, 5),
    )  # fmt: skip


@inline
def _composed(transforms, keys, sample, H, W):
    """The map of all transforms of a sample."""
    total = IDENTITY
    for t in range(len(transforms)):
        row, u = transforms[t], _numbers(keys[t], sample)
        a, b = between(row[1], row[2], u[0]), between(row[3], row[4], u[1])
        if row[0] == ROTATION:
            a, b = cos_sin(a)
        elif row[0] == ZOOM and row[5] != 0:
            b = a
        sign = -1.0 if u[2] < 0.5 else 1.0
        total = compose(total, affine_map(row[0], a, b, sign, 1.0 * H, 1.0 * W))
    return total


@inline
def _draw_grid(transforms, keys, sample, K, H, W, grid):
    """The knots (2, K, K) of the elastic transform of a sample."""
    for t in range(len(transforms)):
        row = transforms[t]
        if row[0] == ELASTIC:
            for way in range(2):
                low, high, n = row[1 + 2 * way], row[2 + 2 * way], H if way == 0 else W
                for i in range(way * K * K, (way + 1) * K * K):
                    u = uniform(keys[t], sample, 2 * K * K, i)
                    grid[i] = between(low, high, u) * n


@inline
def _move(grid, K, vertical, horizontal, i, W, moved):
    """The displacement (2, W) of row i: the splines of the knots' columns, then that along the row.

    Behind the grid (2, K, K) lies room for K numbers.
    """
    p, knots, to = pointer(horizontal), pointer(grid), pointer(moved)
    sums = 2 * K * K
    for way in range(2):
        for b in range(0, K, lanes(p)):
            total = splat(p, 0)
            for a in range(K):
                knot = load_row(knots, (way * K + a) * K + b, K - b)
                total = total + knot * splat(p, vertical[a, i])
            store_row(knots, sums + b, total, K - b)
        for j in range(0, W, lanes(p)):
            total = splat(p, 0)
            for b in range(K):
                total = total + splat(p, grid[sums + b]) * load_row(p, b * W + j, W - j)
            store_row(to, way * W + j, total, W - j)


@inline
def _find_cells(y, step_y, x, step_x, H, W, C, mode, moved, where, shares):
    """For each pixel of a row whose middle shows (y, x): its cell and its shares (2, W).

    The cell is the place in the padded image of the first of the four pixels that are mixed.
    """
    for j in range(W):
        right = j - (W - 1) / 2
        down = folded(y + step_y * right + moved[j], H, mode)
        along = folded(x + step_x * right + moved[W + j], W, mode)
        top, left = min(np.floor(down), H - 1.0), min(np.floor(along), W - 1.0)
        where[j] = ((int(top) + 1) * (W + 2) + int(left) + 1) * C
        shares[j], shares[W + j] = down - top, along - left


@inline
def _cells(total, i, H, W, C, mode, moved, where, shares):
    """`_find_cells` of row i, in a loop for each kind of fill mode: such loops are vectorized."""
    yy, yx, dy, xy, xx, dx = total
    down = i - (H - 1) / 2
    y, x = yy * down + (dy + (H - 1) / 2), xy * down + (dx + (W - 1) / 2)
    if mode == 2:
        _find_cells(y, yx, x, xx, H, W, C, 2, moved, where, shares)
    elif mode == 3:
        _find_cells(y, yx, x, xx, H, W, C, 3, moved, where, shares)
    else:
        _find_cells(y, yx, x, xx, H, W, C, 0, moved, where, shares)


@inline
def _mix(padded, where, shares, W, C, y):
    """A row of pixels y (W, C), each of the four of its cell."""
    row = (W + 2) * C
    for j in range(W):
        for c in range(C):
            at, share_y, share_x = where[j] + c, shares[j], shares[W + j]
            a, b, d, e = padded[at], padded[at + C], padded[at + row], padded[at + row + C]
            upper, lower = a + share_x * (b - a), d + share_x * (e - d)
            y[j * C + c] = upper + share_y * (lower - upper)


@inline
def _fill_border(padded, H, W, C, mode, value):
    """Set the border of the padded image (H+2, W+2, C), of which the inside is set."""
    row = (W + 2) * C
    for h in range(1, H + 1):
        at = h * row
        for c in range(C):
            if mode == 0:
                padded[at + c] = padded[at + (W + 1) * C + c] = value
            else:
                first, last = (W, 1) if mode == 3 else (1, W)
                padded[at + c] = padded[at + first * C + c]
                padded[at + (W + 1) * C + c] = padded[at + last * C + c]
    first, last = (H, 1) if mode == 3 else (1, H)
    for i in range(row):
        padded[i] = value if mode == 0 else padded[first * row + i]
        padded[(H + 1) * row + i] = value if mode == 0 else padded[last * row + i]


@inline
def _erased(transforms, keys, sample, H, W):
    """The rectangle (y, y, x, x) of a sample that is erased, and what it becomes."""
    bounds, value = (0.0, 0.0, 0.0, 0.0), 0.0
    for t in range(len(transforms)):
        if transforms[t, 0] == ERASING:
            u = _numbers(keys[t], sample)
            bounds, value = rectangle(transforms[t], u, 1.0 * H, 1.0 * W), transforms[t, 5]
    return bounds, value


@kernel
def _warp_forward(
    part, parts, memory, x, y, C, transforms, keys, vertical, horizontal, K, mode, value
):  # fmt: skip
    padded, moved, grid, shares, where = memory
    N, H, WC = x.shape
    W = WC // C
    start, stop = part_range(part, parts, N)
    for i in range(2 * W):
        moved[i] = 0
    for n in range(start, stop):
        for i in range(H):
            for k in range(WC):
                padded[(i + 1) * (WC + 2 * C) + C + k] = x[n, i, k]
        _fill_border(padded, H, W, C, mode, value)
        total = _composed(transforms, keys, n, H, W)
        _draw_grid(transforms, keys, n, K, H, W, grid)
        for i in range(H):
            if K:
                _move(grid, K, vertical, horizontal, i, W, moved)
            _cells(total, i, H, W, C, mode, moved, where, shares)
            if C == 1:
                _mix(padded, where, shares, W, 1, y[n, i])
            else:
                _mix(padded, where, shares, W, C, y[n, i])
        (first, last, start_x, stop_x), new = _erased(transforms, keys, n, H, W)
        for i in range(int(np.ceil(first)), int(np.ceil(last))):
            for k in range(int(np.ceil(start_x)) * C, int(np.ceil(stop_x)) * C):
                y[n, i, k] = x.dtype.type(new)


@kernel
def _warp_backward(
    part, parts, memory, dy, dx, C, transforms, keys, vertical, horizontal, K, mode, value
):  # fmt: skip
    padded, moved, grid, shares, where = memory
    N, H, WC = dy.shape
    W, row = WC // C, WC + 2 * C
    start, stop = part_range(part, parts, N)
    for i in range(2 * W):
        moved[i] = 0
    for n in range(start, stop):
        for i in range((H + 2) * row):
            padded[i] = 0
        total = _composed(transforms, keys, n, H, W)
        _draw_grid(transforms, keys, n, K, H, W, grid)
        (first, last, start_x, stop_x), _ = _erased(transforms, keys, n, H, W)
        for i in range(H):
            if K:
                _move(grid, K, vertical, horizontal, i, W, moved)
            _cells(total, i, H, W, C, mode, moved, where, shares)
            for j in range(W):
                if (i >= first) & (i < last) & (j >= start_x) & (j < stop_x):
                    continue
                for c in range(C):
                    at, share_y, share_x = where[j] + c, shares[j], shares[W + j]
                    d = dy[n, i, j * C + c]
                    lower = share_y * d
                    upper = d - lower
                    padded[at] += upper - share_x * upper
                    padded[at + C] += share_x * upper
                    padded[at + row] += lower - share_x * lower
                    padded[at + row + C] += share_x * lower
        if mode != 0:
            _add_border(padded, H, W, C, mode)
        for i in range(H):
            for k in range(WC):
                dx[n, i, k] = padded[(i + 1) * row + C + k]


@inline
def _add_border(padded, H, W, C, mode):
    """Add the border's gradients to the pixels that it copies."""
    row = (W + 2) * C
    first, last = (H, 1) if mode == 3 else (1, H)
    for i in range(row):
        padded[first * row + i] += padded[i]
    for i in range(row):
        padded[last * row + i] += padded[(H + 1) * row + i]
    first, last = (W, 1) if mode == 3 else (1, W)
    for h in range(1, H + 1):
        for c in range(C):
            padded[h * row + first * C + c] += padded[h * row + c]
            padded[h * row + last * C + c] += padded[h * row + (W + 1) * C + c]
