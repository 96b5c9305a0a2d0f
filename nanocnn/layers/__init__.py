"""The layers, one file a family. `LAYERS` maps Keras's class names to them."""

from typing import Any

from ..configs import described
from ..errors import unknown
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


def layer_from_config(class_name: str, config: dict[str, Any]) -> Layer:
    """The layer of Keras's class name `class_name`; nothing outside `LAYERS` is ever looked up."""
    if class_name not in LAYERS:
        raise unknown("layer", class_name, LAYERS)
    return LAYERS[class_name].from_config(config)


def layer_config(layer: Layer) -> dict[str, Any]:
    """{"class_name", "config"} for `layer_from_config`; Keras calls an `Input` InputLayer."""
    config = described(layer)
    return {**config, "class_name": "InputLayer"} if isinstance(layer, Input) else config


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
    "layer_config",
    "layer_from_config",
    "make_names_unique",
]
