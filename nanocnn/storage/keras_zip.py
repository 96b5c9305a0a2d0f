"""Keras 3's `.keras`: a zip of metadata.json, config.json and model.weights.h5.

In model.weights.h5, layers/CLASS[_n]/vars/0, 1, ... are a layer's weights in order and
optimizer/vars/0, 1, ... the optimizer's variables. Source: keras/src/saving/saving_lib.py.
"""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from ..common.errors import ModelFileError
from .architecture import Config, by_layer, read_architecture
from .keras_config import (
    KERAS_VERSION,
    is_nanocnn_010,
    keras_model,
    keras_object,
    read_training,
    slot_order,
    snake_case,
)
from .keras_hdf5 import (
    import_h5py,
    keras_compile_config,
    open_hdf5,
    optimizer_variables,
    read_state,
)
from .safe_zip import Archive, add_member, parse_json
from .snapshot import Snapshot

MAGIC, KIND = b"PK", "a zip archive, as .keras files are"


def read(file: BinaryIO, compile: bool = True) -> Snapshot:
    """Read the model from an open `.keras` file."""
    archive = Archive(file)
    model = parse_json(archive.read("config.json"), "config.json")
    scale_uint8 = False
    if "metadata.json" in archive.sizes:
        metadata = parse_json(archive.read("metadata.json"), "metadata.json")
        scale_uint8 = is_nanocnn_010(model, metadata.get("keras_version"))
    config, shapes = read_architecture(model, compile, scale_uint8)
    compiled = read_training(model.get("compile_config")) if compile else None
    snapshot = Snapshot(config, {}, compiled)
    with open_hdf5(io.BytesIO(archive.read("model.weights.h5"))) as h5:
        of_layer = by_layer(shapes)
        for layer, path in _paths(config):
            group = h5.group(path)
            keys = of_layer.get(layer, [])
            if len(group or ()) != len(keys):
                raise ModelFileError(f"{path}: {len(group or ())} weights, expected {len(keys)}")
            for index, key in enumerate(keys):
                array = h5.read(h5.child(group, str(index)), shapes[key])
                snapshot.weights[key] = array.astype(config["dtype"])
        group = h5.group("optimizer/vars")
        if compiled and group is not None:
            order = slot_order(compiled["optimizer"], config, shapes)
            # The slots follow the step and, unless it is a schedule, the learning rate.
            first = len(group) - len(order)
            if compiled["optimizer"]["class_name"] == "Nadam":
                rate = compiled["optimizer"]["config"].get("learning_rate")
                first = min(first, 1 if isinstance(rate, dict) else 2)  # a product follows them
            slots = {
                f"{weight}/{slot}": h5.child(group, str(first + i)) if first in (1, 2) else None
                for i, (weight, slot, _) in enumerate(order)
            }
            snapshot.optimizer = read_state(h5, h5.child(group, "0"), slots, snapshot)
    return snapshot


def write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write the model as `.keras`; warn of what Keras does not support, and leave it out."""
    training = keras_compile_config(snapshot)
    model = keras_object("keras", keras_model(snapshot.config))
    model["build_config"] = {"input_shape": model["config"]["build_input_shape"]}
    model["compile_config"] = training
    image = io.BytesIO()
    with import_h5py().File(image, "w") as root:
        of_layer = by_layer(snapshot.weights)
        for layer, path in _paths(snapshot.config):
            group = root.create_group(path)
            group.attrs["name"] = layer
            for index, key in enumerate(of_layer.get(layer, [])):
                group.create_dataset(str(index), data=snapshot.weights[key])
        root.create_group("vars").attrs["name"] = snapshot.config["name"]
        if training:
            group = root.create_group("optimizer/vars")
            group.attrs["name"] = snake_case(training["optimizer"]["class_name"])
            for index, value in enumerate(optimizer_variables(snapshot).values()):
                group.create_dataset(str(index), data=value)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (
            ("metadata.json", json.dumps(metadata).encode()),
            ("config.json", json.dumps(model).encode()),
            ("model.weights.h5", image.getbuffer()),
        ):
            with add_member(archive, name) as stream:
                stream.write(data)


def _paths(config: Config) -> Iterator[tuple[str, str]]:
    """Yield (layer name, its group in model.weights.h5); groups are numbered by class."""
    counts: dict[str, int] = {}
    for layer in config["layers"][1:]:
        name = snake_case(layer["class_name"])
        number = counts.get(name, 0)
        counts[name] = number + 1
        suffix = f"_{number}" if number else ""
        yield layer["config"]["name"], f"layers/{name}{suffix}/vars"
