"""From arrays to minibatches: the order, the one scaling rule, the split into two.

The scaling rule: uint8 images are pixels of 0 to 255 and are divided by 255; floats and booleans
are taken as they are; other whole numbers, which may be meant either way, are refused. A model with
`scale_uint8=False`, as those from Keras's files are, takes all numbers as they are.
Images (N,H,W) gain a channel axis for a model of (H,W,1). uint8 images that are scaled stay uint8
until a batch is taken: the data set is never held a second time as floats.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nanocnn.common.arrays import Array, quietly
from nanocnn.common.errors import NonFiniteError, ShapeError
from nanocnn.common.tables import sizes
from nanocnn.common.validate import number, whole

ROWS = 1024  # images looked at together when searching for NaN


def batches(
    count: int, size: int, rng: np.random.Generator | None = None
) -> Iterator[slice | Array]:
    """Where each minibatch of `count` examples lies; the last one may be smaller.

    count, size  examples in all and in a batch, 1 or more
    rng          yields index arrays of a fresh shuffle; None yields slices in order

    Raises ValueError at once, not with the first batch.
    """
    size = whole(size, "batch_size")
    count = whole(count, "the number of examples")
    starts = range(0, count, size)
    if rng is None:
        return (slice(start, min(start + size, count)) for start in starts)
    order = rng.permutation(count)
    return (order[start : start + size] for start in starts)


def as_images(
    x: ArrayLike,
    input_shape: tuple[int, ...],
    dtype: DTypeLike,
    name: str = "x",
    scale_uint8: bool = True,
) -> Array:
    """Check images once and give them the model's shape: (N, *input_shape), uint8 or `dtype`.

    x            (N,H,W,C), or (N,H,W) for an input_shape of (H,W,1); any byte order
    input_shape  one image's shape, such as (28,28,1)
    scale_uint8  uint8 stays as it is, not copied, and `take` scales it; other whole numbers are
                 refused. False: whole numbers of any type are cast to `dtype`, as floats are

    Raises ShapeError for a wrong shape or no images, NonFiniteError for NaN or infinity (naming the
    first image that has one), ValueError for what is not numbers or of a type that is refused.
    """
    try:
        x = np.asarray(x)
    except ValueError as error:  # nested lists of unequal lengths
        raise ShapeError(f"{name}: expected images of one shape: {error}") from error
    if x.dtype.kind not in "buif":
        raise ValueError(f"{name}: expected an array of numbers, got dtype {x.dtype}")
    got = x.shape
    if input_shape[-1] == 1 and x.ndim == len(input_shape):
        x = x[..., np.newaxis]
    if x.shape[1:] != tuple(input_shape):
        hint = _other_form(got, tuple(input_shape))
        raise ShapeError(f"{name}: expected (N, {sizes(input_shape)}), got {got}{hint}")
    if len(x) == 0:
        raise ShapeError(f"{name}: expected 1 image or more, got none: shape {got}")
    if scale_uint8 and x.dtype.kind in "ui":
        if x.dtype == np.uint8:
            return x
        raise ValueError(
            f"{name}: whole numbers of type {x.dtype.name}, expected uint8 or floats: use "
            'x.astype("uint8") for pixels of 0 to 255, which are scaled by 1/255, or '
            'x.astype("float32") to take the numbers as they are'
        )
    cast = quietly(np.ascontiguousarray, x, dtype)  # 1e300 has no float32: found below
    if x.dtype.kind == "f":
        for start in range(0, len(cast), ROWS):
            if not np.isfinite(rows := cast[start : start + ROWS]).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(rows))[0])
                place = (start + where[0], *where[1:])
                raise NonFiniteError(
                    f"{name}: expected finite pixels, got {x[place]} at index {place} "
                    f"(as {cast.dtype.name}: {cast[place]})"
                )
    return cast


def _other_form(got: tuple[int, ...], image: tuple[int, ...]) -> str:
    """What to do about an array of shape `got` that holds one image, or images in another form."""
    grey = image[:-1] if image[-1] == 1 else image
    first = (image[-1], *image[:-1])  # channels first
    whole = f"x.reshape(-1, {sizes(image)})"
    if got in (image, grey):
        return " (one image? pass x[np.newaxis])"
    if len(image) == 3 and got == first:
        return " (one image, channels first? pass x.transpose(1, 2, 0)[np.newaxis])"
    if len(image) == 3 and got[1:] == first:
        return " (channels first? pass x.transpose(0, 2, 3, 1))"
    for form, words in ((got, "one image"), (got[1:], "images in another form")):
        swapped = sorted(n for n in form if n > 1) == sorted(n for n in image if n > 1)
        if form and prod(form) == prod(image) and not swapped:
            return f" ({words}? pass {whole})"
    return ""


def take(x: Array, index: slice | Array, dtype: DTypeLike, out: Array | None = None) -> Array:
    """The images at `index`, ready for the model: in `dtype`, uint8 divided by 255.

    x    (N, ...) from `as_images`
    out  (n, ...) of `dtype` to write into, else a new array or, for a slice of floats, a view
    """
    batch = x[index]
    if x.dtype == np.uint8:
        return np.divide(batch, 255, out=out, dtype=dtype)
    if out is None:
        return np.asarray(batch, dtype)
    np.copyto(out, batch)
    return out


def split(fraction: float, *arrays: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Keras's validation_split: (the first part of each array, the last `fraction` of each).

    fraction  between 0 and 1, both excluded; the cut is at floor(N * (1 - fraction))
    arrays    of one length; None stays None. Taken as they stand: nothing is shuffled.

    Raises ValueError where a side would be empty (Keras: trainers/data_adapters/array_slicing.py).
    """
    fraction = number(fraction, "validation_split", lambda part: 0 < part < 1, "between 0 and 1")
    counts = {len(a) for a in arrays if a is not None}
    if len(counts) != 1:
        raise ShapeError(f"validation_split: expected arrays of one length, got {sorted(counts)}")
    (count,) = counts
    cut = int(count * (1 - fraction))
    if cut in (0, count):
        raise ValueError(
            f"validation_split: {fraction} of {count} examples leaves {cut} to train on and "
            f"{count - cut} to validate on: expected 1 or more of both"
        )
    first = tuple(None if a is None else a[:cut] for a in arrays)
    return first, tuple(None if a is None else a[cut:] for a in arrays)
