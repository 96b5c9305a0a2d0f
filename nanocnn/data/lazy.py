"""Images that are not in memory: read from a file, or any source with slices, a batch at a time."""

from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nanocnn.common.arrays import Array, quietly
from nanocnn.common.errors import NonFiniteError, ShapeError

FIRST = 32  # images that are read and checked before any work
ROWS = 1024  # images checked for NaN at a time


class LazyImages:
    """Images (N, *image) of `source`, of which only those are read that are asked for.

    A slice of it is another `LazyImages`; x[index] with an array of numbers, and `np.asarray(x)`,
    read. `dtype`: uint8 for pixels that are to be scaled, as they are read; or a float type, which
    the images are cast to and checked for NaN and infinity as they are read.

    A shuffled batch reads a run of rows at a time; a source of compressed chunks unpacks one for
    each run, so there chunks of few images, or `shuffle=False`, are many times faster.

    source  a memory-mapped array; or an object with `shape` (N, ...), `dtype` and source[a:b], an
            array: h5py.Dataset, zarr.Array, or of a class of your own
    """

    def __init__(
        self, source: Any, image: tuple[int, ...], dtype: DTypeLike, name: str, rows: range
    ) -> None:
        self.source, self.image, self.name = source, image, name
        self.sample, self.stored = tuple(source.shape[1:]), source.dtype  # HDF5 takes long to say
        self.dtype = np.dtype(dtype)
        self.rows = rows  # of the source

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.image

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LazyImages(self.source, self.image, self.dtype, self.name, self.rows[index])
        return self._read(self.rows.start + self.rows.step * np.asarray(index))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self._read(np.asarray(self.rows)), dtype)

    def first(self) -> Array:
        """The first images, by which the range of all is judged."""
        return np.asarray(self[:FIRST])

    def _read(self, rows: Array) -> Array:
        source = self.source
        if isinstance(source, np.ndarray):
            images = source[rows]
        else:  # in runs of successive rows, in the order of the file
            images = np.empty((len(rows), *self.sample), self.stored)
            order = rows.argsort(kind="stable")
            ends = np.flatnonzero(np.diff(rows[order]) != 1) + 1
            for places in np.split(order, ends) if len(rows) else ():
                images[places] = self._slice(int(rows[places[0]]), len(places))
        images = images.reshape(len(rows), *self.image)
        return images if self.dtype == np.uint8 else as_floats(images, self.dtype, self.name, rows)

    def _slice(self, start: int, count: int) -> Array:
        stop = start + count
        try:
            rows = np.asarray(self.source[start:stop])
        except (TypeError, LookupError) as error:
            raise ValueError(
                f"{self.name}[{start}:{stop}]: {error!r:.80}, expected an array: data that are "
                "read a batch at a time have shape, dtype and slices"
            ) from error
        shape = count, *self.sample
        if rows.shape != shape or not np.can_cast(rows.dtype, self.stored, "equiv"):
            raise ShapeError(
                f"{self.name}[{start}:{stop}]: got {rows.dtype} of shape {rows.shape}, expected "
                f"{self.stored} of shape {shape}, by {self.name}.dtype and {self.name}.shape"
            )
        return rows


def is_lazy(x: Any) -> bool:
    """Whether images `x` are read a batch at a time: memory-mapped, or no array but with slices."""
    if isinstance(x, np.ndarray):
        return _is_mapped(x)
    try:
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    except (RuntimeError, ValueError) as error:  # by h5py
        raise ValueError(f"{x!r:.80} cannot be read: {error}") from error
    return (
        isinstance(shape, tuple)
        and len(shape) > 1  # one number a sample is as small as a label
        and isinstance(dtype, np.dtype)
        and hasattr(x, "__getitem__")
        and not hasattr(x, "__dlpack__")  # an array of another library, in memory
    )


def _is_mapped(x: Array) -> bool:
    """Whether the memory of `x` is a file, mapped by `np.memmap` or by `mmap`."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap)


def as_floats(x: Array, dtype: DTypeLike, name: str, rows: Array | range) -> Array:
    """Return x (N, ...) in `dtype`, contiguous, after a check for NaN and infinity.

    rows  (N,) the numbers of the samples, for the NonFiniteError, which has the index of the first
    """
    cast = quietly(np.ascontiguousarray, x, dtype)  # checked for overflow below
    if x.dtype.kind == "f":
        for start in range(0, len(cast), ROWS):
            if not np.isfinite(part := cast[start : start + ROWS]).all():
                n, *pixel = (int(i) for i in np.argwhere(~np.isfinite(part))[0])
                place = (start + n, *pixel)
                raise NonFiniteError(
                    f"{name}: expected finite pixels, got {x[place]} at index "
                    f"{(int(rows[start + n]), *pixel)} (as {cast.dtype.name}: {cast[place]})"
                )
    return cast
