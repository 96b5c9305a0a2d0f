"""Keras's files of weights alone, and the weights in `.keras` files.

Since Keras 2.12, layers/CLASS[_n]/vars/0, 1, ... are a layer's weights in order, optimizer/vars/0,
1, ... the optimizer's variables (`.weights.h5`; source: keras/src/saving/saving_lib.py). Older
files (`.h5`) list layers and weights in attributes, as those of complete models do, and are matched
with the model's layers in order (source: keras/src/legacy/saving/legacy_h5_format.py).
"""

import io
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..common.errors import ModelFileError
from .architecture import Config, by_layer
from .keras_chain import Place, flatten
from .keras_config import slot_order, snake_case
from .keras_hdf5 import optimizer_variables, read_state
from .safe_hdf5 import SafeFile, import_h5py, open_hdf5
from .snapshot import Array, Snapshot

MAGIC, KIND = b"\x89HDF", "an HDF5 file"
OLD = "_layer_checkpoint_dependencies"  # the group of layers in Keras 2.12 to 2.14
# Where a layer's weights are in a file, and they in order: arrays or datasets.
Stored = tuple[str, list[Any]]
Shapes = Mapping[str, Any]  # of weights by "layer/weight"


def target(snapshot: Snapshot, skip_mismatch: bool = False) -> Config:
    """Return what reading weights needs to know of a model, JSON-serialisable."""
    layers = [
        {"class_name": layer["class_name"], "config": {key: layer["config"].get(key) for key in
         ("name", "trainable")}} for layer in snapshot.config["layers"]
    ]  # fmt: skip
    return {
        "config": {"layers": layers, "dtype": snapshot.config["dtype"]},
        "shapes": {key: list(array.shape) for key, array in snapshot.weights.items()},
        "compile_config": snapshot.compile_config,
        "skip_mismatch": skip_mismatch,
    }


def read(file: BinaryIO, model: Config) -> Snapshot:
    """Return the weights in an open HDF5 file for a model, given as its `target`.

    Raises `ModelFileError` naming the first layer that does not match; with `skip_mismatch` such
    layers are left out and described in `progress["skipped"]`. Without any, the optimizer's state
    is read too, and the learning rate to `progress["learning_rate"]`.
    """
    config, shapes = model["config"], model["shapes"]
    with open_hdf5(file) as h5:
        root = h5.group("model_weights") or h5.root
        legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
        if legacy:
            stored = in_order(_legacy(h5, root), shapes)
        else:
            stored = numbered(h5, *flatten({"class_name": "Sequential", "config": config}), shapes)
        found, skipped = matching(stored, shapes, model["skip_mismatch"])
        weights = read_found(h5, found, config["dtype"])
        snapshot = Snapshot(config, weights, progress={"skipped": skipped})
        if model["compile_config"] and not legacy and not skipped:
            snapshot.compile_config = model["compile_config"]
            snapshot.optimizer = read_optimizer(h5, snapshot)
    return snapshot


def read_found(h5: SafeFile, found: dict[str, Any], dtype: str) -> dict[str, Array]:
    """Read the datasets of `matching`."""
    return {key: h5.read(found[key], found[key].shape).astype(dtype) for key in found}


def in_order(layers: list[tuple[str, dict[str, Any]]], shapes: Shapes) -> dict[str, Stored]:
    """Match stored layers with those of a model, in order unless all have the same names.

    Keras lists the weights of frozen layers in inner models last, so their order is another.
    """
    mine = by_layer(shapes)
    if len(layers) != len(mine):
        raise ModelFileError(
            f"{len(layers)} layers with weights ({', '.join(name for name, _ in layers):.200}), "
            f"expected {len(mine)}: {', '.join(mine):.200}"
        )
    if (named := dict(layers)).keys() == mine.keys():
        layers = [(name, named[name]) for name in mine]
    stored = {}
    for (layer, keys), (where, weights) in zip(mine.items(), layers, strict=True):
        names = [key.rpartition("/")[2] for key in keys]
        known = names if weights.keys() == set(names) else [*weights]
        stored[layer] = where, [weights[name] for name in known]
    return stored


def matching(
    stored: dict[str, Stored], shapes: Shapes, skip_mismatch: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Return what is stored by weight, and a sentence for each layer of other shapes.

    Without `skip_mismatch` the first such layer is a `ModelFileError`.
    """
    found: dict[str, Any] = {}
    skipped = []
    for layer, keys in by_layer(shapes).items():
        where, values = stored[layer]
        given = [tuple(getattr(value, "shape", "?")) for value in values]
        expected = [tuple(shapes[key]) for key in keys]
        if given == expected:
            found |= zip(keys, values, strict=True)
            continue
        skipped.append(
            f"layer {layer!r}: weights of shapes {given!s:.200} at {where:.200}, expected "
            f"{expected!s:.200}"
        )
        if not skip_mismatch:
            raise ModelFileError(skipped[-1])
    return found, skipped


def _legacy(h5: SafeFile, root: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the layers with weights that attributes list, and these by name.

    A layer of an inner model is a layer of its own: the paths of its weights begin alike.
    """
    layers: dict[tuple[str, str], dict[str, Any]] = {}
    for name in h5.names(root, "layer_names"):
        group = h5.child(root, name)
        for path in h5.names(group, "weight_names"):
            dataset = group
            for part in path.split("/"):
                dataset = h5.child(dataset, part)
            layer, _, weight = path.removesuffix(":0").rpartition("/")
            layers.setdefault((name, layer), {})[weight] = dataset
    return [(layer.rpartition("/")[2] or name, found) for (name, layer), found in layers.items()]


def numbered(h5: SafeFile, model: Config, places: list[Place], shapes: Shapes) -> dict[str, Stored]:
    """Return the weights of each layer of a model, `flatten`ed, from their numbered groups."""
    of_layer = by_layer(shapes)
    layers = model["config"]["layers"][-len(places) :]
    names = [layer["config"]["name"] for layer in layers]
    return {
        name: (_path(place), _variables(h5, place, len(of_layer[name])))
        for name, place in zip(names, places, strict=True)
        if name in of_layer
    }


def _variables(h5: SafeFile, place: Place, expected: int) -> list[Any]:
    """Return the datasets of a layer in order, at most one more than `expected`."""
    group = h5.root
    for name, number in place.steps:
        layers = h5.child(group, "layers")
        if layers is None and (layers := h5.child(group, OLD)) is None:
            return []
        if OLD in group and f"{name}_1" not in layers and f"{name}_2" in layers:
            number *= 2  # before Keras 2.14, layers with weights count twice
        group = h5.child(layers, f"{name}_{number}" if number else name)
        if group is None:
            return []
    group = h5.child(group, "vars")
    size = 0 if group is None else len(group)
    return [h5.child(group, str(index)) for index in range(min(size, expected + 1))]


def _path(place: Place) -> str:
    """Return the group of a layer since Keras 2.15."""
    steps = (
        f"layers/{name}_{number}" if number else f"layers/{name}" for name, number in place.steps
    )
    return "/".join((*steps, "vars"))


def read_optimizer(h5: SafeFile, snapshot: Snapshot) -> dict[str, Array]:
    """Read the optimizer's state for a snapshot with its weights; {} if the file has none."""
    group = h5.group("optimizer/vars")
    if group is None or snapshot.compile_config is None:
        return {}
    order = slot_order(snapshot.compile_config["optimizer"], snapshot.config, snapshot.weights)
    # The slots follow the step and, unless it is a schedule, the learning rate.
    first = len(group) - len(order)
    if snapshot.compile_config["optimizer"]["class_name"] == "Nadam":
        rate = snapshot.compile_config["optimizer"]["config"].get("learning_rate")
        first = min(first, 1 if isinstance(rate, dict) else 2)  # a product follows them
    slots = {
        f"{weight}/{slot}": h5.child(group, str(first + i)) if first in (1, 2) else None
        for i, (weight, slot, _) in enumerate(order)
    }
    state = read_state(h5, h5.child(group, "0"), slots, snapshot)
    if state and first == 2:
        rate = h5.read(h5.child(group, "1"), ())
        snapshot.progress["learning_rate"] = float(rate)
    return state


def hdf5_image(snapshot: Snapshot) -> memoryview:
    """Return the bytes of a `.weights.h5`, with the optimizer's variables if it is compiled."""
    image = io.BytesIO()  # in memory, because HDF5 cannot recover from a full disk
    with import_h5py().File(image, "w") as root:
        of_layer = by_layer(snapshot.weights)
        _, places = flatten({"class_name": "Sequential", "config": snapshot.config})
        for place in places:
            group = root.create_group(_path(place))
            (group.attrs["name"],) = place.names
            for index, key in enumerate(of_layer.get(place.names[0], [])):
                group.create_dataset(str(index), data=snapshot.weights[key])
        root.create_group("vars").attrs["name"] = snapshot.config["name"]
        if snapshot.compile_config:
            group = root.create_group("optimizer/vars")
            group.attrs["name"] = snake_case(snapshot.compile_config["optimizer"]["class_name"])
            for index, value in enumerate(optimizer_variables(snapshot).values()):
                group.create_dataset(str(index), data=value)
    return image.getbuffer()


def write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write the weights as Keras's `.weights.h5`."""
    file.write(hdf5_image(snapshot))
