"""Grey morphology as loops over every pixel, meant to be obviously right; see `naive.py`.

Only the random numbers are imported, which are loops too.
"""

import math

import numpy as np

from .naive_warp import hashed

CROSS = (0, 0), (-1, 0), (0, -1), (0, 1), (1, 0)


def amount(n, low, high, keys):
    """What sample n draws: by how much it is dilated, or eroded if negative."""
    key, first = map(int, keys)
    return low + (high - low) * hashed(first + n, key)


def found(image, i, j, c, a):
    """The first pixel (i, j) of a cross with its maximum, or for a < 0 its minimum; NaN is both."""
    H, W, _ = image.shape
    best = None
    for down, right in CROSS:
        place = i + down, j + right
        if 0 <= place[0] < H and 0 <= place[1] < W:
            value = image[(*place, c)]
            more = best is None or math.isnan(value) or (value < best if a < 0 else value > best)
            if more and (best is None or not math.isnan(best)):
                best, place_of_best = value, place
    return place_of_best


def morphology_forward(x, low, high, keys):
    y = np.empty_like(x)
    for n, i, j, c in np.ndindex(x.shape):
        a = amount(n, low, high, keys)
        place = found(x[n], i, j, c, a)
        y[n, i, j, c] = x[n, i, j, c] + abs(a) * (x[(n, *place, c)] - x[n, i, j, c])
    return y


def morphology_backward(dy, x, low, high, keys):
    dx = np.zeros_like(dy)
    for n, i, j, c in np.ndindex(x.shape):
        a = amount(n, low, high, keys)
        place = found(x[n], i, j, c, a)
        dx[n, i, j, c] += (1 - abs(a)) * dy[n, i, j, c]
        dx[(n, *place, c)] += abs(a) * dy[n, i, j, c]
    return dx
