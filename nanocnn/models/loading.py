"""Models from files and from JSON."""

from pathlib import Path
from typing import Any

from .. import storage
from ..common.errors import ModelFileError
from ..common.validate import flag
from ..kernels import get_kernels
from .sequential import Sequential, refuse_custom_objects


def load_model(
    filepath: str | Path,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    kernels: str = "fast",
) -> Sequential:
    """The model saved at `filepath`: by nanocnn (.npz, .h5, .keras) or by Keras (.h5, .keras).

    A file that Keras wrote gives a model with `scale_uint8=False`: uint8 pixels are taken as 0 to
    255, as Keras takes them, and not divided by 255 (see `Sequential`). Inner models become part of
    the chain. `mixed_float16` is computed in float32.
    A model that nanocnn cannot train as it is (its optimizer, loss, metrics, constraints, or
    regularizers other than L2) is opened to predict, which a warning says: it is not compiled.
    `compile=False` ignores all these. `safe_mode` has no effect: no code in a file is ever run.
    Raises `ModelFileError` for a file that is not a model, ValueError for what is not a path,
    `OSError` for a path that cannot be opened.
    """
    get_kernels(kernels)  # before the file is read: its errors do not blame the file
    refuse_custom_objects(custom_objects)
    flag(safe_mode, "safe_mode")
    snapshot = storage.load(filepath, compile)
    try:
        return Sequential.from_snapshot(snapshot, kernels)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ModelFileError(f"{filepath}: not a model nanocnn can build: {error}") from error


def model_from_json(
    json_string: str, custom_objects: dict[str, Any] | None = None, *, kernels: str = "fast"
) -> Sequential:
    """A new model, with new weights, of the JSON that `to_json` returns, also Keras's.

    Like Keras, it is compiled if the other one was. Raises `ModelFileError`, a ValueError.
    """
    refuse_custom_objects(custom_objects)
    if not isinstance(json_string, (str, bytes)):
        raise ValueError(f"json_string={json_string!r:.80}, expected JSON text")
    snapshot = storage.from_config(storage.parse_json(json_string, "json_string"))
    return Sequential.from_snapshot(snapshot, kernels)
