"""Keras's HDF5 files of complete models (`.h5`, Keras 2 and 3).

Layout: JSON in the root's attributes `model_config` and `training_config`; the weights in
model_weights/LAYER/.../WEIGHT; the optimizer's variables in optimizer_weights. Source:
keras/src/legacy/saving/legacy_h5_format.py.
"""

import io
import json
from typing import Any, BinaryIO

import numpy as np

from ..common.errors import ModelFileError
from .architecture import by_layer
from .keras_chain import snake_case
from .keras_config import (
    KERAS_VERSION,
    is_nanocnn_010,
    keras_model,
    read_model,
    slot_order,
    without_own_layers,
    write_training,
)
from .keras_weights import optimizer_variables, read_state, read_weights
from .safe_hdf5 import SafeFile, import_h5py, open_hdf5
from .safe_zip import parse_json
from .snapshot import Array, Snapshot

MAGIC, KIND = b"\x89HDF", "an HDF5 file"
# Keras 3 restores the group optimizer_weights into an optimizer built without variables, which then
# fails to train (seen in 3.15). Without that group it trains with a new optimizer.
OPTIMIZER_GROUP = "nanocnn_optimizer_weights"
MAX_ATTRIBUTE = 64_512  # bytes, as in Keras; HDF5 allows 64 kB


def read(file: BinaryIO, compile: bool = True) -> Snapshot:
    """Read the model from an open `.h5` file. Optimizer variables are found by name."""
    with open_hdf5(file) as h5:
        text = h5.text("model_config")
        if text is None:
            raise ModelFileError(
                "no attribute model_config: not a complete Keras model; save_weights() stores no "
                "layers, use model.save()"
            )
        model = parse_json(text, "model_config")
        training = h5.text("training_config") if compile else None
        scale_uint8 = is_nanocnn_010(model, h5.text("keras_version"))
        snapshot, places, shapes = read_model(model, training, scale_uint8, compile)
        read_weights(h5, snapshot, places, shapes)
        group = h5.group(OPTIMIZER_GROUP) or h5.group("optimizer_weights")
        if snapshot.compile_config and group is not None:
            snapshot.optimizer = _read_optimizer(h5, h5.weights(group), snapshot)
    return snapshot


def _read_optimizer(h5: SafeFile, found: dict[str, Any], snapshot: Snapshot) -> dict[str, Array]:
    """Return the optimizer's state from its datasets by path, of any Keras version."""
    steps = [found[path] for path in found if path.rpartition("/")[2] in ("iteration", "iter")]
    by_name: dict[str, list[str]] = {}  # a search through all paths for each slot takes too long
    for path in found:
        by_name.setdefault(path.rpartition("/")[2], []).append(path)
    slots: dict[str, Any] = {}
    for weight, slot, (keras3, keras2, old) in slot_order(snapshot):
        flat = f"{weight.replace('/', '_')}_{keras3}"
        exact = f"/{snapshot.config['name']}_{flat}"
        suffixes = (f"_{flat}", f"/{flat}", f"/{keras2}/{weight}", f"/{weight}/{old}")
        alike = by_name.get(exact.rpartition("/")[2], [])
        named = [path for path in alike if path.endswith(exact)]
        named = named or [path for path in found if path.endswith(suffixes)]
        slots[f"{weight}/{slot}"] = found[named[0]] if len(named) == 1 else None
    return read_state(h5, steps[0] if steps else None, slots, snapshot)


def write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write the model as Keras's `.h5`; warn of what Keras does not support, and leave it out."""
    snapshot = without_own_layers(snapshot)
    name = snapshot.config["name"]
    image = io.BytesIO()  # in memory, because HDF5 cannot recover from a full disk
    with import_h5py().File(image, "w") as root:
        root.attrs["keras_version"] = KERAS_VERSION
        root.attrs["backend"] = "tensorflow"
        root.attrs["model_config"] = json.dumps(keras_model(snapshot.config))
        groups = root.create_group("model_weights")
        layers = [layer["config"]["name"] for layer in snapshot.config["layers"][1:]]
        set_names(groups, "layer_names", layers)
        groups.attrs["keras_version"] = KERAS_VERSION
        groups.attrs["backend"] = "tensorflow"
        of_layer = by_layer(snapshot.weights)
        for layer in (*layers, "top_level_model_weights"):
            keys = of_layer.get(layer, [])
            values = {f"{name}/{key}": snapshot.weights[key] for key in keys}
            write_named(groups.create_group(layer), values)
        training = write_training(snapshot.compile_config)
        if training:
            optimizer = training.pop("optimizer")
            training["optimizer_config"] = optimizer
            root.attrs["training_config"] = json.dumps(training)
            kind = snake_case(optimizer["class_name"])
            values = {
                f"{kind}/{path}": value for path, value in optimizer_variables(snapshot).items()
            }
            write_named(root.create_group(OPTIMIZER_GROUP), values)
    file.write(image.getbuffer())


def set_names(group: Any, attribute: str, names: list[str]) -> None:
    """Write a list of strings as an attribute or, if it is long, as several, like Keras."""
    array = np.array([name.encode() for name in names])
    parts = -(-array.nbytes // MAX_ATTRIBUTE)
    while any(part.nbytes > MAX_ATTRIBUTE for part in np.array_split(array, max(parts, 1))):
        parts += 1
    if parts > 1:
        for index, part in enumerate(np.array_split(array, parts)):
            group.attrs[f"{attribute}{index}"] = part
    else:
        group.attrs[attribute] = array if names else []


def write_named(group: Any, values: dict[str, Array]) -> None:
    """Write arrays as datasets by path, and the list of paths in order."""
    set_names(group, "weight_names", list(values))
    for path, value in values.items():
        group.create_dataset(path, data=value)
