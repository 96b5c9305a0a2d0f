"""The architecture in a file: convert the configs of Keras 2, Keras 3 and nanocnn to one form.

The layer classes define arguments, valid values and weights; this module handles the differences
in Keras's files.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..common.config import arguments
from ..common.errors import ModelFileError, warn
from ..common.validate import flag, integer, printable_name
from ..initializers import canonical
from ..layers import LAYERS, Input, Layer, layer_config
from ..regularizers import get_regularizer
from .snapshot import Snapshot

Config = dict[str, Any]
Shape = tuple[int, ...]
STATE = {name for kind in LAYERS.values() for name in kind.untrained}
MAX_BYTES = 2**31 - 2**23  # of all arrays: more needs zip64, which is not read
MAX_LAYERS = 10_000  # 4 MB of JSON could have 100,000, which take minutes to build
# Keras arguments with only one supported value, and those without effect in nanocnn.
FIXED = {
    "axis": -1, "data_format": "channels_last", "decay": 0.0, "groups": 1,
    "interpolation": "bilinear", "reduction": "sum_over_batch_size",
}  # fmt: skip
IGNORED = {
    *("name", "dtype", "seed", "batch_input_shape", "renorm_momentum", "fn"),
    *("jit_compile", "is_legacy_optimizer", "loss_scale_factor"),
    *(f"{weight}_initializer" for weight in ("gamma", "beta", *STATE)),
}
# Suffixes of such arguments.
TRAINING_ONLY = ("_regularizer", "_constraint", "noise_shape", "interpolation", "fill_value")
# Keras's layers that are not here, and that are the identity but in training.
TRAINING_LAYERS = ("GaussianNoise", "RandomBrightness", "RandomContrast", "RandomFlip")
# Names of arguments in earlier versions of Keras, by class.
OLD_WORDS = {
    "InputLayer": {"batch_input_shape": "batch_shape"},
    "LeakyReLU": {"alpha": "negative_slope"},
}
MIXED = ("mixed_float16", "mixed_bfloat16")  # policies that compute in 16 bits, on float32 weights


def check_supported(config: Config, known: Any) -> None:
    """Raise `ModelFileError` for an unknown argument that would change results.

    Keras writes null or false for unused arguments, so these are accepted under any name.
    """
    for key, value in config.items():
        if key in known or key in IGNORED or value is None or value is False:
            continue
        if key not in FIXED:
            raise ModelFileError(f"argument {key}={value!r:.80} is not supported")
        if value != FIXED[key]:
            raise ModelFileError(f"{key}={value!r:.80} is not supported, only {FIXED[key]!r}")


def is_left_out(entry: Any, problems: list[str]) -> bool:
    """Whether a layer is one of `TRAINING_LAYERS`, which is then described in `problems`."""
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        return False
    if (kind := entry.get("class_name")) not in TRAINING_LAYERS:
        return False
    problems.append(f"layer {entry['config'].get('name')!r:.80} ({kind}) is not supported")
    return True


def read_layer(entry: Any, index: int, problems: list[str]) -> Layer:
    """Create a layer from a {"class_name", "config"}; only classes in `LAYERS` are accepted.

    Unsupported arguments that only training uses are left out and described in `problems`.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ModelFileError(f"layer {index}: expected an object with class_name and config")
    class_name, config = entry.get("class_name"), entry["config"]
    name = config.get("name")
    where = f"layer {name!r:.80} ({class_name!s:.80})"
    if not isinstance(class_name, str) or class_name not in LAYERS:
        raise ModelFileError(f"{where}: expected one of {', '.join(LAYERS)}")
    kind = LAYERS[class_name]
    known, old_words = arguments(kind), OLD_WORDS.get(class_name, {})
    given: Config = {}
    try:
        printable_name(name, "name")
        flag(config.get("trainable", True), "trainable")
        for key, value in config.items():
            key = old_words.get(key, key)
            try:
                check_supported({key: value}, known)
                if key in known:
                    given[key] = convert_argument(key, value)
            except ValueError as error:
                if not key.endswith(TRAINING_ONLY):
                    raise
                problems.append(f"{where}: {error}")
        return kind.from_config(given)
    except (TypeError, ValueError) as error:
        text = str(error).removeprefix(f"{class_name}: ")
        raise ModelFileError(f"{where}: {text}") from None


def convert_argument(key: str, value: Any) -> Any:
    """Convert an argument's value to nanocnn's form."""
    if isinstance(value, dict) and value.get("class_name") == "__numpy__":  # Keras 2
        value = value.get("config")
        value = value.get("value") if isinstance(value, dict) else value
    if key == "activation" and isinstance(value, dict) and value.get("class_name") == "function":
        return value.get("config")
    if key == "axis" and isinstance(value, list) and len(value) < 2:
        return value[0] if value else None
    if key == "kernel_regularizer":
        return get_regularizer(value)
    if key == "fill_value" and (value is None or isinstance(value, list)):  # of RandomErasing
        raise ValueError(f"fill_value={value!r:.80} is not supported, only a number")
    if key in ("x_factor", "y_factor") and isinstance(value, list) and len(value) == 2:
        # Keras writes the number f of a RandomShear as (-f, f), and fails to read it.
        symmetric = all(isinstance(each, (int, float)) for each in value) and value[0] == -value[1]
        return value[1] if symmetric else value
    if key.endswith("_initializer"):
        try:
            canonical(value)
        except ValueError:
            # Any known one will do, since the weights are set from the file.
            return "zeros" if key == "bias_initializer" else "glorot_uniform"
    return value


def read_dtype(dtype: Any) -> str | None:
    """Return "float32", "float64" or None, or one of MIXED, from a name or Keras dtype policy."""
    if isinstance(dtype, dict):
        dtype = dtype["config"].get("name") if isinstance(dtype.get("config"), dict) else dtype
    if dtype is not None and dtype not in ("float32", "float64", *MIXED):
        raise ModelFileError(f"dtype {dtype!r:.80}, expected float32 or float64")
    return dtype


def read_architecture(
    model: Any, problems: list[str] | None = None, scale_uint8: bool = True
) -> tuple[Config, dict[str, Shape]]:
    """Return a Sequential's config in nanocnn's form, and the shapes of its weights.

    `model` is {"class_name": "Sequential", "config": ...} with a config of Keras 2, Keras 3 or
    nanocnn; `scale_uint8` is the default for a config without it. What only training would need
    and is not supported is left out and described in `problems`. Raises `ModelFileError` naming
    the layer and the argument.
    """
    problems = [] if problems is None else problems
    if not isinstance(model, dict) or model.get("class_name") != "Sequential":
        kind = model.get("class_name") if isinstance(model, dict) else model
        raise ModelFileError(
            f"model of class {kind!r:.80}, expected Sequential; of a chain of layers in another "
            "form, save keras.Sequential(model.layers)"
        )
    config = model.get("config")
    entries = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(entries, list) or not entries:
        raise ModelFileError("model without layers in its config")
    if len(entries) > MAX_LAYERS:
        raise ModelFileError(f"model of {len(entries)} layers, expected at most {MAX_LAYERS}")
    layers = [
        read_layer(entry, index, problems)
        for index, entry in enumerate(entries)
        if not is_left_out(entry, problems)
    ]
    if not (layers and isinstance(layers[0], Input)):  # Keras 2 stores the shape in the first layer
        shape = entries[0]["config"].get("batch_input_shape") or config.get("build_input_shape")
        first = {"name": "input_layer", "batch_shape": shape or []}
        layers.insert(0, read_layer({"class_name": "InputLayer", "config": first}, 0, problems))
    if len(layers) == 1:
        raise ModelFileError("model without layers after its input")
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise ModelFileError(f"two layers have the same name: {', '.join(names):.200}")
    dtypes = {read_dtype(part.get("dtype")) for part in (config, *(e["config"] for e in entries))}
    dtypes.discard(None)
    if mixed := dtypes.intersection(MIXED):
        warn(f"{', '.join(map(str, mixed))}: this model is computed in float32 here")
        dtypes = dtypes - mixed | {"float32"}
    if len(dtypes) > 1:
        raise ModelFileError("layers of different dtypes, expected the same for all")
    try:
        seed = integer(config.get("seed", 0), "seed", 0, bits=128)
        scale_uint8 = flag(config.get("scale_uint8", scale_uint8), "scale_uint8")
        if (unit_range := config.get("unit_range")) is not None:
            flag(unit_range, "unit_range")
        if not flag(config.get("trainable", True), "trainable"):  # freezes all layers, as in Keras
            for layer in layers:
                layer.trainable = False
    except ValueError as error:
        raise ModelFileError(str(error)) from None
    name, dtype = config.get("name"), dtypes.pop() if dtypes else "float32"
    configs = [layer_config(layer) for layer in layers]
    configs[0]["config"]["dtype"] = dtype
    result = {
        "name": name if isinstance(name, str) else "sequential",
        "dtype": dtype,
        "seed": seed,
        "scale_uint8": scale_uint8,
        "unit_range": unit_range,
        "layers": configs,
    }
    return result, weight_shapes(layers)


def weight_shapes(layers: list[Layer]) -> dict[str, Shape]:
    """Return the shape of every weight by "layer/weight", without creating any."""
    shapes: dict[str, Shape] = {}
    shape: Shape = ()
    for layer in layers:
        where = f"layer {layer.name!r} ({type(layer).__name__})"
        if isinstance(layer, Input) and shape:
            raise ModelFileError(f"{where}: an input in the middle of the model")
        try:
            shape, weights = layer.shapes(shape)
        except ValueError as error:
            text = str(error).removeprefix(f"{layer.name}: ")
            raise ModelFileError(f"{where}: {text}") from None
        shapes |= {f"{layer.name}/{weight}": value for weight, value in weights.items()}
    return shapes


def by_layer(weights: Iterable[str]) -> dict[str, list[str]]:
    """Group the names "layer/weight" by layer."""
    found: dict[str, list[str]] = {}
    for weight in weights:
        found.setdefault(weight.rpartition("/")[0], []).append(weight)
    return found


def checked(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with a complete config; `ModelFileError` if the weights do not match."""
    refuse_custom(snapshot.custom_layers)
    config, shapes = read_architecture({"class_name": "Sequential", "config": snapshot.config})
    if list(snapshot.weights) != list(shapes):
        raise ModelFileError(f"weights {list(snapshot.weights)}, expected {list(shapes)}")
    for name, shape in shapes.items():
        check_array(name, snapshot.weights[name], shape, config["dtype"])
    parts = (snapshot.weights, snapshot.optimizer, snapshot.callbacks)
    total = sum(array.nbytes for part in parts for array in part.values())
    if total > MAX_BYTES:
        raise ModelFileError(
            f"{total} bytes of weights and optimizer state, expected at most {MAX_BYTES}"
        )
    return replace(snapshot, config=config)


def refuse_custom(layers: Mapping[int, type[Any]]) -> None:
    """Raise ValueError if there are custom layers."""
    for index, kind in layers.items():
        raise ValueError(
            f"layer {index}: {kind.__name__} is a custom layer, which model files cannot store; "
            "save the weights with save_weights('x.weights.h5'), and load them with load_weights "
            "into a model built by the same code"
        )


def check_array(name: str, array: Any, shape: Shape, dtype: str) -> None:
    """Raise `ModelFileError` for an array of unexpected shape or dtype."""
    if tuple(array.shape) != shape or array.dtype != dtype:
        raise ModelFileError(
            f"{name}: {array.dtype} of shape {tuple(array.shape)}, expected {dtype} of {shape}"
        )
