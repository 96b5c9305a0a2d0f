"""Random image transforms as loops over every pixel, meant to be obviously right; see `naive.py`.

A map is a 3x3 matrix on columns (y, x, 1); an elastic grid is a sum of cubic B-splines in the form
with absolute values; a pixel is a list of the pixels that it is mixed of, with their shares, of
which the backward pass is the transpose. Nothing of nanocnn is imported.
"""

import math

import numpy as np

TRANSLATION, ROTATION, ZOOM, SHEAR, ELASTIC, ERASING = range(6)


def hashed(i, key):
    """Random number i of a key, from 0 to 1."""

    def mix(h):
        h ^= h >> 16
        h = h * 0x7FEB352D % 2**32
        h ^= h >> 15
        h = h * 0x846CA68B % 2**32
        return h ^ (h >> 16)

    return mix(mix(i % 2**32 ^ key % 2**32) ^ key // 2**32) / 2**32


def drawn(key, place, count):
    """The `count` numbers of the sample at this place of the whole batch."""
    return [hashed(place * count + i, key) for i in range(count)]


def matrix(row, u, H, W):
    """The map of a transform for the numbers u: from places of the output to those of the input."""
    kind, low1, high1, low2, high2, extra = row
    a, b = low1 + (high1 - low1) * u[0], low2 + (high2 - low2) * u[1]
    if kind == TRANSLATION:
        return np.array([[1, 0, -a * H], [0, 1, -b * W], [0, 0, 1]])
    if kind == ROTATION:
        cosine, sine = math.cos(2 * math.pi * a), math.sin(2 * math.pi * a)
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    if kind == ZOOM:
        return np.diag([1 + a, 1 + (a if extra else b), 1])
    if kind == SHEAR:  # about the corner: move it to the origin, slant, move it back
        sign = -1 if u[2] < 0.5 else 1
        slant = np.array([[1, sign * b, 0], [sign * a, 1, 0], [0, 0, 1]])
        to = np.array([[1, 0, (H - 1) / 2], [0, 1, (W - 1) / 2], [0, 0, 1]])
        return np.linalg.inv(to) @ slant @ to
    return np.eye(3)


def bump(t):
    """The cubic B-spline, 4/6 at 0 and nothing from 2 on."""
    t = abs(t)
    return max(2 - t, 0) ** 3 / 6 - 4 * max(1 - t, 0) ** 3 / 6


def moved(row, key, place, i, j, H, W):
    """How far the elastic transform moves pixel (i, j) down and to the right."""
    cells = int(row[5])
    knots = cells + 3
    u = np.reshape(drawn(key, place, 2 * knots * knots), (2, knots, knots))
    down = right = 0.0
    y, x = i * cells / max(H - 1, 1), j * cells / max(W - 1, 1)
    for a in range(knots):
        for b in range(knots):
            share = bump(y - (a - 1)) * bump(x - (b - 1))
            down += share * (row[1] + (row[2] - row[1]) * u[0, a, b]) * H
            right += share * (row[3] + (row[4] - row[3]) * u[1, a, b]) * W
    return down, right


def erased(row, u, i, j, H, W):
    """Whether pixel (i, j) is erased."""
    height, width = (math.sqrt(row[3] + (row[4] - row[3]) * s) for s in u[2:4])
    top, left = u[4] * (1 - height) * H, u[5] * (1 - width) * W
    inside = top <= i < top + height * H and left <= j < left + width * W
    return inside and u[1] < row[1] + (row[2] - row[1]) * u[0]


def pixel(i, n, mode):
    """The pixel of an image that place i of an endless row shows; None for the fill value."""
    if mode == "nearest":
        return min(max(i, 0), n - 1)
    if mode == "wrap":
        return i % n
    if mode == "reflect":
        return min(i % (2 * n), 2 * n - 1 - i % (2 * n))
    return i if 0 <= i < n else None


def mixed(y, x, H, W, mode):
    """The pixels that the place (y, x) is mixed of: (row, column, share); row None for the fill.

    What lies far outside and is filled is mixed of the fill value and, by 0, of the pixel at the
    border, which tells only if that is NaN.
    """
    if mode == "constant":
        y, x = min(max(y, -1), H), min(max(x, -1), W)
    top, left = (
        math.floor(place) - (mode == "constant" and place == n) for place, n in ((y, H), (x, W))
    )
    found = []
    for i, down in ((top, top + 1 - y), (top + 1, y - top)):
        for j, right in ((left, left + 1 - x), (left + 1, x - left)):
            row, column = pixel(i, H, mode), pixel(j, W, mode)
            row = None if column is None else row
            found.append((row, column, down * right))
    return found


def mixture(place, transforms, keys, H, W, mode):
    """For each pixel (i, j) of the sample at this place of the batch, `mixed`; None if erased."""
    total, found = np.eye(3), {}
    for row, (key, first) in zip(transforms, keys, strict=True):
        total = total @ matrix(row, drawn(int(key), int(first) + place, 6), H, W)
    for i, j in np.ndindex(H, W):
        y, x, _ = total @ (i - (H - 1) / 2, j - (W - 1) / 2, 1)
        y, x = y + (H - 1) / 2, x + (W - 1) / 2
        found[i, j] = None
        for row, (key, first) in zip(transforms, keys, strict=True):
            if row[0] == ELASTIC:
                down, right = moved(row, int(key), int(first) + place, i, j, H, W)
                y, x = y + down, x + right
        found[i, j] = mixed(y, x, H, W, mode)
        for row, (key, first) in zip(transforms, keys, strict=True):
            if row[0] == ERASING:
                u = drawn(int(key), int(first) + place, 6)
                found[i, j] = None if erased(row, u, i, j, H, W) else found[i, j]
    return found


def warp_forward(x, transforms, keys, mode, value):
    y = np.zeros(x.shape)
    erases = [row[5] for row in transforms if row[0] == ERASING]
    for n, image in enumerate(x):
        for (i, j), cells in mixture(n, transforms, keys, *image.shape[:2], mode).items():
            if cells is None:
                y[n, i, j] = erases[0]
            else:
                for row, column, share in cells:
                    y[n, i, j] += share * (value if row is None else image[row, column])
    return y


def warp_backward(dy, transforms, keys, mode, value):
    dx = np.zeros(dy.shape)
    for n, image in enumerate(dy):
        for (i, j), cells in mixture(n, transforms, keys, *image.shape[:2], mode).items():
            for row, column, share in cells or ():
                if row is not None:
                    dx[n, row, column] += share * dy[n, i, j]
    return dx
