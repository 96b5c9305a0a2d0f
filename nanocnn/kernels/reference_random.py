"""The reference kernels of the layers that draw random numbers: dropout and image transforms.

Part of `reference`, which explains the notation. K: knots of an elastic transform's grid in each
direction. The formulas of the transforms are in `transforms.py`.
"""

from typing import Any

import numpy as np

from ..common.arrays import Array
from . import transforms as formulas

CROSS = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))  # the pixel, those above, left, right, below
BORDER = ((0, 0), (1, 1), (1, 1), (0, 0))
PAD_MODES = ("constant", "edge", "symmetric", "wrap")  # NumPy's names of `FILL_MODES`


def hashes(size: int, key: int, first: int = 0) -> Array:
    """(size,) uint32: random numbers, numbered from `first` on.

    Number i depends on (key, i) alone: backward computes the same again, and so does any number of
    threads. lowbias32 (C. Wellons, "Prospecting for Hash Functions", 2018) hashes twice.
    """
    h = np.arange(first, first + size).astype(np.uint32) ^ np.uint32(key & 0xFFFFFFFF)
    for last in (np.uint32(key >> 32), np.uint32(0)):
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x7FEB352D)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x846CA68B)
        h ^= h >> np.uint32(16)
        h ^= last
    return h


# --- Dropout --------------------------------------------------------------------------------------
def dropout_mask(size: int, rate: float, key: int, first: int = 0) -> Array:
    """(size,) bool: True for an element that is kept, each with probability 1 - rate.

    Key and `first` as in `hashes`.
    """
    return hashes(size, key, first).astype(np.uint64) < np.uint64((1 - rate) * 2**32)


def dropout_forward(x: Array, rate: float, key: int | Array) -> Array:
    """y = x / (1 - rate) where the mask is True, else 0; E[y] = x.

    key: 0 <= key < 2**64, or uint64 (2,) with the number of x's first element.
    """
    key, first = map(int, key) if isinstance(key, np.ndarray) else (key, 0)
    mask = dropout_mask(x.size, rate, key, first).reshape(x.shape)
    scale = 1 / (1 - rate) if rate < 1 else 0
    return np.where(mask, x * scale, 0)


# y is x times a constant, 1/(1-rate) or 0, and dx is dy times the same constant.
dropout_backward = dropout_forward


# --- Image transforms -----------------------------------------------------------------------------
# All transforms of a sample are composed to one map, and the image is sampled once, bilinearly.
def warp_forward(
    x: Array, transforms: Array, keys: Array, fill_mode: str, fill_value: float
) -> Array:
    """x (N,H,W,C) -> y (N,H,W,C): each image moved, turned, bent and erased by random amounts.

    transforms  (T, 6) float64: see kernels/transforms.py; at most one is elastic and one erases
    keys        (T, 2) uint64: for each transform the key of its random numbers, and the place of
                x's first sample in the whole batch. The numbers depend on key and place alone
    fill_mode   what lies outside of the image: "constant" is `fill_value`, "nearest" the pixel at
                the border, "reflect" the image mirrored at its border, "wrap" the image again
    """
    (top, bottom), fy, (left, right), fx = _cells(x, transforms, keys, fill_mode)
    padded = _padded(x, fill_mode, fill_value)
    n = np.arange(len(x))[:, None, None]
    upper = _mixed(padded[n, top, left], padded[n, top, right], fx)
    lower = _mixed(padded[n, bottom, left], padded[n, bottom, right], fx)
    y = _mixed(upper, lower, fy)
    for mask, value in _erased(x.shape, transforms, keys):
        y[mask] = value
    return y


def warp_backward(
    dy: Array, transforms: Array, keys: Array, fill_mode: str, fill_value: float
) -> Array:
    """dy (N,H,W,C) -> dx (N,H,W,C): each gradient goes back to the four pixels it was mixed of."""
    dy = dy.copy()
    for mask, _ in _erased(dy.shape, transforms, keys):
        dy[mask] = 0
    (top, bottom), fy, (left, right), fx = _cells(dy, transforms, keys, fill_mode)
    upper, lower = dy - fy * dy, fy * dy
    parts = upper - fx * upper, fx * upper, lower - fx * lower, fx * lower
    rows = np.stack((top, top, bottom, bottom), axis=-1)
    columns = np.stack((left, right, left, right), axis=-1)
    dpadded = _padded(np.zeros_like(dy), "constant", 0)
    n = np.arange(len(dy))[:, None, None, None]
    np.add.at(dpadded, (n, rows, columns), np.stack(parts, axis=-2))
    if fill_mode != "constant":  # what lies in the border is a copy of a pixel
        first, last = (-2, 1) if fill_mode == "wrap" else (1, -2)
        dpadded[:, first] += dpadded[:, 0]
        dpadded[:, last] += dpadded[:, -1]
        dpadded[:, :, first] += dpadded[:, :, 0]
        dpadded[:, :, last] += dpadded[:, :, -1]
    return np.ascontiguousarray(dpadded[:, 1:-1, 1:-1])


def _mixed(a: Array, b: Array, share: Array) -> Array:
    return a + share * (b - a)


def _padded(x: Array, fill_mode: str, fill_value: float) -> Array:
    """x with a border of one pixel."""
    mode: Any = PAD_MODES[formulas.FILL_MODES.index(fill_mode)]
    values = {"constant_values": fill_value} if fill_mode == "constant" else {}
    return np.pad(x, BORDER, mode, **values)


def _cells(x: Array, transforms: Array, keys: Array, fill_mode: str) -> tuple[Any, ...]:
    """Rows (2, N,H,W) of the padded image that each pixel is mixed of, the share of the second.

    Then the same for columns. Shares have a channel axis.
    """
    found: list[Array] = []
    mode = formulas.FILL_MODES.index(fill_mode)
    for place, n in zip(_places(x, transforms, keys), x.shape[1:3], strict=True):
        inside = formulas.folded(place, n, mode)
        first = np.minimum(np.floor(inside), n - 1)
        share = (inside - first).astype(x.dtype)[..., None]
        found += [np.stack((first, first + 1)).astype(np.intp) + 1, share]
    return tuple(found)


def _places(x: Array, transforms: Array, keys: Array) -> tuple[Array, Array]:
    """The place (y, x) in the input, in pixels from the first, for each output pixel (N,H,W)."""
    N, H, W, _ = x.shape
    total: Any = formulas.IDENTITY
    for row, u in _drawn(transforms, keys, N):
        a = formulas.between(row[1], row[2], u[0])
        b = a if row[0] == formulas.ZOOM and row[5] else formulas.between(row[3], row[4], u[1])
        if row[0] == formulas.ROTATION:
            a, b = formulas.cos_sin(a)
        sign = np.where(u[2] < 0.5, -1.0, 1.0)
        total = formulas.compose(total, formulas.affine_map(row[0], a, b, sign, H, W))
    yy, yx, dy, xy, xx, dx = (np.broadcast_to(each, N)[:, None, None] for each in total)
    rows = (np.arange(H) - (H - 1) / 2)[:, None]
    columns = np.arange(W) - (W - 1) / 2
    down, right = _displacement(x, transforms, keys)
    return (
        (yy * rows + (dy + (H - 1) / 2)) + yx * columns + down,
        (xy * rows + (dx + (W - 1) / 2)) + xx * columns + right,
    )


def _displacement(x: Array, transforms: Array, keys: Array) -> Array:
    """(2, N,H,W): how far the elastic transform moves each place down and to the right, or 0."""
    N, H, W, _ = x.shape
    moved = np.zeros((2, N, H, W), x.dtype)
    for row, (key, first) in zip(transforms, keys, strict=True):
        if row[0] != formulas.ELASTIC:
            continue
        K = int(row[5]) + 3
        u = _uniform(int(key), int(first), N, 2 * K * K).reshape(2, K, K, N)
        vertical, horizontal = (
            formulas.spline(int(row[5]), n, x.dtype).astype(x.dtype) for n in (H, W)
        )
        for way, n in enumerate((H, W)):
            low, high = row[1 + 2 * way], row[2 + 2 * way]
            grid = (formulas.between(low, high, u[way]) * n).astype(x.dtype)  # (K,K,N)
            for b in range(K):
                column = np.zeros((N, H), x.dtype)  # the knots' column b, for each row of pixels
                for a in range(K):
                    column += grid[a, b][:, None] * vertical[a]
                moved[way] += column[:, :, None] * horizontal[b]
    return moved


def _erased(shape: tuple[int, ...], transforms: Array, keys: Array) -> list[tuple[Array, float]]:
    """For each transform that erases: (N,H,W) bool, the pixels; and what they become."""
    N, H, W, _ = shape
    found = []
    for row, u in _drawn(transforms, keys, N):
        if row[0] == formulas.ERASING:
            bounds = formulas.rectangle(row, u, H, W)
            top, bottom, left, right = (each[:, None, None] for each in bounds)
            rows, columns = np.arange(H)[:, None], np.arange(W)
            mask = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
            found.append((mask, row[5]))
    return found


def _drawn(transforms: Array, keys: Array, N: int) -> list[tuple[Array, Array]]:
    """Each transform, and the numbers (NUMBERS, N) from 0 to 1 that its samples draw."""
    return [
        (row, _uniform(int(key), int(first), N, formulas.NUMBERS))
        for row, (key, first) in zip(transforms, keys, strict=True)
    ]


def _uniform(key: int, first: int, N: int, count: int) -> Array:
    """(count, N) numbers from 0 to 1: `count` for each sample, the first being number `first`."""
    return (hashes(N * count, key, first * count) / 2.0**32).reshape(N, count).T


# --- Grey morphology ------------------------------------------------------------------------------
def morphology_forward(x: Array, low: float, high: float, keys: Array) -> Array:
    """x (N,H,W,C) -> y (N,H,W,C): bright strokes made thicker or thinner by random amounts.

    Each sample draws a from `low` to `high`. Dilation, a >= 0: y = x + a * (max - x), the maximum
    of the pixel and of its four neighbours that are in the image. Erosion, a < 0:
    y = x - a * (min - x). NaN is both maximum and minimum.

    keys  uint64 (2,): the key of the random numbers, and the place of x's first sample in the whole
          batch. The numbers depend on key and place alone
    """
    share, sign = _amounts(x, low, high, keys)
    return x + share * (sign * _crosses(sign * x).max(axis=0) - x)


# y = (1 - |a|) * x + |a| * found, and found is one of the five pixels, so
#     dx = (1 - |a|) * dy for the pixel itself, and |a| * dy for the first that is found.
def morphology_backward(dy: Array, x: Array, low: float, high: float, keys: Array) -> Array:
    """dy (N,H,W,C) -> dx (N,H,W,C): each gradient goes to its pixel and to the one it moved to."""
    share, sign = _amounts(x, low, high, keys)
    first = _crosses(sign * x).argmax(axis=0)  # number in `CROSS`
    moved = share * dy
    dpadded = np.pad(dy - moved, BORDER)
    for number, step in enumerate(CROSS):
        _inside(dpadded, step)[...] += np.where(first == number, moved, 0)
    dx = np.ascontiguousarray(_inside(dpadded))
    return dx


def _amounts(x: Array, low: float, high: float, keys: Array) -> tuple[Array, Array]:
    """|a| and its sign, 1 for 0, for each sample: (N,1,1,1)."""
    (u,) = _uniform(int(keys[0]), int(keys[1]), len(x), 1)
    a = formulas.between(low, high, u)[:, None, None, None]
    return abs(a).astype(x.dtype), np.where(a < 0, -1, 1).astype(x.dtype)


def _crosses(x: Array) -> Array:
    """(5, N,H,W,C): for each pixel those of its cross, -infinity outside of the image."""
    padded = np.pad(x, BORDER, constant_values=-np.inf)
    return np.stack([_inside(padded, step) for step in CROSS])


def _inside(padded: Array, step: tuple[int, int] = (0, 0)) -> Array:
    """The images within a border of one pixel, or what lies `step` (down, right) beside them."""
    (down, right), (H, W) = step, padded.shape[1:3]
    return padded[:, 1 + down : H - 1 + down, 1 + right : W - 1 + right]
