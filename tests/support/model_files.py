"""Saved models taken apart and put together otherwise, for tests of what reading does then."""

import io
import json
import warnings
import zipfile

import h5py
import numpy as np

from nanocnn import storage

SUFFIXES = [".npz", ".h5", ".keras"]


def load_here(path, compile=True):
    """Load without a process of its own: fast, counted by coverage."""
    with path.open("rb") as file:
        return storage.FORMATS[path.suffix].read(file, compile)


def change_layer(number, **changes):
    def change(model):
        model["layers"][number]["config"].update(changes)

    return change


def compiled(part, **changes):
    def change(training):
        training[part]["config"].update(changes)

    return change


def rewrite_json(path, change, training=False):
    """Change the JSON of a saved model's structure, or of how it was compiled."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            name = "training_config" if training else "model_config"
            value = json.loads(file.attrs[name])
            if training:
                value["optimizer"] = value.pop("optimizer_config")
            change(value if training else value["config"])
            file.attrs[name] = json.dumps(value)
        return
    members = read_members(path)
    if path.suffix == ".keras":
        value = json.loads(members["config.json"])
        change(value["compile_config" if training else "config"])
        members["config.json"] = json.dumps(value).encode()
    else:
        value = json.loads(np.load(path)["nanocnn"].tobytes())
        change(value["compile_config" if training else "config"])
        members["nanocnn.npy"] = npy(np.frombuffer(json.dumps(value).encode(), np.uint8))
    write_members(path, members)


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


def read_members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)
