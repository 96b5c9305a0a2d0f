"""Keras 3's `.keras`: a zip of metadata.json, config.json and model.weights.h5.

The last is a `.weights.h5`, see keras_weights.py. Source: keras/src/saving/saving_lib.py.
"""

import io
import json
import time
import zipfile
from dataclasses import replace
from typing import BinaryIO

from .architecture import Config
from .keras_config import (
    KERAS_VERSION,
    is_nanocnn_010,
    keras_model,
    keras_object,
    read_model,
    without_own_layers,
    write_training,
)
from .keras_weights import hdf5_image, read_optimizer, read_weights
from .safe_hdf5 import open_hdf5
from .safe_zip import Archive, add_member, parse_json
from .snapshot import Snapshot

MAGIC, KIND = b"PK", "a zip archive, as .keras files are"
WEIGHTS = "model.weights.h5"


def read(file: BinaryIO, compile: bool = True) -> Snapshot:
    """Read the model from an open `.keras` file."""
    archive = Archive(file)
    model = parse_json(archive.read("config.json"), "config.json")
    scale_uint8 = False
    if "metadata.json" in archive.sizes:
        metadata = parse_json(archive.read("metadata.json"), "metadata.json")
        scale_uint8 = is_nanocnn_010(model, metadata.get("keras_version"))
    training = model.get("compile_config")
    snapshot, places, shapes = read_model(model, training, scale_uint8, compile)
    with open_hdf5(weights_file(archive)) as h5:
        read_weights(h5, snapshot, places, shapes)
        snapshot.optimizer = read_optimizer(h5, snapshot)
    return snapshot


def weights_file(archive: Archive) -> BinaryIO:
    """Return the weights in a `.keras` archive as an open HDF5 file."""
    return io.BytesIO(archive.read(WEIGHTS))


def model_config(snapshot: Snapshot) -> Config:
    """Return Keras's config of model and training; warn of what Keras does not support."""
    model = keras_object("keras", keras_model(snapshot.config))
    model["build_config"] = {"input_shape": model["config"]["build_input_shape"]}
    model["compile_config"] = write_training(snapshot.compile_config)
    return model


def write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write the model as `.keras`; warn of what Keras does not support, and leave it out."""
    snapshot = without_own_layers(snapshot)
    model = model_config(snapshot)
    if model["compile_config"] is None:
        snapshot = replace(snapshot, compile_config=None)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (
            ("metadata.json", json.dumps(metadata).encode()),
            ("config.json", json.dumps(model).encode()),
            (WEIGHTS, hdf5_image(snapshot)),
        ):
            with add_member(archive, name) as stream:
                stream.write(data)
