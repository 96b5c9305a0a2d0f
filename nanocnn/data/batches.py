"""From arrays to mini-batches: shuffling, the scaling rule, the validation split.

The scaling rule: uint8 images have pixels from 0 to 255 and are divided by 255; floats and booleans
are not scaled; other integer types are ambiguous and raise ValueError. A model with
`scale_uint8=False`, such as one loaded from a Keras file, never scales.
Images (N,H,W) gain a channel axis for a model of (H,W,1). uint8 images are scaled one batch at a
time, so the data set is never copied to floats as a whole. What is not in memory is read a batch at
a time: see `LazyImages`.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nanocnn.common.arrays import Array
from nanocnn.common.errors import ShapeError
from nanocnn.common.tables import sizes
from nanocnn.common.validate import integer, number
from nanocnn.data.lazy import LazyImages, as_floats, is_lazy

Images = Array | LazyImages


def batches(
    count: int, size: int, rng: np.random.Generator | None = None
) -> Iterator[slice | Array]:
    """Return an iterator over the indices of each mini-batch; the last may be smaller.

    count, size  number of examples and batch size, at least 1
    rng          shuffles: yields index arrays; None yields slices in order

    Raises ValueError immediately, not with the first batch.
    """
    size = integer(size, "batch_size")
    count = integer(count, "the number of examples")
    starts = range(0, count, size)
    if rng is None:
        return (slice(start, min(start + size, count)) for start in starts)
    order = rng.permutation(count)
    return (order[start : start + size] for start in starts)


def as_images(
    x: Any,
    input_shape: tuple[int, ...],
    dtype: DTypeLike,
    name: str = "x",
    scale_uint8: bool = True,
) -> Images:
    """Check images and return them in the model's shape: (N, *input_shape), uint8 or `dtype`.

    x            (N,H,W,C), or (N,H,W) for an input_shape of (H,W,1); any byte order; an array,
                 memory-mapped or not, what NumPy makes one of, or a source of `LazyImages`
    input_shape  shape of one image, such as (28,28,1)
    scale_uint8  uint8 is returned without a copy, for `take` to scale; other integers raise
                 ValueError. False: all integers are cast to `dtype`, as floats are
    returns      an array; or `LazyImages` of what is not in memory, except uint8 that the kernels
                 can read where it is mapped

    Of `LazyImages` the first are read and checked now, the others when they are needed. Raises
    ShapeError for a wrong shape or no images, NonFiniteError for NaN or infinity (with the index of
    the first), ValueError for other types.
    """
    lazy = is_lazy(x)
    if not lazy or isinstance(x, np.ndarray):
        try:
            x = np.asarray(x)
        except ValueError as error:  # nested lists of unequal lengths
            raise ShapeError(f"{name}: expected images of one shape: {error}") from error
    if x.dtype.kind not in "buif":
        raise ValueError(f"{name}: expected an array of numbers, got dtype {x.dtype}")
    image, got = tuple(input_shape), tuple(x.shape)
    grey = image[-1] == 1 and len(got) == len(image)
    if got[1:] != (image[:-1] if grey else image):
        raise ShapeError(
            f"{name}: expected (N, {sizes(image)}), got {got}{_layout_hint(got, image)}"
        )
    if got[0] == 0:
        raise ShapeError(f"{name}: expected 1 image or more, got none: shape {got}")
    scaled = scale_uint8 and x.dtype == np.uint8
    if scale_uint8 and not scaled and x.dtype.kind in "ui":
        raise ValueError(
            f"{name}: integers of type {x.dtype.name}, expected uint8 or floats: use "
            'x.astype("uint8") for pixels from 0 to 255, which are scaled by 1/255, or '
            'x.astype("float32") to use the values as they are'
        )
    rows = range(got[0])
    if lazy and not (scaled and isinstance(x, np.ndarray) and x.flags.c_contiguous):
        images = LazyImages(x, image, np.uint8 if scaled else dtype, name, rows)
        images.first()
        return images
    if grey:
        x = x[..., np.newaxis]
    return x if scaled else as_floats(x, dtype, name, rows)


def _layout_hint(got: tuple[int, ...], image: tuple[int, ...]) -> str:
    """A hint for an array of shape `got` that has one image, or images in another layout."""
    grey = image[:-1] if image[-1] == 1 else image
    first = (image[-1], *image[:-1])  # channels first
    reshape = f"x.reshape(-1, {sizes(image)})"
    if got in (image, grey):
        return " (one image? pass x[np.newaxis])"
    if len(image) == 3 and got == first:
        return " (one image, channels first? pass x.transpose(1, 2, 0)[np.newaxis])"
    if len(image) == 3 and got[1:] == first:
        return " (channels first? pass x.transpose(0, 2, 3, 1))"
    for form, words in ((got, "one image"), (got[1:], "images in another layout")):
        swapped = sorted(n for n in form if n > 1) == sorted(n for n in image if n > 1)
        if form and prod(form) == prod(image) and not swapped:
            return f" ({words}? pass {reshape})"
    return ""


def take(x: Images, index: slice | Array, dtype: DTypeLike, out: Array | None = None) -> Array:
    """Return the images at `index` as model input: in `dtype`, uint8 divided by 255.

    x    (N, ...) from `as_images`
    out  (n, ...) of `dtype` to write into; None returns a new array or, of floats, maybe a view
    """
    batch = np.asarray(x[index])
    if x.dtype == np.uint8:
        return np.divide(batch, 255, out=out, dtype=dtype)
    if out is None:
        return np.asarray(batch, dtype)
    np.copyto(out, batch)
    return out


def split(fraction: float, *arrays: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Keras's validation_split: return (first parts, last parts) of the arrays, not shuffled.

    fraction  size of the last part, between 0 and 1 (exclusive); cuts at floor(N * (1 - fraction))
    arrays    of equal length; None stays None

    Raises ValueError if a part would be empty (Keras: trainers/data_adapters/array_slicing.py).
    """
    fraction = number(fraction, "validation_split", lambda part: 0 < part < 1, "between 0 and 1")
    counts = {len(a) for a in arrays if a is not None}
    if len(counts) != 1:
        raise ShapeError(f"validation_split: expected arrays of equal length, got {sorted(counts)}")
    (count,) = counts
    cut = int(count * (1 - fraction))
    if cut in (0, count):
        raise ValueError(
            f"validation_split: {fraction} of {count} examples leaves {cut} for training and "
            f"{count - cut} for validation, expected at least 1 of both"
        )
    first = tuple(None if a is None else a[:cut] for a in arrays)
    return first, tuple(None if a is None else a[cut:] for a in arrays)
