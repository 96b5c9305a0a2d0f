"""Untrusted HDF5 files: no external links, and no more data than the size of the file."""

import contextlib
from collections.abc import Iterator
from itertools import count, takewhile
from math import prod
from typing import Any, BinaryIO

import numpy as np

from ..common.errors import MissingExtraError, ModelFileError
from .architecture import Shape
from .snapshot import Array


def import_h5py() -> Any:
    """Import h5py, or raise `MissingExtraError`."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError('Keras\'s files need h5py: pip install "nanocnn[keras]"') from error
    return h5py


class SafeFile:
    """Safe access to an HDF5 file: no external links, and no more data than the file's size.

    Each dataset read is subtracted from `budget`, initially the file's size, so that sparse data
    and blocks under several names cannot use more memory than the file. Whole chunks count, since
    HDF5 reads them whole; filters, such as compression, are rejected.
    """

    def __init__(self, h5py: Any, root: Any, size: int) -> None:
        self.h5py, self.root, self.size, self.budget = h5py, root, size, size

    def child(self, group: Any, path: str) -> Any:
        """Return the group or dataset at `path` under a group, all hard links, or None."""
        for name in path.split("/"):
            link = group.get(name, getlink=True) if isinstance(group, self.h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, self.h5py.HardLink):
                raise ModelFileError(
                    f"{group.name}/{name}: a {type(link).__name__}, expected a hard link"
                )
            group = group[name]
        return group

    def group(self, path: str) -> Any:
        """Return the group at `path` under the root, or None."""
        found = self.child(self.root, path)
        return found if isinstance(found, self.h5py.Group) else None

    def weights(self, group: Any) -> dict[str, Any]:
        """Return the datasets that a group lists, by path, "/kernel", without Keras 2's ":0"."""
        paths = self.names(group, "weight_names")
        return {f"/{path.removesuffix(':0')}": self.child(group, path) for path in paths}

    def read(self, dataset: Any, shape: Shape, kinds: str = "fiu") -> Array:
        """Return a dataset's values; its shape must be `shape`, its dtype of one of `kinds`."""
        if not isinstance(dataset, self.h5py.Dataset):
            raise ModelFileError(f"dataset of shape {shape} is missing")
        dtype, name = dataset.dtype, dataset.name
        if dataset.shape != shape or dtype.kind not in kinds or dtype.itemsize > 8:
            raise ModelFileError(
                f"{name}: {dtype} of shape {dataset.shape}, expected numbers of shape {shape}"
            )
        if dataset.external or dataset.is_virtual:
            raise ModelFileError(
                f"{name}: its data are in another file or dataset, expected stored data"
            )
        if dataset.id.get_create_plist().get_nfilters():
            raise ModelFileError(
                f"{name}: compressed or filtered ({_filters(dataset)}), which is not supported; "
                "rewrite it with create_dataset(name, data=array)"
            )
        chunks = zip(shape, dataset.chunks or shape, strict=True)
        needed = prod(-(-size // chunk) * chunk for size, chunk in chunks) * dtype.itemsize
        self.budget -= needed
        if self.budget < 0 or needed > dataset.id.get_storage_size():
            raise ModelFileError(
                f"{name}: declares {needed} bytes, more than the file contains "
                "(data must be stored, not implied by a fill value)"
            )
        return np.asarray(dataset[()])

    def names(self, group: Any, attribute: str) -> list[str]:
        """Return a list of strings from the attributes that `set_names` writes."""
        found: list[str] = []
        parts = [attribute]
        if attribute not in group.attrs:
            parts = [*takewhile(group.attrs.__contains__, map(f"{attribute}{{}}".format, count()))]
        for part in parts:
            array = group.attrs.get_id(part)
            if array.shape == (0,):  # of floats, as Keras writes it
                continue
            self.budget -= array.get_storage_size()
            strings = self.h5py.check_string_dtype(array.dtype) and len(array.shape) == 1
            if not strings or self.budget < 0:
                what = f"{group.name}: attribute {part}"
                raise ModelFileError(f"{what}: expected strings, no larger than the file")
            values = group.attrs[part]
            found += [v.decode() if isinstance(v, bytes) else str(v) for v in values]
        return found

    def text(self, name: str) -> str | None:
        """Return the root's attribute `name`, a string, or None."""
        if name not in self.root.attrs:
            return None
        attribute = self.root.attrs.get_id(name)
        if attribute.shape != () or self.h5py.check_string_dtype(attribute.dtype) is None:
            raise ModelFileError(f"attribute {name}: expected one string")
        if attribute.get_storage_size() > self.size:
            raise ModelFileError(f"attribute {name}: declares more bytes than the file contains")
        value = self.root.attrs[name]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _filters(dataset: Any) -> str:
    """Return the names of a dataset's filters: deflate, shuffle, ..."""
    plist = dataset.id.get_create_plist()
    names = [plist.get_filter(index)[3] for index in range(plist.get_nfilters())]
    return ", ".join(name.decode("ascii", "replace")[:40] for name in names)


@contextlib.contextmanager
def open_hdf5(file: BinaryIO) -> Iterator[SafeFile]:
    """Open an HDF5 file for reading; errors of h5py in the block become `ModelFileError`."""
    h5py = import_h5py()
    size = file.seek(0, 2)
    try:
        with h5py.File(file, "r") as root:
            yield SafeFile(h5py, root, size)
    except ModelFileError:
        raise
    except Exception as error:  # h5py raises many kinds for damaged files
        raise ModelFileError(f"not an HDF5 file, or a damaged one: {error}") from error
