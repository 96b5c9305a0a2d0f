"""Layers, one file per family. `LAYERS` maps Keras's class names to the classes."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..common.config import serialize
from ..common.names import names_of
from .activation import Activation, LeakyReLU, ReLU, Softmax
from .augmentation import (
    RandomElastic,
    RandomErasing,
    RandomRotation,
    RandomShear,
    RandomTransform,
    RandomTranslation,
    RandomZoom,
)
from .base import Layer, automatic_name
from .dropout import Dropout
from .linear import Conv2D, Dense
from .morphology import RandomMorphology
from .normalization import BatchNormalization
from .pooling import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from .scaling import Normalization, Rescaling
from .shape import Flatten, Input, Reshape, ZeroPadding2D

__getattr__ = names_of(__name__)
LAYERS: dict[str, type[Layer]] = {"InputLayer": Input} | {
    name: kind
    for name, kind in globals().items()
    if isinstance(kind, type)
    and issubclass(kind, Layer)
    and kind not in (Input, Layer, RandomTransform)
}


def is_builtin(layer: Layer) -> bool:
    """Whether the class of `layer` is in `LAYERS`; files cannot store others, or subclasses."""
    return type(layer) in LAYERS.values()


def make_names_unique(layers: Iterable[Layer]) -> None:
    """Number default names as Keras does (conv2d, conv2d_1); ValueError for equal given names.

    Layers of a model that is built keep the names they have.
    """
    kept = [layer for layer in layers if layer.named or layer.in_model]
    taken = {layer.name for layer in kept}
    if len(taken) < len(kept):
        raise ValueError(f"two layers have the same name: {[layer.name for layer in layers]}")
    counts: dict[str, int] = {}
    for layer in layers:
        if not (layer.named or layer.in_model):
            base = automatic_name(type(layer).__name__)
            while (name := f"{base}_{counts[base]}" if base in counts else base) in taken:
                counts[base] = counts.get(base, 0) + 1
            counts[base] = counts.get(base, 0) + 1
            layer.name = name


def layer_config(layer: Layer) -> dict[str, Any]:
    """Return {"class_name", "config"} for `layers_from_config`; an `Input` is an InputLayer."""
    config = serialize(layer)
    if not is_builtin(layer):  # its __init__ need not take these
        return {**config, "name": layer.name, "trainable": layer.trainable}
    return {**config, "class_name": "InputLayer"} if isinstance(layer, Input) else config


def layers_from_config(
    configs: Iterable[dict[str, Any]], custom: Mapping[int, type[Layer]]
) -> list[Layer]:
    """Create layers from the results of `layer_config`; `custom`: custom classes by index."""
    layers = []
    for index, each in enumerate(configs):
        kind = custom.get(index) or LAYERS[each["class_name"]]
        layer = kind.from_config(each["config"])
        if index in custom:
            layer.name, layer.named, layer.trainable = each["name"], True, each["trainable"]
        layers.append(layer)
    return layers


__all__ = [
    "LAYERS", "Activation", "AveragePooling2D", "BatchNormalization", "Conv2D", "Dense", "Dropout",
    "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Input", "Layer", "LeakyReLU",
    "MaxPooling2D", "Normalization", "RandomElastic", "RandomErasing", "RandomMorphology",
    "RandomRotation", "RandomShear", "RandomTranslation", "RandomZoom", "ReLU", "Rescaling",
    "Reshape", "Softmax", "ZeroPadding2D", "is_builtin", "layer_config", "layers_from_config",
    "make_names_unique",
]  # fmt: skip
