"""The layers, one file a family. `LAYERS` maps Keras's class names to them."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..common.config import described
from ..common.errors import unknown
from .activation import Activation
from .base import Layer, make_names_unique
from .dropout import Dropout
from .linear import Conv2D, Dense
from .normalization import BatchNormalization
from .pooling import AveragePooling2D, MaxPooling2D
from .shape import Flatten, Input

LAYERS: dict[str, type[Layer]] = {
    "InputLayer": Input,
    "Conv2D": Conv2D,
    "MaxPooling2D": MaxPooling2D,
    "AveragePooling2D": AveragePooling2D,
    "BatchNormalization": BatchNormalization,
    "Activation": Activation,
    "Dropout": Dropout,
    "Flatten": Flatten,
    "Dense": Dense,
}


def is_builtin(layer: Layer) -> bool:
    """Whether the layer is of one of nanocnn's classes, which files know, and of no subclass."""
    return type(layer) in LAYERS.values()


def layer_from_config(class_name: str, config: dict[str, Any]) -> Layer:
    """The layer of Keras's class name `class_name`; nothing outside `LAYERS` is ever looked up."""
    if class_name not in LAYERS:
        raise unknown("layer", class_name, LAYERS)
    return LAYERS[class_name].from_config(config)


def layer_config(layer: Layer) -> dict[str, Any]:
    """{"class_name", "config"} for `layer_from_config`; Keras calls an `Input` InputLayer."""
    config = described(layer)
    if not is_builtin(layer):  # whose __init__ may take neither
        return {**config, "name": layer.name, "trainable": layer.trainable}
    return {**config, "class_name": "InputLayer"} if isinstance(layer, Input) else config


def layers_from_config(
    configs: Iterable[dict[str, Any]], own: Mapping[int, type[Layer]]
) -> list[Layer]:
    """The layers that `layer_config` described; `own`: the classes not in `LAYERS`, by place."""
    layers = []
    for place, each in enumerate(configs):
        if kind := own.get(place):
            layer = kind.from_config(each["config"])
            layer.name, layer.named, layer.trainable = each["name"], True, each["trainable"]
        else:
            layer = layer_from_config(each["class_name"], each["config"])
        layers.append(layer)
    return layers


__all__ = [
    "LAYERS",
    "Activation",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "Layer",
    "MaxPooling2D",
    "is_builtin",
    "layer_config",
    "layer_from_config",
    "layers_from_config",
    "make_names_unique",
]
