"""Saved models: `.npz` (nanocnn's format, resumable), `.h5` and `.keras` (Keras's formats).

Files are untrusted. Only known layer, optimizer and loss names are accepted; nothing is unpickled,
imported or evaluated by name. The shapes of all weights follow from the layers and are compared
before a weight is read. All arrays together must not exceed the file's size; compressed members and
datasets, and models of more than 10,000 layers, are rejected. This bounds memory to a few times the
file's size plus 100 MB for JSON, whatever a header declares, and the time to build the model.
Keras's files are read in a separate process with a time limit, because the HDF5 library hangs or
crashes on some damaged files.
"""

import io
import os
from pathlib import Path
from types import ModuleType

from ..common.errors import ModelFileError
from ..common.files import PEEK, atomic_write, looks_like, path_name
from ..common.validate import flag
from . import keras_hdf5, keras_zip, npz, sandbox
from .architecture import checked, refuse_custom
from .snapshot import Snapshot

# Each module has read(open file, compile) -> Snapshot, write(Snapshot, open file), the first bytes
# of its files (MAGIC) and their description (KIND).
FORMATS: dict[str, ModuleType] = {
    ".npz": npz,
    ".h5": keras_hdf5,
    ".hdf5": keras_hdf5,
    ".keras": keras_zip,
}


def save(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Write `snapshot` to `path` atomically, in the format of its suffix.

    Raises `ValueError` for a folder, an unknown suffix or weights that do not match the config,
    `OSError` if the disk is full (the old file is kept), `MissingExtraError` without h5py.
    """
    handler = _format(path)
    snapshot = checked(snapshot)
    with atomic_write(path) as file:
        handler.write(snapshot, file)


def load(path: str | os.PathLike[str], compile: bool = True) -> Snapshot:
    """Read the model in `path`, in the format of its suffix.

    `compile` False ignores loss, metrics and optimizer, and those arguments of layers that only
    training uses and nanocnn does not support: constraints, regularizers other than L2.
    Raises `ModelFileError` naming the file, the member and what was expected.
    """
    compile = flag(compile, "compile")
    handler = _format(path)
    with open(path, "rb") as file:
        try:
            start = file.read(PEEK)
            file.seek(0)
            if not start.startswith(handler.MAGIC) and (found := looks_like(start)):
                raise ModelFileError(f"not {handler.KIND}: {found}")
            if handler is npz:
                return npz.read(file, compile)
            return sandbox.read(file, Path(path).suffix.lower(), compile)
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from error
        except RecursionError as error:
            raise ModelFileError(f"{os.fspath(path)}: JSON nested too deeply") from error


def check(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Raise the errors of `save`, except those of the disk, by writing to memory."""
    _format(path).write(checked(snapshot), io.BytesIO())


def _format(path: str | os.PathLike[str]) -> ModuleType:
    """Return the module for the suffix of `path`."""
    name = Path(path_name(path)).name.lower()
    if os.path.isdir(path):
        what = "a folder"
        if os.path.isfile(os.path.join(path, "saved_model.pb")):
            what = (
                "a folder, TensorFlow's SavedModel; save it from Keras with model.save('x.keras')"
            )
        raise ModelFileError(f"{os.fspath(path)}: {what}; expected a file")
    handler = FORMATS.get(Path(name).suffix)
    if handler is None or name.endswith(".weights.h5"):
        raise ValueError(
            f"{os.fspath(path)}: unknown kind of model file, expected a name ending in "
            f"{', '.join(FORMATS)} (.weights.h5 files contain no model)"
        )
    return handler


__all__ = ["FORMATS", "Snapshot", "atomic_write", "check", "load", "refuse_custom", "save"]
