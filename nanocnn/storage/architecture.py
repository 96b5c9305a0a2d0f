"""Layer configs: Keras 2's, Keras 3's and nanocnn's own, checked and brought into one form."""

from collections.abc import Callable
from dataclasses import replace
from math import isfinite, prod
from typing import Any

from .. import initializers
from ..errors import ModelFileError
from ..kernels.geometry import sliding_window
from .snapshot import Snapshot

Config = dict[str, Any]
Shape = tuple[int, ...]
REQUIRED = object()
STATE = ("moving_mean", "moving_variance")  # weights that are not trained
ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax", "tanh")
MAX_SIZE = 2**31 - 1
MAX_BYTES = 2**31 - 2**23  # of all arrays: beyond, zip needs 64-bit fields, which are not read


# Each takes an argument's value and returns it in one form, or raises ValueError("what it is not").
def size(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise ValueError("a whole number from 1")
    return value


def pair(value: Any) -> list[int]:
    values = value if isinstance(value, (list, tuple)) else [value, value]
    if len(values) != 2:
        raise ValueError("two whole numbers from 1")
    return [size(v) for v in values]


def number(value: Any) -> float:
    if type(value) not in (int, float) or abs(value) > 1e300 or not isfinite(value):
        raise ValueError("a finite number")
    return float(value)


def flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def padding(value: Any) -> str:
    if not isinstance(value, str) or value.lower() not in ("valid", "same"):
        raise ValueError("'valid' or 'same'")
    return value.lower()


def activation(value: Any) -> str:
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if value is not None and value not in ACTIVATIONS:
        raise ValueError(f"one of {', '.join(ACTIVATIONS)}")
    return value or "linear"


def axis(value: Any) -> int:
    if value not in (-1, [-1], 3, [3], 1, [1]):  # as last axis of what rank: see `grow`
        raise ValueError("-1, the last axis")
    return value[0] if isinstance(value, list) else int(value)


def batch_shape(value: Any) -> list[int | None]:
    if not isinstance(value, (list, tuple)) or not 2 <= len(value) <= 8:
        raise ValueError("a shape such as [null, 28, 28, 1]")
    return [None, *map(size, value[1:])]


def initializer(default: str) -> Callable[[Any], Config]:
    def check(value: Any) -> Config:
        # A loaded model's weights are set, so an initializer unknown here does no harm.
        try:
            name = initializers.canonical(value)
        except (ValueError, TypeError):
            name = default
        return initializers.config(name)

    return check


def regularizer(value: Any) -> Config | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        raise ValueError("null or L2")
    arguments = value["config"]
    if value.get("class_name") == "L1L2" and arguments.get("l1") == 0:  # as old Keras wrote L2
        arguments = {"l2": arguments.get("l2")}
    elif value.get("class_name") != "L2":
        raise ValueError("null or L2")
    return {"class_name": "L2", "config": {"l2": number(arguments.get("l2"))}}


Arguments = dict[str, tuple[Callable[[Any], Any], Any]]  # {name: (check, default)}
POOLING: Arguments = {
    "pool_size": (pair, REQUIRED),
    "strides": (lambda value: None if value is None else pair(value), None),
    "padding": (padding, "valid"),
}
LINEAR: Arguments = {
    "activation": (activation, None),
    "use_bias": (flag, True),
    "kernel_initializer": (initializer("glorot_uniform"), None),
    "bias_initializer": (initializer("zeros"), None),
    "kernel_regularizer": (regularizer, None),
}
LAYERS: dict[str, Arguments] = {
    "InputLayer": {"batch_shape": (batch_shape, REQUIRED)},
    "Conv2D": {
        "filters": (size, REQUIRED),
        "kernel_size": (pair, REQUIRED),
        "strides": (pair, [1, 1]),
        "padding": (padding, "valid"),
        "dilation_rate": (pair, [1, 1]),
        **LINEAR,
    },
    "Dense": {"units": (size, REQUIRED), **LINEAR},
    "MaxPooling2D": POOLING,
    "AveragePooling2D": POOLING,
    "Dropout": {"rate": (number, REQUIRED)},
    "Flatten": {},
    "Activation": {"activation": (activation, REQUIRED)},
    "BatchNormalization": {
        "axis": (axis, -1),
        "momentum": (number, 0.99),
        "epsilon": (number, 1e-3),
        "center": (flag, True),
        "scale": (flag, True),
    },
}
# Keras arguments that nanocnn has only one value for, and those that change nothing here.
FIXED = {"trainable": True, "data_format": "channels_last", "groups": 1}
IGNORED = {
    *("name", "dtype", "seed", "batch_input_shape", "renorm_momentum"),
    *(f"{weight}_initializer" for weight in ("gamma", "beta", *STATE)),
}


def refuse_unknown(config: Config, known: Any, fixed: Config, ignored: set[str]) -> None:
    """Raise `ModelFileError` for an argument that would change results and is not known.

    Keras spells "not used" as null or false, so those pass, whatever they are called.
    """
    for key, value in config.items():
        if key in known or key in ignored or value is None or value is False:
            continue
        if key not in fixed:
            raise ModelFileError(f"argument {key}={value!r:.80} is not supported")
        if value != fixed[key]:
            raise ModelFileError(f"{key}={value!r:.80} is not supported, only {fixed[key]!r}")


def read_layer(entry: Any, place: int) -> Config:
    """One layer's {"class_name", "config"} in nanocnn's form, with all arguments present."""
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ModelFileError(f"layer {place}: expected an object with class_name and config")
    class_name, config = entry.get("class_name"), entry["config"]
    name = config.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise ModelFileError(f"layer {place}: name {name!r:.80}, expected a printable name")
    if "/" in name or name in (".", ".."):
        raise ModelFileError(f"layer {place}: name {name!r} does not do as a name in a file")
    where = f"layer {name!r} ({class_name!s:.80})"
    if not isinstance(class_name, str) or class_name not in LAYERS:
        raise ModelFileError(f"{where}: expected one of {', '.join(LAYERS)}")
    arguments = LAYERS[class_name]
    if class_name == "InputLayer" and "batch_shape" not in config:  # Keras 2's word for it
        config = {**config, "batch_shape": config.get("batch_input_shape")}
    try:
        refuse_unknown(config, arguments, FIXED, IGNORED)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from None
    result: Config = {"name": name}
    for key, (check, default) in arguments.items():
        value = config.get(key, default)
        if value is REQUIRED:
            raise ModelFileError(f"{where}: {key} is missing")
        try:
            result[key] = check(value)
        except ValueError as error:
            raise ModelFileError(f"{where}: {key}={value!r:.80}, expected {error}") from None
    if result.get("strides", 0) is None:
        result["strides"] = result["pool_size"]
    if class_name == "InputLayer":
        result["dtype"] = read_dtype(config.get("dtype")) or "float32"
    return {"class_name": class_name, "config": result}


def read_dtype(dtype: Any) -> str | None:
    """ "float32", "float64" or None, from a name or one of Keras's dtype policies."""
    if isinstance(dtype, dict):
        dtype = dtype["config"].get("name") if isinstance(dtype.get("config"), dict) else dtype
    if dtype is not None and dtype not in ("float32", "float64"):
        raise ModelFileError(f"dtype {dtype!r:.80}, expected float32 or float64")
    return dtype


def read_architecture(model: Any) -> tuple[Config, dict[str, Shape]]:
    """A Sequential's config in nanocnn's form, and the shape of each weight it calls for.

    `model` is {"class_name": "Sequential", "config": ...} of Keras 2 or 3, or the same around
    nanocnn's own. Raises `ModelFileError` naming the layer and the argument.
    """
    if not isinstance(model, dict) or model.get("class_name") != "Sequential":
        kind = model.get("class_name") if isinstance(model, dict) else model
        raise ModelFileError(f"model of class {kind!r:.80}, expected Sequential")
    config = model.get("config")
    if isinstance(config, list):  # before Keras 2.2.3
        config = {"layers": config}
    entries = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(entries, list) or not entries:
        raise ModelFileError("model without layers")
    layers = [read_layer(entry, place) for place, entry in enumerate(entries)]
    if layers[0]["class_name"] != "InputLayer":  # Keras 2 keeps the shape in the first layer
        shape = entries[0]["config"].get("batch_input_shape") or config.get("build_input_shape")
        first = {"name": "input_layer", "batch_shape": shape}
        layers.insert(0, read_layer({"class_name": "InputLayer", "config": first}, 0))
    names = [layer["config"]["name"] for layer in layers]
    if len(set(names)) < len(names):
        raise ModelFileError(f"two layers have the same name: {', '.join(names):.200}")
    dtypes = {read_dtype(part.get("dtype")) for part in (config, *(e["config"] for e in entries))}
    dtypes.discard(None)
    if len(dtypes) > 1:
        raise ModelFileError("layers of different dtypes; expected one for all")
    seed = config.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**128:
        raise ModelFileError(f"seed {seed!r:.80}, expected a whole number from 0")
    name = config.get("name")
    result = {
        "name": name if isinstance(name, str) else "sequential",
        "dtype": dtypes.pop() if dtypes else "float32",
        "seed": seed,
        "layers": layers,
    }
    layers[0]["config"]["dtype"] = result["dtype"]
    return result, weight_shapes(layers)


def weight_shapes(layers: list[Config]) -> dict[str, Shape]:
    """The shape of every weight, by "layer/weight", as the layers' arguments determine it."""
    shapes: dict[str, Shape] = {}
    shape: Shape = ()
    for layer in layers:
        name = layer["config"]["name"]
        try:
            shape, weights = grow(layer["class_name"], layer["config"], shape)
        except ValueError as error:
            raise ModelFileError(f"layer {name!r} ({layer['class_name']}): {error}") from None
        shapes |= {f"{name}/{weight}": value for weight, value in weights.items()}
    return shapes


def grow(kind: str, config: Config, shape: Shape) -> tuple[Shape, dict[str, Shape]]:
    """A layer's output shape (without N) for the input shape `shape`, and its weights' shapes."""
    if kind == "InputLayer":
        if shape:
            raise ValueError("an input in the middle of the model")
        return tuple(config["batch_shape"][1:]), {}
    if kind == "Flatten":
        return (prod(shape),), {}
    if kind in ("Dropout", "Activation"):
        return shape, {}
    if kind == "BatchNormalization":
        if config["axis"] not in (-1, len(shape)):
            raise ValueError(f"axis={config['axis']}, expected -1 (channels last)")
        config["axis"] = -1
        trained = ["gamma"] * config["scale"] + ["beta"] * config["center"]
        return shape, {weight: shape[-1:] for weight in (*trained, *STATE)}
    if kind == "Dense":
        if len(shape) != 1:
            raise ValueError(f"input of shape {shape}, expected one axis (Flatten comes before)")
        kernel: Shape = (shape[0], config["units"])
        output = kernel[-1:]
    else:
        if len(shape) != 3:
            raise ValueError(f"input of shape {shape}, expected (height, width, channels)")
        spread = config["kernel_size"] if kind == "Conv2D" else config["pool_size"]
        window = sliding_window(
            shape[:2], tuple(spread), tuple(config["strides"]), config["padding"],
            tuple(config.get("dilation_rate", (1, 1))),
        )  # fmt: skip
        if kind != "Conv2D":
            return (window.OH, window.OW, shape[2]), {}
        kernel = (*spread, shape[2], config["filters"])
        output = (window.OH, window.OW, kernel[-1])
    return output, {"kernel": kernel, **({"bias": kernel[-1:]} if config["use_bias"] else {})}


def checked(snapshot: Snapshot) -> Snapshot:
    """The snapshot, its config in full; `ModelFileError` when the weights are not what it says."""
    config, shapes = read_architecture({"class_name": "Sequential", "config": snapshot.config})
    if list(snapshot.weights) != list(shapes):
        raise ModelFileError(f"weights {list(snapshot.weights)}, expected {list(shapes)}")
    for name, shape in shapes.items():
        check_array(name, snapshot.weights[name], shape, config["dtype"])
    parts = (snapshot.weights, snapshot.optimizer, snapshot.callbacks)
    total = sum(array.nbytes for part in parts for array in part.values())
    if total > MAX_BYTES:
        raise ModelFileError(f"{total} bytes of weights and optimizer state, at most {MAX_BYTES}")
    return replace(snapshot, config=config)


def check_array(name: str, array: Any, shape: Shape, dtype: str) -> None:
    """Raise `ModelFileError` when an array's shape or dtype is another than expected."""
    if tuple(array.shape) != shape or array.dtype != dtype:
        raise ModelFileError(
            f"{name}: {array.dtype} of shape {tuple(array.shape)}, expected {dtype} of {shape}"
        )
