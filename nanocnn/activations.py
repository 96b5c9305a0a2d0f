"""Activation functions by name: `activation=activations.relu`, or `relu(x)` of an array."""

from typing import Any

from .common.arrays import Array
from .common.names import no_attribute
from .common.validate import as_array
from .layers.activation import ACTIVATIONS, Activation


class ActivationFunction(str):
    """The name of an activation, which layers take; called, y = f(x) of x (N, ...), in float64."""

    def __call__(self, x: Any) -> Array:
        layer, array = Activation(self), as_array(x, f"{self}: x").astype("float64")
        layer.build(array.shape[1:], dtype="float64")
        return layer.forward(array)


def __getattr__(name: str) -> Any:
    if name in ACTIVATIONS:
        return ActivationFunction(name)
    raise no_attribute(f"module {__name__!r}", name, ACTIVATIONS)
