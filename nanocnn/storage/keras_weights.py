"""The weights and the optimizer's state in Keras's HDF5 files, of weights alone and of models.

Since Keras 2.12, layers/CLASS[_n]/vars/0, 1, ... are a layer's weights in order, optimizer/vars/0,
1, ... the optimizer's variables (`.weights.h5`, also in `.keras`; source:
keras/src/saving/saving_lib.py). Older files and models (`.h5`) list layers and weights in
attributes (source: keras/src/legacy/saving/legacy_h5_format.py).
"""

import io
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ..common.errors import ModelFileError, warn
from ..optimizers import Nadam, get_optimizer
from .architecture import Config, by_layer
from .keras_chain import Place, flatten, snake_case
from .keras_config import slot_order
from .safe_hdf5 import SafeFile, import_h5py, open_hdf5
from .snapshot import Array, Snapshot

MAGIC, KIND = b"\x89HDF", "an HDF5 file"
OLD = "_layer_checkpoint_dependencies"  # the group of layers in Keras 2.12 to 2.14
# Where a layer's weights are in a file, and they in order: arrays or datasets.
Stored = tuple[str, list[Any]]
# By layer, or outermost inner model: the names of its layers with weights, and these by name.
Listed = dict[str, list[tuple[str, dict[str, Any]]]]
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
    snapshot = Snapshot(model["config"], {}, model["compile_config"])
    _, places = flatten({"class_name": "Sequential", "config": model["config"]})
    with open_hdf5(file) as h5:
        skipped = read_weights(h5, snapshot, places, model["shapes"], model["skip_mismatch"])
        snapshot.progress["skipped"] = skipped
        if not skipped:
            snapshot.optimizer = read_optimizer(h5, snapshot)
    return snapshot


def read_weights(
    h5: SafeFile, snapshot: Snapshot, places: dict[str, Place], shapes: Shapes, skip: bool = False
) -> list[str]:
    """Set a snapshot's weights from a file of either layout; see `matching` for the result."""
    root = h5.group("model_weights") or h5.root
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        stored = in_order(_listed(h5, root), places, shapes)
    else:
        stored = {
            layer: (_path(places[layer]), _variables(h5, places[layer], len(keys)))
            for layer, keys in by_layer(shapes).items()
        }
    found, skipped = matching(stored, shapes, skip)
    dtype = snapshot.config["dtype"]
    snapshot.weights = {key: h5.read(found[key], found[key].shape).astype(dtype) for key in found}
    return skipped


def in_order(listed: Listed, places: Mapping[str, Place], shapes: Shapes) -> dict[str, Stored]:
    """Match the listed layers with those of a model: by name, or else in order.

    Keras lists the weights of frozen layers in inner models last, so their order is another.
    """
    mine: dict[str, list[str]] = {}
    of_layer = by_layer(shapes)
    for layer in of_layer:
        mine.setdefault(str(places[layer].names[0]), []).append(layer)
    if listed.keys() != mine.keys():  # layers of other names, or not of the same inner models
        listed = {"": [each for layers in listed.values() for each in layers]}
        mine = {"": [layer for layers in mine.values() for layer in layers]}
    stored = {}
    for group, layers in mine.items():
        given, names = listed[group], [str(places[layer].names[-1]) for layer in layers]
        if len(given) != len(layers):
            raise ModelFileError(
                f"{len(given)} layers with weights ({', '.join(name for name, _ in given):.200}), "
                f"expected {len(layers)}: {', '.join(layers):.200}"
            )
        if (named := dict(given)).keys() == set(names):
            given = [(name, named[name]) for name in names]
        for layer, (where, weights) in zip(layers, given, strict=True):
            known = [key.rpartition("/")[2] for key in of_layer[layer]]
            order = known if weights.keys() == set(known) else [*weights]
            stored[layer] = where, [weights[name] for name in order]
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


def _listed(h5: SafeFile, root: Any) -> Listed:
    """Return the layers and weights that attributes list.

    A layer of an inner model is a layer of its own: the paths of its weights begin alike.
    """
    found: Listed = {}
    for name in h5.names(root, "layer_names"):
        layers: dict[str, dict[str, Any]] = {}
        for path, dataset in h5.weights(h5.child(root, name)).items():
            layer, _, weight = path.rpartition("/")
            layers.setdefault(layer, {})[weight] = dataset
        if layers:
            found[name] = [(each.rpartition("/")[2] or name, layers[each]) for each in layers]
    return found


def _variables(h5: SafeFile, place: Place, expected: int) -> list[Any]:
    """Return the datasets of a layer in order, at most one more than `expected`."""
    group = h5.root
    for name, number in place.steps:
        layers = h5.child(group, "layers") or h5.child(group, OLD)
        if layers is None:
            return []
        if OLD in group and f"{name}_1" not in layers and f"{name}_2" in layers:
            number *= 2  # before Keras 2.14, layers with weights count twice
        group = h5.child(layers, f"{name}_{number}" if number else name)
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
    """Read the optimizer's numbered variables for a compiled snapshot; {} if there are none."""
    group = h5.group("optimizer/vars")
    if group is None or snapshot.compile_config is None:
        return {}
    order = slot_order(snapshot)
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


def read_state(
    h5: SafeFile, steps: Any, slots: dict[str, Any], snapshot: Snapshot
) -> dict[str, Array]:
    """Read the optimizer's datasets; return {} with a warning if one is missing."""
    if steps is None or None in slots.values():
        # Keras writes no slots for a compiled model that was never trained.
        if steps is None or h5.read(steps, (), "iu") > 0:
            warn("optimizer state not understood: training starts with a new state")
        return {}
    state = {"iteration": h5.read(steps, (), "iu").astype(np.int64)}
    for key, dataset in slots.items():
        shape = snapshot.weights[key.rpartition("/")[0]].shape
        state[key] = h5.read(dataset, shape).astype(snapshot.config["dtype"])
    return state


def optimizer_variables(snapshot: Snapshot) -> dict[str, Array]:
    """Return the optimizer variables by name in Keras's order; zeros before the first step."""
    assert snapshot.compile_config is not None
    optimizer, state = snapshot.compile_config["optimizer"], snapshot.optimizer
    variables = {"iteration": np.asarray(state.get("iteration", 0), np.int64)}
    rate = optimizer["config"].get("learning_rate", 0.001)
    if not isinstance(rate, dict):
        variables["learning_rate"] = np.asarray(rate, np.float32)
    prefix = snapshot.config["name"]
    for weight, slot, (keras3, _, _) in slot_order(snapshot):
        value = state.get(f"{weight}/{slot}")
        path = f"{prefix}_{weight.replace('/', '_')}_{keras3}"
        variables[path] = np.zeros_like(snapshot.weights[weight]) if value is None else value
    if isinstance(made := get_optimizer(optimizer), Nadam):
        product = made.product(int(variables["iteration"]))
        variables["variable"] = np.asarray(product, snapshot.config["dtype"])
    return variables


def hdf5_image(snapshot: Snapshot) -> memoryview:
    """Return the bytes of a `.weights.h5`, with the optimizer's variables if it is compiled."""
    image = io.BytesIO()  # in memory, because HDF5 cannot recover from a full disk
    _, places = flatten({"class_name": "Sequential", "config": snapshot.config})
    with import_h5py().File(image, "w") as root:
        of_layer = by_layer(snapshot.weights)
        for layer, place in places.items():
            group = root.create_group(_path(place))
            group.attrs["name"] = layer
            for index, key in enumerate(of_layer.get(layer, [])):
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
