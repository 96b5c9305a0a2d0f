"""From arrays to minibatches: the order, the one scaling rule, the split into two.

The scaling rule: uint8 images are 0..255 and are divided by 255; everything else (floats, wider
integers, booleans) is taken as it is. Images (N,H,W) gain a channel axis for a model of (H,W,1).
uint8 images stay uint8 until a batch is taken: the data set is never held a second time as floats.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nanocnn.arrays import Array
from nanocnn.checks import number, whole
from nanocnn.errors import NonFiniteError, ShapeError
from nanocnn.texts import sizes

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
    x: ArrayLike, input_shape: tuple[int, ...], dtype: DTypeLike, name: str = "x"
) -> Array:
    """Check images once and give them the model's shape: (N, *input_shape), uint8 or `dtype`.

    x            (N,H,W,C), or (N,H,W) for an input_shape of (H,W,1); any numbers, any byte order
    input_shape  one image's shape, such as (28,28,1)

    uint8 stays as it is, not copied, and `take` scales it; the rest is cast to `dtype`, unscaled.
    Raises ShapeError for a wrong shape or no images, NonFiniteError for NaN or infinity (naming the
    first image that has one), ValueError for what is not numbers.
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
        hint = " (one image? pass x[np.newaxis])" if got == tuple(input_shape) else ""
        raise ShapeError(f"{name}: expected (N, {sizes(input_shape)}), got {got}{hint}")
    if len(x) == 0:
        raise ShapeError(f"{name}: expected 1 image or more, got none: shape {got}")
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):  # 1e300 has no float32: found below
        cast = np.ascontiguousarray(x, dtype)
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
