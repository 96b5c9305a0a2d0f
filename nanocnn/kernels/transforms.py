"""The formulas of random image transforms, for numbers and for arrays of one number a sample.

A transform maps a pixel of its output to the place in its input that it shows. Places are (y, x),
in pixels from the middle of the image, y downwards. A map is a tuple of six numbers in float64:

    y_in = yy * y + yx * x + dy
    x_in = xy * y + xx * x + dx

A row of six numbers describes a transform: (kind, low1, high1, low2, high2, extra). Each sample
draws numbers u from 0 to 1; its parameters are a = low1 + (high1 - low1) * u[0] and likewise b.

TRANSLATION  a, b: to the bottom and to the right, in heights and widths of the image
ROTATION     a: counterclockwise, in turns
ZOOM         1 + a, 1 + b: how much of the height and width is seen; b = a if `extra`
SHEAR        x_in = x + a * y, y_in = y + b * x, from the corner; u[2] < 0.5 changes both signs
ELASTIC      each knot of two grids, see `spline`, moves by low1 to high1 heights and by low2 to
             high2 widths; `extra` is the number of cells between knots in each direction
ERASING      with probability a, a rectangle becomes `extra`; see `rectangle`
"""

from typing import Any

import numpy as np

from ..common.arrays import Array

# The functions here call no others, so that numba can compile each as it is (fast/warp.py).

TRANSLATION, ROTATION, ZOOM, SHEAR, ELASTIC, ERASING = range(6)
NUMBERS = 6  # that a sample draws for a transform that is not elastic
FILL_MODES = ("constant", "nearest", "reflect", "wrap")
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TURN = 0.7853981633974483  # 2 pi / 8


def between(low: Any, high: Any, u: Any) -> Any:
    """The number between `low` and `high` that u, from 0 to 1, stands for."""
    return low + (high - low) * u


def cos_sin(turns: Any) -> Any:
    """Cosine and sine of an angle: Taylor's series of an eighth of it, doubled three times."""
    t = (turns - np.floor(turns + 0.5)) * TURN
    z = t * t
    s = t - t * z * (1 / 6 - z * (1 / 120 - z * (1 / 5040 - z * (1 / 362880 - z / 39916800))))
    fall = z * (0.5 - z * (1 / 24 - z * (1 / 720 - z * (1 / 40320 - z * (1 / 3628800)))))
    s, fall = 2 * s * (1 - fall), 2 * s * s  # fall = 1 - cosine
    s, fall = 2 * s * (1 - fall), 2 * s * s
    s, fall = 2 * s * (1 - fall), 2 * s * s
    return 1 - fall, s


def affine_map(kind: Any, a: Any, b: Any, sign: Any, H: Any, W: Any) -> Any:
    """The map of a transform of this kind with the parameters a and b, for an H x W image."""
    if kind == TRANSLATION:
        return 1.0, 0.0, -a * H, 0.0, 1.0, -b * W
    if kind == ROTATION:  # by the angle whose cosine and sine these are
        return a, b, 0.0, -b, a, 0.0
    if kind == ZOOM:
        return 1 + a, 0.0, 0.0, 0.0, 1 + b, 0.0
    if kind == SHEAR:
        x, y = sign * a, sign * b
        return 1.0, y, y * (W - 1) / 2, x, 1.0, x * (H - 1) / 2
    return 1.0, 0.0, 0.0, 0.0, 1.0, 0.0


def compose(outer: Any, inner: Any) -> Any:
    """The map that applies `inner`, then `outer`."""
    a, b, c, d, e, f = outer
    g, h, i, j, k, m = inner
    return (
        a * g + b * j, a * h + b * k, a * i + b * m + c,
        d * g + e * j, d * h + e * k, d * i + e * m + f,
    )  # fmt: skip


def rectangle(row: Any, u: Any, H: Any, W: Any) -> Any:
    """The first and last place (y, y, x, x) that is erased, as Keras draws it; empty if none is.

    Height and width are sqrt(s) of the image's for two s from low2 to high2; the corner is anywhere
    where the rectangle fits.
    """
    low, span = row[3], row[4] - row[3]
    height, width = np.sqrt(low + span * u[2]) * H, np.sqrt(low + span * u[3]) * W
    erased = u[1] < row[1] + (row[2] - row[1]) * u[0]
    top, left = u[4] * (H - height), u[5] * (W - width)
    return top, top + height * erased, left, left + width * erased


def folded(place: Any, n: Any, mode: Any) -> Any:
    """A place, in pixels from the first one, moved into -1 to n, as `FILL_MODES[mode]` demands."""
    if mode == 2:
        place = place + 0.5
        place = place - 2 * n * np.floor(place / (2 * n))
        return np.minimum(place, 2 * n - place) - 0.5
    if mode == 3:
        place = place + 0.5
        return place - n * np.floor(place / n) - 0.5
    return np.minimum(np.maximum(place, -1.0), 1.0 * n)


def spline(cells: int, n: int, dtype: Any) -> Array:
    """(cells + 3, n): the weight of each knot for each of n pixels in a row.

    The knots are cells + 3 numbers at equal distances, of which the second lies on the first pixel
    and the last but one on the last pixel; between them runs the uniform cubic B-spline.
    """
    basis = np.zeros((cells + 3, n))
    for pixel in range(n):
        place = pixel * cells / max(n - 1, 1)
        first = min(int(place), cells - 1)
        t = place - first
        basis[first : first + 4, pixel] = (
            (1 - t) * (1 - t) * (1 - t) / 6,
            (3 * t * t * t - 6 * t * t + 4) / 6,
            (3 * t * t + 3 * t + 1 - 3 * t * t * t) / 6,
            t * t * t / 6,
        )
    return basis.astype(dtype)
