"""MNIST and data sets of its format: from disk, a verified download, or the embedded sample.

`load` searches the given folder, or else $NANOCNN_DATA, the user's cache, the public mirrors and,
for MNIST only, the sample of 5,000 digits in this package. It prints which one it used.
"""

import os
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO, cast

import numpy as np

from nanocnn.common.arrays import Array
from nanocnn.common.errors import DatasetError
from nanocnn.common.files import atomic_write, path_name
from nanocnn.common.terminal import say
from nanocnn.common.validate import flag, one_of
from nanocnn.data import download, idx
from nanocnn.data.download import EMNIST_FILES, EMNIST_ZIP, MNIST_FILES, SOURCES

Split = tuple[Array, Array]

# The largest array accepted from a file: gzip packs up to 1,000 zeros per byte, images about 10.
MAX_BYTES, MAX_RATIO = 64 << 20, 100  # bytes, and times the file's size


def load(
    path: str | os.PathLike[str] | None = None,
    name: str = "mnist",
    verbose: bool = True,
    *,
    mmap: bool = False,
) -> tuple[Split, Split]:
    """Load (x_train, y_train), (x_test, y_test): images uint8 (N,28,28), labels uint8 (N,) of 0..9.

    path     a folder with the four IDX files, gzipped or not, or with a subfolder `name` of them;
             None searches $NANOCNN_DATA (the same way), the user's cache and the mirrors (SHA-256
             checked), and falls back to the embedded sample for MNIST
    name     "mnist", "fashion_mnist", "kmnist" or "emnist_digits"
    verbose  print one line naming the source, and show downloads on a terminal;
             a fallback to the sample is always printed
    mmap     map the files of images into memory, read-only, for data larger than memory and for
             several processes with the same data: only the images that are used are read. The files
             must not be gzipped, and not change meanwhile (the embedded sample, 4 MB, is read).
             Hashes are still checked of files in the cache, which reads them once

    Raises DatasetError for missing or wrong files, ValueError for an unknown name. The data sets
    use the same file names: files in $NANOCNN_DATA itself count as MNIST, unless the folder has the
    name of another set, such as fashion-mnist. Keep other data sets in subfolders.
    """
    verbose, mmap = flag(verbose, "verbose"), flag(mmap, "mmap")
    name = one_of(name, SOURCES, "data set")
    if path is not None:
        folder = Path(path_name(path))
        if found := _find([folder / name, folder], name):
            return _read(name, found, str(folder), verbose, mmap)
        what = "has none of them" if folder.is_dir() else "is not a folder"
        raise DatasetError(
            f"{name}: expected {', '.join(_stems(name))}, each with or without .gz; {folder} {what}"
        )
    found, where = _find_in_environment(name)
    if found:
        return _read(name, found, where, verbose, mmap)
    cache = download.cache_folder() / name
    try:
        mirror = _fetch(name, cache, verbose)
    except ConnectionError as error:
        why = f"not in {cache}{where}, and no mirror provides it: {error}"
        if name == "mnist":
            return sample(f"the embedded sample, 5,000 of MNIST's 70,000 digits ({why})")
        raise DatasetError(
            f"{name}: {why}; download {', '.join(SOURCES[name].files)} from "
            f"{SOURCES[name].mirrors[0]}, then pass their folder as path or set NANOCNN_DATA to it"
        ) from error
    origin = f"{mirror}, now cached in {cache}" if mirror else str(cache)
    return _read(name, _find([cache], name), origin + where, verbose, mmap)


def load_data(path: str = "mnist.npz") -> tuple[Split, Split]:
    """`load` by Keras's name, which says only when it falls back to the sample.

    `path` is the name of Keras's own cache and has no effect. DatasetError for damaged files.
    """
    path_name(path)
    return load(verbose=False)


def sample(origin: str | None = None) -> tuple[Split, Split]:
    """Load the 5,000 digits in this package: 4,000 for training, 1,000 for test, balanced.

    origin  source to print in one line; None prints nothing
    """
    if not isinstance(origin, (str, type(None))):
        raise ValueError(f"origin={origin!r:.80}, expected a str or None")
    found = _find([files("nanocnn.data") / "sample"], "mnist")
    return _read("mnist", found, origin or "", verbose=origin is not None)


def locate(name: str = "mnist") -> str:
    """Describe where `load(name=name)` would find the files, without reading or downloading any.

    Raises ValueError for an unknown name.
    """
    name = one_of(name, SOURCES, "data set")
    found, where = _find_in_environment(name)
    if found:
        return where
    cache = download.cache_folder() / name
    origin = f"a download from {SOURCES[name].mirrors[0]} to {cache}"
    origin += ", or the embedded sample without a network" * (name == "mnist")
    with suppress(DatasetError):  # some files are missing: they would be downloaded
        origin = f"{cache}, from earlier downloads" if _find([cache], name) else origin
    return origin + where


def _find_in_environment(name: str) -> tuple[list[Traversable], str]:
    """Return the four files in $NANOCNN_DATA and where they are; or [] and that it lacks them."""
    if not (variable := os.environ.get("NANOCNN_DATA")):
        return [], ""
    folder = Path(variable)
    if found := _find([folder / name, *[folder] * _counts_as(folder, name)], name):
        return found, f"{folder} ($NANOCNN_DATA)"
    return [], f" ($NANOCNN_DATA, {folder}, does not have it)"


def _stems(name: str) -> tuple[str, ...]:
    return EMNIST_FILES if name == "emnist_digits" else MNIST_FILES


def _counts_as(folder: Path, name: str) -> bool:
    """Whether files directly in $NANOCNN_DATA, `folder`, count as the data set `name`."""
    plain = folder.name.lower().replace("-", "").replace("_", "")
    owner = {known.replace("_", ""): known for known in SOURCES}.get(plain, "mnist")
    return owner == name or name == "emnist_digits"  # EMNIST's file names are unique


def _find(places: list[Any], name: str) -> list[Traversable]:
    """Return the four files from the first of `places` that has any, [] if there is none."""
    if name == "emnist_digits":
        places = [inside for place in places for inside in _emnist_places(place)]
    for place in places:
        found: dict[str, Traversable] = {}
        for stem in _stems(name):
            dotted = stem.replace("-idx", ".idx")  # the name that gzip -N and 7-zip restore
            for spelling in (stem, dotted, f"{stem}.gz", f"{dotted}.gz"):
                if stem not in found and (place / spelling).is_file():
                    found[stem] = place / spelling
        if len(found) == 4:
            return list(found.values())
        if found:
            missing = [stem for stem in _stems(name) if stem not in found]
            raise DatasetError(f"{name}: {place} lacks {', '.join(missing)} (with or without .gz)")
    return []


def _emnist_places(folder: Path) -> Iterator[Any]:
    """Yield the folder, the subfolder that unzipping creates, and the .zip itself."""
    yield from (folder, folder / "gzip")
    if (folder / EMNIST_ZIP).is_file():
        try:
            yield zipfile.Path(folder / EMNIST_ZIP, "gzip/")
        except (zipfile.BadZipFile, OSError) as error:
            raise DatasetError(f"{folder / EMNIST_ZIP}: expected a zip file: {error}") from error


def _read(
    name: str, found: list[Traversable], origin: str, verbose: bool, mmap: bool = False
) -> tuple[Split, Split]:
    if mmap:
        _require_unpacked(found[::2])
    arrays = []
    for number, file in enumerate(found):
        images = number % 2 == 0
        try:
            with file.open("rb") as opened:
                stream = cast(BinaryIO, opened)
                arrays.append(idx.read(stream, _max_bytes(file), mmap=mmap and images))
        except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: encrypted
            raise DatasetError(f"{file}: damaged zip member: {error}") from error
    x_train, y_train, x_test, y_test = arrays
    _check(x_train, y_train, found[0], found[1])
    _check(x_test, y_test, found[2], found[3])
    if name == "emnist_digits":  # stored with rows and columns swapped
        x_train, x_test = x_train.swapaxes(1, 2), x_test.swapaxes(1, 2)
        if not mmap:
            x_train, x_test = np.ascontiguousarray(x_train), np.ascontiguousarray(x_test)
    if verbose:
        say(f"{name}: {len(x_train):,} + {len(x_test):,} images from {origin}")
    return (x_train, y_train), (x_test, y_test)


def _require_unpacked(found: list[Traversable]) -> None:
    """Raise, with the command that unpacks them, if these files are packed."""
    if isinstance(found[0], zipfile.Path):
        archive = str(found[0].root.filename)
        command = shlex.join(["python", "-m", "zipfile", "-e", archive, str(Path(archive).parent)])
        raise DatasetError(f"mmap=True, but the images are in a zip file; extract it: {command}")
    if packed := [str(file) for file in found if file.name.endswith(".gz")]:
        raise DatasetError(f"mmap=True, but the images are gzipped; {idx.how_to_unpack(*packed)}")


def _max_bytes(file: Any) -> int:
    """Return the largest array accepted from a file on disk or in a zip archive."""
    if isinstance(file, zipfile.Path):
        size = file.root.getinfo(file.at).compress_size
    else:
        size = file.stat().st_size
    return max(MAX_BYTES, MAX_RATIO * size)


def _check(x: Array, y: Array, x_file: Traversable, y_file: Traversable) -> None:
    if x.dtype != np.uint8 or x.shape[1:] != (28, 28) or len(x) == 0:
        raise DatasetError(
            f"{x_file}: expected uint8 images (N, 28, 28), 1 or more, got {x.dtype} {x.shape}"
        )
    if y.dtype != np.uint8 or y.ndim != 1:
        raise DatasetError(f"{y_file}: expected uint8 labels (N,), got {y.dtype} {y.shape}")
    if len(x) != len(y):
        raise DatasetError(f"{x_file} has {len(x):,} images but {y_file} has {len(y):,} labels")
    if y.max() > 9:
        first = int(np.argmax(y > 9))
        raise DatasetError(f"{y_file}: expected labels 0 to 9, got {y[first]} at index {first}")


def _fetch(name: str, cache: Path, verbose: bool) -> str:
    if name != "emnist_digits":
        return download.fetch(name, cache, verbose)
    if _find([cache], name):
        return ""
    mirror = download.fetch(name, cache, verbose)
    # Extract the four members of the verified .zip, then delete it to save half a gigabyte.
    for member in _find([cache], name):
        with member.open("rb") as packed, atomic_write(cache / member.name) as file:
            copyfileobj(packed, file)
    (cache / EMNIST_ZIP).unlink(missing_ok=True)
    return mirror
