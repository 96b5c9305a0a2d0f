"""Saved models: `.npz` (nanocnn's format, resumable), `.h5` and `.keras` (Keras's formats).

`.weights.h5` (Keras's) has the weights and the optimizer's state alone.

Files are untrusted. Only known layer, optimizer and loss names are accepted; nothing is unpickled,
imported or evaluated by name. The shapes of all weights follow from the layers and are compared
before a weight is read. All arrays together must not exceed the file's size; compressed members and
datasets, and models of more than 10,000 layers, are rejected. This bounds memory to a few times the
file's size plus 100 MB for JSON, whatever a header declares, and the time to build the model.
Keras's files are read in a separate process with a time limit, because the HDF5 library hangs or
crashes on some damaged files.
"""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from ..common.errors import ModelFileError, warn
from ..common.files import PEEK, atomic_write, looks_like, path_name
from ..common.validate import flag
from . import keras_hdf5, keras_weights, keras_zip, npz, sandbox
from .architecture import by_layer, checked, refuse_custom
from .keras_chain import Place
from .keras_config import read_model
from .keras_zip import model_config
from .safe_zip import parse_json
from .snapshot import Snapshot

# Each module has read(open file, compile) -> Snapshot, write(Snapshot, open file), the first bytes
# of its files (MAGIC) and their description (KIND).
FORMATS: dict[str, ModuleType] = {
    ".npz": npz,
    ".h5": keras_hdf5,
    ".hdf5": keras_hdf5,
    ".keras": keras_zip,
}


def save(
    snapshot: Snapshot, path: str | os.PathLike[str], overwrite: bool = True, weights: bool = False
) -> None:
    """Write `snapshot` to `path` atomically, in the format of its suffix.

    With `weights`, a file for `load_weights`: `.weights.h5` or `.npz`. Raises `ValueError` for a
    folder, an unknown suffix or weights that do not match the config, `FileExistsError` without
    `overwrite`, `OSError` if the disk is full (the old file is kept), `MissingExtraError` without
    h5py.
    """
    handler = _format(path, weights)
    if weights and handler not in (keras_weights, npz):
        raise ValueError(f"{os.fspath(path)}: expected a name ending in .weights.h5 or .npz")
    if handler is not keras_weights:  # which stores no config
        snapshot = checked(snapshot)
    if not flag(overwrite, "overwrite") and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "the file exists; overwrite=True replaces it", path)
    with atomic_write(path) as file:
        handler.write(snapshot, file)


def load(path: str | os.PathLike[str], compile: bool = True) -> Snapshot:
    """Read the model in `path`, in the format of its suffix.

    See `load_model`: a snapshot to predict is not compiled. Raises `ModelFileError` naming the
    file, the member and what was expected.
    """
    compile = flag(compile, "compile")
    with _opened(path) as (file, suffix):
        if suffix == ".npz":
            return npz.read(file, compile)
        return sandbox.read(file, suffix, compile)


def load_weights(
    path: str | os.PathLike[str], snapshot: Snapshot, skip_mismatch: bool = False
) -> Snapshot:
    """Read weights for the model of `snapshot` from a file of weights or of a whole model.

    Raises `ModelFileError` naming the layer, the shapes and what was expected. With
    `skip_mismatch`, layers of other shapes are left out, with a warning.
    """
    model = keras_weights.target(snapshot, flag(skip_mismatch, "skip_mismatch"))
    with _opened(path, weights=True) as (file, suffix):
        if suffix == ".npz":
            stored = npz.read(file, compile=False).weights
            layers = {
                layer: [(layer, {key.rpartition("/")[2]: stored[key] for key in keys})]
                for layer, keys in by_layer(stored).items()
            }
            places = {layer: Place((layer,)) for layer in by_layer(model["shapes"])}
            ordered = keras_weights.in_order(layers, places, model["shapes"])
            found, skipped = keras_weights.matching(ordered, model["shapes"], skip_mismatch)
            result = Snapshot(model["config"], found, progress={"skipped": skipped})
        else:
            result = sandbox.read(file, suffix, into=model)
    if result.progress["skipped"]:
        warn(f"{os.fspath(path)}: skipped {'; '.join(result.progress['skipped']):.500}")
    return result


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], weights: bool = False) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file of the kind that its name says; yields it and the suffix of its format.

    Errors in the block name the file.
    """
    handler = _format(path, weights)
    with open(path, "rb") as file:
        try:
            start = file.read(PEEK)
            file.seek(0)
            suffix = Path(path).suffix.lower()
            if handler is keras_zip and start.startswith(keras_hdf5.MAGIC):
                suffix = ".h5"  # tf.keras before 2.13 wrote HDF5 under this name
            elif not start.startswith(handler.MAGIC) and (found := looks_like(start)):
                raise ModelFileError(f"not {handler.KIND}: {found}")
            yield file, suffix
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from error
        except RecursionError as error:
            raise ModelFileError(f"{os.fspath(path)}: JSON nested too deeply") from error


def from_config(model: Any) -> Snapshot:
    """Return the snapshot, without weights, of a model's config: Keras's or nanocnn's.

    Raises `ModelFileError`; warns as `load` does.
    """
    try:
        return read_model(model, model.get("compile_config"))[0]
    except RecursionError as error:
        raise ModelFileError("config nested too deeply") from error


def check(snapshot: Snapshot, path: str | os.PathLike[str], weights: bool = False) -> None:
    """Raise the errors of `save`, except those of the disk, by writing to memory."""
    _format(path, weights).write(snapshot if weights else checked(snapshot), io.BytesIO())


def _format(path: str | os.PathLike[str], weights: bool = False) -> ModuleType:
    """Return the module for the suffix of `path`; `weights`: files of weights alone are valid."""
    name = Path(path_name(path, "filepath")).name.lower()
    if os.path.isdir(path):
        what = "a folder"
        if os.path.isfile(os.path.join(path, "saved_model.pb")):
            what = (
                "a folder, TensorFlow's SavedModel; save it from Keras with model.save('x.keras')"
            )
        raise ModelFileError(f"{os.fspath(path)}: {what}; expected a file")
    handler = FORMATS.get(Path(name).suffix)
    if weights and name.endswith(".weights.h5"):
        return keras_weights
    if handler is None or name.endswith(".weights.h5"):
        raise ValueError(
            f"{os.fspath(path)}: unknown kind of model file, expected a name ending in "
            f"{', '.join(FORMATS)} (a .weights.h5 has no model: save_weights, load_weights)"
        )
    return handler


__all__ = [
    "FORMATS", "Snapshot", "atomic_write", "check", "checked", "from_config", "load",
    "load_weights", "model_config", "parse_json", "refuse_custom", "save",
]  # fmt: skip
