"""Extract a digit from a photo or scan, in the format of MNIST.

MNIST's digits were scaled to fit 20x20 pixels, keeping proportions, antialiased, and placed in
28x28 pixels with the centre of mass in the middle; paper is 0, ink is 255.
"""

import math
import os
import warnings
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nanocnn.common.arrays import Array
from nanocnn.common.errors import DatasetError
from nanocnn.common.files import opened

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF")  # decoders without scripts, links or other files
MAX_PIXELS, MAX_SIDE = 1 << 26, 1 << 15  # rows of one pixel take gigabytes if there are many
WORK_SIZE = 400  # larger images are reduced to this side
MIN_STROKE = 0.09  # minimum stroke width, as a fraction of the digit's size


def read_digit(source: "str | os.PathLike[str] | BinaryIO | Array | Image") -> Array:
    """Find the digit in an image; return it in MNIST's format: uint8 (28,28), ink 255 on 0.

    source  a PNG, JPEG, BMP or GIF file, by its path or open in binary mode; a PIL image; or an
            array, (H,W) or (H,W,1) of any numbers, (H,W,3|4) of uint8 or of floats from 0 to 1;
            one digit, darker or lighter than the paper, of any size; lighting may be uneven

    Raises DatasetError if it is no image, is damaged, has more than 2**26 pixels or 2**15 per side
    (checked before decoding), or shows no digit or several: separate shapes of similar height.
    Uses at most 800 MB, whatever the file's header declares.
    """
    from PIL.Image import Image

    if isinstance(source, np.ndarray):
        return _digit(_grey_array(source), "the array")
    if isinstance(source, Image):
        name = str(getattr(source, "filename", "")) or "the image"
        return _digit(_decode(source, name), name)
    if not isinstance(source, (str, os.PathLike)) and not hasattr(source, "read"):
        raise DatasetError(
            f"source={source!r:.80}, expected the path of an image, a file open in binary mode, "
            "a PIL image, or an array such as np.asarray(...)"
        )
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        raise DatasetError(f"{os.fspath(source)}: expected an image, got a folder")
    with opened(source, "source") as (file, name):
        return _digit(_decode(file, name), name)


def fit_drawing(ink: Array) -> Array:
    """Scale and centre a drawing as `read_digit` does a photo; uint8 (28,28), ink 255 on 0.

    ink  uint8 (H,W), 255 is ink: all of it is the digit, in one piece or several. A blank drawing
         is a blank digit

    Raises DatasetError for another array.
    """
    if not isinstance(ink, np.ndarray) or ink.dtype != np.uint8 or ink.ndim != 2:
        raise DatasetError(f"ink={ink!r:.80}, expected an array of uint8 (H,W)")
    mask = ink > 0.3 * 255
    return _fit(ink.astype(np.float32) / 255, mask) if mask.any() else np.zeros((28, 28), np.uint8)


def _decode(source: "BinaryIO | Image", name: str) -> Array:
    """Return the brightness of an image, given itself or its file, after checking its size."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"):
            image = source
            if not isinstance(image, Image.Image):
                image = Image.open(image, formats=FORMATS)
            if 0 < image.width * image.height <= MAX_PIXELS and max(image.size) <= MAX_SIDE:
                return _grey(image)
    except Exception as error:  # decoders raise a dozen kinds of error for damaged files
        found = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        raise DatasetError(f"{name}: expected an image ({', '.join(FORMATS)}): {found}") from error
    raise DatasetError(
        f"{name}: expected at least 1 pixel, at most {MAX_PIXELS:,} pixels and "
        f"{MAX_SIDE:,} per side, got {image.width}x{image.height}"
    )


def _grey_array(array: Array) -> Array:
    from PIL import Image

    given = array
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    fits = 0 < array.size <= 4 * MAX_PIXELS and max(array.shape, default=0) <= MAX_SIDE
    if array.ndim == 2 and array.dtype.kind in "buif" and fits and array.size <= MAX_PIXELS:
        if not np.isfinite(array).all():
            raise DatasetError("the array: expected finite pixels, got NaN or infinity")
        array = array.astype(np.float64)  # 1e300 is valid too
        return _grey(Image.fromarray((array / (abs(array).max() or 1)).astype(np.float32)))
    if array.ndim == 3 and array.shape[2] in (3, 4) and fits:
        if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:  # as matplotlib reads
            array = np.rint(array * 255).astype(np.uint8)
        if array.dtype == np.uint8:
            return _grey(Image.fromarray(array))
    raise DatasetError(
        "the array: expected (H, W) numbers, or (H, W, 3|4) uint8 or floats from 0 to 1, got "
        f"{given.dtype} {given.shape}"
    )


def _grey(image: "Image") -> Array:
    """Return brightness, float32 (H,W); transparency becomes paper in contrast to the ink."""
    from PIL import ImageOps

    # Reduce the image before any copy, since photos are large.
    if image.mode[0] in "IF":
        image = image.convert("F")
    elif image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
    image = ImageOps.exif_transpose(image.reduce(-(-max(image.size) // WORK_SIZE)))
    if image.mode == "F":
        return np.asarray(image)
    bands = image.convert("RGBA").split()
    red, green, blue, alpha = (np.asarray(band, np.float32) for band in bands)
    grey: Array = 0.299 * red + 0.587 * green + 0.114 * blue
    alpha /= 255
    paper = 255 if (grey * alpha).sum() < 127 * alpha.sum() else 0
    return np.asarray(paper + (grey - paper) * alpha, np.float32)


def _digit(grey: Array, name: str) -> Array:
    ink, noise = _ink(grey)
    peak = float(ink.max())
    # Ink must exceed 3 % of the brightness, and the noise of the paper.
    if peak <= max(8 * noise, 0.03 * float(np.abs(grey).max())):
        raise DatasetError(
            f"{name}: expected a digit, found nothing that stands out from the paper"
        )
    mask, digits = _main_component(ink, ink > max(0.3 * peak, 4 * noise))
    if digits > 1:
        raise DatasetError(
            f"{name}: expected one digit, found {digits} separate shapes of similar height; "
            "crop the image to one of them"
        )
    level = np.median(ink[mask])
    around = _neighbours(mask, np.logical_or, False)
    return _fit(np.clip((ink - 3 * noise) / (level - 3 * noise), 0, 1) * around, mask)


def _fit(ink: Array, mask: Array) -> Array:
    """Scale and centre `ink` (H,W), 0 to 1, whose strokes are `mask`, as MNIST's digits are."""
    rows, columns = (np.flatnonzero((ink > 0.1).any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return _centre(_scale(_thicken(ink[box], mask[box])))


def _ink(grey: Array) -> tuple[Array, float]:
    """Return each pixel's contrast to the paper, ink positive, and the paper's noise.

    The paper is a quadratic surface, fitted repeatedly to the pixels close to the last fit.
    """
    if max(grey.shape) > WORK_SIZE // 4:
        grey = _blur(grey)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in grey.shape)
    y = y[:, np.newaxis]
    terms = np.stack(
        [np.ones_like(grey), x + 0 * y, y + 0 * x, x * x + 0 * y, x * y, y * y + 0 * x]
    )
    # A few thousand pixels suffice for six coefficients; start with those near the border.
    step = max(1, math.isqrt(grey.size) // 64)
    subset = terms[:, ::step, ::step].reshape(6, -1).T.astype(np.float64)
    values = grey[::step, ::step].ravel().astype(np.float64)
    near = np.abs(subset[:, 1:3]).max(axis=1) > 0.8
    for _ in range(8):
        a = subset[near]
        surface = np.linalg.lstsq(a.T @ a, a.T @ values[near])[0]
        apart = np.abs(values - subset @ surface)
        spread = 1.4826 * float(np.median(apart[near]))
        near = apart <= max(2.5 * spread, 1e-3 * float(np.abs(values).max()))
    apart = grey - np.tensordot(surface.astype(np.float32), terms, 1)
    ink = apart if (apart**3).sum() > 0 else -apart
    return ink, spread


def _main_component(ink: Array, mask: Array) -> tuple[Array, int]:
    """Return the mask of the digit among the parts of `mask`, and the number of digits.

    The digit is the part with the most ink that does not touch the border, with parts near it.
    """
    labels = _components(mask)
    rows, columns = np.nonzero(mask)
    _, part = np.unique(labels[mask], return_inverse=True)
    mass = np.bincount(part, ink[mask])
    low, high = np.full((2, len(mass)), max(mask.shape)), np.zeros((2, len(mass)), int)
    for axis, where in enumerate((rows, columns)):
        np.minimum.at(low[axis], part, where)
        np.maximum.at(high[axis], part, where)
    at_border = (low == 0).any(0) | (high == np.array(mask.shape)[:, np.newaxis] - 1).any(0)
    main = int(np.argmax(np.where(at_border, 0.1, 1) * mass))
    reach = 0.3 * (high - low)[:, main].max() + 1
    near = (low <= high[:, [main]] + reach).all(0) & (high >= low[:, [main]] - reach).all(0)
    shadow = at_border & (mass > mass[main])
    chosen = near & (mass > 0.03 * mass[main]) & ~shadow
    # Another digit is at least half as high, has enough ink, and is separated by a gap, or too wide
    # together with the first for one digit. Gaps in MNIST's digits, such as below the bar of a 5 or
    # in an open 4, are at most a tenth of the height.
    height, width = (high - low + 1)[:, main]
    gap = np.maximum(low - high[:, [main]], low[:, [main]] - high) - 1
    span = np.maximum(high, high[:, [main]]) - np.minimum(low, low[:, [main]]) + 1
    apart = (gap[0] > 0.2 * max(height, width)) | (gap[1] > 0.15 * height)
    apart |= (gap[1] > 0.08 * height) & (span[1] > 1.2 * span[0])
    alike = (high - low + 1)[0] >= 0.5 * height
    others = apart & alike & (mass > 0.1 * mass[main]) & (~at_border | at_border[main])
    result = np.zeros_like(mask)
    result[rows, columns] = chosen[part]
    return result, 1 + int(others.sum())


def _components(mask: Array) -> Array:
    """Label the connected components of `mask` (8 neighbours); the background has one label.

    In each round every component takes the lowest label it touches, so a few rounds suffice.
    """
    labels = np.where(mask, np.arange(mask.size).reshape(mask.shape), mask.size)
    while True:
        lowest = _neighbours(labels, np.minimum, mask.size)
        parent = np.arange(mask.size + 1)
        np.minimum.at(parent, labels[mask], lowest[mask])
        while (parent[parent] != parent).any():
            parent = parent[parent]
        merged = parent[labels]
        if (merged == labels).all():
            return merged
        labels = merged


def _neighbours(a: Array, combine: np.ufunc, outside: float) -> Array:
    """Reduce each pixel's 3x3 neighbourhood with `combine`."""
    padded = np.pad(a, 1, constant_values=outside)
    a = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
    return np.asarray(combine(combine(a[:, :-2], a[:, 1:-1]), a[:, 2:]))


def _blur(a: Array) -> Array:
    padded = np.pad(a, 1, mode="edge")
    a = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return (a[:, :-2] + a[:, 1:-1] + a[:, 2:]) / 3


def _thicken(ink: Array, mask: Array) -> Array:
    """Widen thin strokes, which would fade to faint grey at 20x20 pixels."""
    edge = sum(
        int(np.diff(mask, axis=axis, prepend=0, append=0).astype(bool).sum()) for axis in (0, 1)
    )
    width = 2.5 * mask.sum() / edge  # area / half the outline, measured along the pixel grid
    for _ in range(int((MIN_STROKE * max(mask.shape) - width) / 2)):
        ink = _neighbours(ink, np.maximum, 0)
    return ink


def _scale(ink: Array) -> Array:
    """Scale to fit 20x20 pixels, keeping proportions."""
    from PIL import Image

    height, width = (max(1, round(n * 20 / max(ink.shape))) for n in ink.shape)
    image = Image.fromarray(ink.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def _centre(ink: Array) -> Array:
    """Place in 28x28 pixels, with the centre of mass in the middle."""
    result = np.zeros((28, 28), np.uint8)
    corner = []
    for axis, size in enumerate(ink.shape):
        along = ink.sum(1 - axis)
        centre = (along @ np.arange(size)) / along.sum()
        corner.append(min(max(round(14 - centre), 0), 28 - size))  # as measured on MNIST
    top, left = corner
    result[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(255 * ink)
    return result
