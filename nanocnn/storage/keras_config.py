"""Keras's configs of model, loss, metrics and optimizer, and its order of variables."""

from dataclasses import replace
from typing import Any

from ..common.config import arguments, match_name
from ..common.errors import ModelFileError, unknown, warn
from ..losses import LOSSES
from ..metrics import CLASSES, METRICS
from ..optimizers import OPTIMIZERS
from ..optimizers.base import EMA
from ..optimizers.schedules import SCHEDULES
from .architecture import FIXED, STATE, Config, Shape, check_supported, read_architecture
from .keras_chain import Place, flatten, snake_case
from .safe_zip import parse_json
from .snapshot import Snapshot

KERAS_VERSION = "3.10.0"  # the version whose format is written
OWN_LAYERS = ("RandomElastic", "RandomMorphology")  # that Keras lacks; they only act in training
OWN_SCHEDULES = ("OneCycle",)  # that Keras lacks
BY_CLASS = {kind.__name__: kind for kind in LOSSES.values()}
# nanocnn's slots: their names in Keras 3, Keras 2 and before Keras 2.11.
SLOTS = {
    "m": ("momentum", "m", "m"),
    "v": ("velocity", "v", "v"),
    "vmax": ("velocity_hat", "vhat", "vhat"),
    "momentum": ("momentum", "m", "momentum"),
}
AVERAGE = ("average", "average", "average")  # of the weights
ADADELTA_SLOTS = {
    "v": ("accumulated_grad", "accumulated_grad", "accum_grad"),
    "delta": ("accumulated_delta_var", "accumulated_delta_var", "accum_var"),
}
RMSPROP_SLOTS = {
    "v": ("velocity", "velocity", "rms"),
    "buffer": ("momentum", "momentum", "momentum"),
    "average": ("average_gradient", "average_gradient", "mg"),
}


def read_object(value: Any, table: dict[str, Any], what: str) -> Config:
    """Return the {"class_name", "config"} of a class in `table` from its Keras config."""
    class_name = value.get("class_name") if isinstance(value, dict) else value
    config = value.get("config", {}) if isinstance(value, dict) else {}
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise ModelFileError(f"{what} {value!r:.80}, expected an object with class_name and config")
    class_name = match_name(what, class_name.removeprefix("Custom>")[:80], table)
    try:
        if config.get("reduction") == "auto":  # the mean, in Keras 2
            config = {**config, "reduction": FIXED["reduction"]}
        if isinstance(config.get("learning_rate"), dict):
            rate = read_object(config["learning_rate"], SCHEDULES, "schedule")
            config = {**config, "learning_rate": rate}
        known = arguments(table[class_name])
        if "lr" in config and "learning_rate" in known and "learning_rate" not in config:
            config = {**config, "learning_rate": config["lr"]}  # its name before Keras 2.3
            del config["lr"]
        check_supported(config, known)
        given = {key: config[key] for key in config if key in known}
        table[class_name](**given)  # checks every value
    except (TypeError, ValueError) as error:
        text = str(error).removeprefix(f"{class_name}: ")
        raise ModelFileError(f"{what} {class_name}: {text}") from None
    return {"class_name": class_name, "config": given}


def read_model(
    model: Any, training: Any, scale_uint8: bool = True, compile: bool = True
) -> tuple[Snapshot, dict[str, Place], dict[str, Shape]]:
    """Return a snapshot without weights, its layers' places in Keras's files and weights' shapes.

    `model` and `training` are configs of Keras's or nanocnn's; see `read_architecture`. A warning
    tells what only training would need and is not supported; the snapshot is then not compiled.
    """
    problems: list[str] = []
    flat, places = flatten(model)
    config, shapes = read_architecture(flat, problems, scale_uint8)
    compiled = read_training(training, problems) if compile else None
    return Snapshot(config, {}, compiled), places, shapes


def read_training(config: Any, problems: list[str]) -> Config | None:
    """Return {"optimizer", "loss", "metrics"} from a Keras compile_config or training_config.

    None, with a warning, if it is not supported or there are `problems`.
    """
    result = None
    try:
        result = _read_training(config)
    except ValueError as error:
        problems = [*problems, str(error)]
    if not problems:
        return result
    text = "; ".join(problems)
    warn(f"opened to predict: {text if len(text) < 500 else text[:500] + ' ...'}; "
         "compile() it to train without that")  # fmt: skip
    return None


def _read_training(config: Any) -> Config | None:
    if config is None:
        return None
    if isinstance(config, str):
        config = parse_json(config, "training_config")
    if not isinstance(config, dict):
        raise ModelFileError(f"compile_config {config!r:.80}, expected an object or null")
    optimizer = config.get("optimizer_config") or config.get("optimizer")
    if isinstance(optimizer, dict) and optimizer.get("class_name") == "LossScaleOptimizer":
        scaled = optimizer.get("config")  # of mixed_float16
        optimizer = scaled.get("inner_optimizer") if isinstance(scaled, dict) else scaled
    loss = config.get("loss")
    if not optimizer or not loss:
        return None
    for key in ("loss_weights", "weighted_metrics"):
        if config.get(key):
            raise ModelFileError(f"{key}={config[key]!r:.80} is not supported")
    if isinstance(loss, list) and len(loss) == 1:
        loss = loss[0]
    if isinstance(loss, dict) and loss.get("class_name") == "function":
        loss = loss.get("config")
    if isinstance(loss, str):
        loss = getattr(LOSSES.get(loss.lower()), "__name__", loss)
    metrics = config.get("metrics") or []
    if not isinstance(metrics, list):
        raise ModelFileError(f"metrics {metrics!r:.80}, expected a list")
    if len(metrics) == 1 and isinstance(metrics[0], list):  # Keras 2: one list per output
        metrics = metrics[0]
    return {
        "optimizer": read_object(optimizer, OPTIMIZERS, "optimizer"),
        "loss": read_object(loss, BY_CLASS, "loss"),
        "metrics": [read_metric(metric) for metric in metrics],
    }


def read_metric(metric: Any) -> Any:
    """Return a metric's name from its name or a function's config, or the config of a class."""
    name = metric
    if isinstance(metric, dict) and str(metric.get("class_name")) in CLASSES:
        config = metric.get("config")
        if isinstance(config, dict):  # the dtype has no influence, and is an object in Keras 3
            metric = {**metric, "config": {k: v for k, v in config.items() if k != "dtype"}}
        return read_object(metric, CLASSES, "metric")
    if isinstance(metric, dict):
        config = metric.get("config")
        if metric.get("class_name") == "function":
            name = config
        elif metric.get("class_name") == "MeanMetricWrapper" and isinstance(config, dict):
            name = config.get("name") if is_metric(config.get("name")) else config.get("fn")
        else:
            name = snake_case(str(metric.get("class_name"))[:80])
    if not is_metric(name):
        raise ModelFileError(str(unknown("metric", str(name)[:80], METRICS)))
    return str(name)


def is_metric(name: Any) -> bool:
    """Whether `name`, which may be of any type, is the name of a metric."""
    return isinstance(name, str) and name in METRICS


def keras_object(module: str, value: Config) -> Config:
    """Return a {"class_name", "config"} as Keras 3 writes it."""
    return {"module": module, **value, "registered_name": None}


def without_own_layers(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without the layers that Keras lacks, with a warning if there are any.

    They only act in training, and have no weights. `ModelFileError` if no other layer is left.
    """
    layers = snapshot.config["layers"]
    kept = [layer for layer in layers if layer["class_name"] not in OWN_LAYERS]
    if len(kept) == len(layers):
        return snapshot
    own = ", ".join(sorted({layer["class_name"] for layer in layers if layer not in kept}))
    if len(kept) == 1:
        raise ModelFileError(
            f"Keras has no {own}, and the model has no other layer; save it as .npz"
        )
    warn(f"the file does not store {own}, which Keras lacks: predictions are the "
         "same, training is not; .npz files store it")  # fmt: skip
    return replace(snapshot, config={**snapshot.config, "layers": kept})


def keras_model(config: Config) -> Config:
    """Return Keras 3's config of a model from its complete nanocnn config."""
    layers = []
    for layer in config["layers"]:
        arguments = {**layer["config"], "dtype": config["dtype"]}
        if layer["class_name"] == "InputLayer":
            arguments.pop("trainable", None)
        for key, value in arguments.items():
            if isinstance(value, dict):
                kind = "regularizers" if key.endswith("regularizer") else "initializers"
                arguments[key] = keras_object(f"keras.{kind}", value)
        entry = {"class_name": layer["class_name"], "config": arguments}
        layers.append(keras_object("keras.layers", entry))
    shape = layers[0]["config"]["batch_shape"]
    model = {"name": config["name"], "trainable": True, "layers": layers}
    # Keras ignores the last two; `scale_uint8` marks a file of nanocnn's.
    more = {
        "build_input_shape": shape,
        "scale_uint8": config["scale_uint8"],
        "unit_range": config.get("unit_range"),
    }
    return {"class_name": "Sequential", "config": {**model, **more}}


def is_nanocnn_010(model: Any, keras_version: Any) -> bool:
    """Whether nanocnn 0.1.0 wrote this model, without `scale_uint8`.

    It wrote each layer's dtype as a name, where this version of Keras writes a policy object.
    """
    try:
        dtypes = {type(layer["config"]["dtype"]) for layer in model["config"]["layers"]}
    except (LookupError, TypeError):
        return False
    return keras_version == KERAS_VERSION and dtypes == {str}


def write_training(config: Config | None) -> Config | None:
    """Return Keras's compile_config; None, with a warning, for what Keras or nanocnn lacks."""
    try:
        config = _read_training(config)
        if config is None:
            return None
        optimizer, loss = config["optimizer"], config["loss"]
        lacks: list[tuple[Config, str, Any]] = [(optimizer, "form", "keras")]
        if loss["class_name"] == "SparseCategoricalCrossentropy":
            lacks.append((loss, "label_smoothing", 0.0))
        for part, key, default in lacks:
            if part["config"].pop(key, default) != default:
                raise ModelFileError(f"Keras's {part['class_name']} has no {key}")
        rate = optimizer["config"].get("learning_rate")
        if isinstance(rate, dict) and rate["class_name"] in OWN_SCHEDULES:
            raise ModelFileError(f"Keras has no {rate['class_name']}")
    except ValueError as error:
        warn(f"the file stores the weights but not how the model was compiled: {error}")
        return None
    if isinstance(rate, dict):
        optimizer["config"]["learning_rate"] = keras_object("keras.optimizers.schedules", rate)
    return {
        "optimizer": keras_object("keras.optimizers", optimizer),
        "loss": keras_object("keras.losses", loss),
        "loss_weights": None,
        "metrics": [
            keras_object("keras.metrics", metric) if isinstance(metric, dict) else metric
            for metric in config["metrics"]
        ],
        "weighted_metrics": None,
    }


def slot_order(snapshot: Snapshot) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (weight, slot, slot's names in Keras) of the optimizer's arrays in Keras's order.

    The snapshot is compiled; frozen layers have no slots. Source: the `build` methods in
    keras/src/optimizers: the averages come first, Adam's m and v alternate, other slots come in
    blocks.
    """
    assert snapshot.compile_config is not None
    optimizer = snapshot.compile_config["optimizer"]
    config, kind = optimizer["config"], optimizer["class_name"]
    layers = (layer["config"] for layer in snapshot.config["layers"])
    fixed = {layer["name"] for layer in layers if not layer.get("trainable", True)}
    parts = ((weight, *weight.rpartition("/")[::2]) for weight in snapshot.weights)
    trained = [weight for weight, layer, name in parts if layer not in fixed and name not in STATE]
    if kind == "SGD":
        blocks = [["momentum"]] if config.get("momentum") else []
    elif kind == "RMSprop":
        blocks = [["v"]] + [["buffer"]] * bool(config.get("momentum"))
        blocks += [["average"]] * bool(config.get("centered"))
    elif kind == "Adadelta":
        blocks = [["v", "delta"]]
    else:  # Adam, AdamW, Nadam
        blocks = [["m", "v"]] + [["vmax"]] * bool(config.get("amsgrad"))
    blocks = [[EMA]] * bool(config.get("use_ema")) + blocks
    names = {"RMSprop": RMSPROP_SLOTS, "Adadelta": ADADELTA_SLOTS}.get(kind, SLOTS)
    names = {**names, EMA: AVERAGE}
    return [(weight, s, names[s]) for block in blocks for weight in trained for s in block]
