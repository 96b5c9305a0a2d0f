"""Activation functions by name: `activation=activations.relu`, or `relu(x)` of an array."""

from typing import Any

import numpy as np

from .common.arrays import Array
from .common.names import no_attribute
from .common.validate import as_array
from .layers.activation import ACTIVATIONS, Activation


class ActivationFunction(str):
    """The name of an activation, as layers take it, which can be called: x (N, ...) -> (N, ...)."""

    @property
    def __name__(self) -> str:
        return str(self)

    def __call__(self, x: Any) -> Array:
        array = as_array(x, f"{self}: x")
        layer = Activation(self)
        layer.build(array.shape[1:], dtype="float32" if array.dtype == np.float32 else "float64")
        return layer.forward(array.astype(layer.dtype))


def __getattr__(name: str) -> Any:
    if name in ACTIVATIONS:
        return ActivationFunction(name)
    raise no_attribute(f"module {__name__!r}", name, ACTIVATIONS)
