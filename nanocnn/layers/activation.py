"""Activation functions, by name or as layers with arguments."""

from math import inf
from typing import Any

from ..common.validate import integer, number, one_of
from ..kernels.memory import Memory
from .base import Array, Layer, Shape

# Names for `activation=`, and their formulas.
ACTIVATIONS = {
    "linear": "y = x",
    "relu": "y = max(x, 0)",
    "leaky_relu": "y = max(x, 0.2 * x)",
    "elu": "y = x where x > 0, else exp(x) - 1",
    "sigmoid": "y = 1 / (1 + exp(-x))",
    "tanh": "y = tanh(x)",
    "gelu": "y = x * (1 + erf(x / sqrt(2))) / 2",
    "softmax": "y_k = exp(x_k) / sum_j exp(x_j)",
}
SAVE_X = "leaky_relu", "gelu"  # their derivatives cannot be written in terms of y


class BaseActivation(Layer):
    """Base class: y = f(x), for x of any shape.

    `activation` is the function's name in `ACTIVATIONS`, by which a plan fuses it or leaves it to
    the loss.
    """

    def _choose(self, activation: str, *arguments: float) -> None:
        self.activation = self.operation = activation
        self.arguments = arguments
        self.saves = ("x",) if activation in SAVE_X else ("y",)
        self.equation = ACTIVATIONS[activation]

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return x if self.activation == "linear" else super()._forward(x, training, memory)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return dy if self.activation == "linear" else super()._backward(dy, need_dx, memory)


class Activation(BaseActivation):
    """y = f(x) elementwise (softmax: over the last axis), for x of any shape.

    `activation`: "relu", "leaky_relu" (slope 0.2), "elu", "sigmoid", "tanh", "gelu" (the exact one,
    not the one with tanh), "softmax" or "linear" (also None); ValueError for others.
    Source: keras/src/activations/activations.py.
    """

    def __init__(self, activation: str | None, **options: Any) -> None:
        super().__init__(**options)
        known = "linear" if activation is None else one_of(activation, ACTIVATIONS, "activation")
        self._choose(known, *((0.2, 0.0, inf) if known == "leaky_relu" else ()))


class ReLU(BaseActivation):
    """y = x above `threshold`, but at most `max_value`; negative_slope * (x - threshold) below.

    x of any shape. ValueError for negative numbers. The gradient is that of the part below where x
    equals the threshold, and 0 where it equals `max_value`.
    Source: keras/src/layers/activations/relu.py.
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else _positive(max_value, "ReLU: max_value")
        self.negative_slope = _positive(negative_slope, "ReLU: negative_slope")
        self.threshold = _positive(threshold, "ReLU: threshold")
        most = inf if self.max_value is None else self.max_value
        numbers = self.negative_slope, self.threshold, most
        if numbers == (0, 0, inf):
            self._choose("relu")
        else:
            self._choose("leaky_relu", *numbers)
            slope, low, high = (f"{number:g}" for number in numbers)
            self.equation = f"y = {slope} * (x - {low}) where x <= {low}, else min(x, {high})"


class LeakyReLU(BaseActivation):
    """y = x where x > 0, else negative_slope * x, for x of any shape.

    ValueError for a negative slope. Source: keras/src/layers/activations/leaky_relu.py.
    """

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = _positive(negative_slope, "LeakyReLU: negative_slope")
        self._choose("leaky_relu", self.negative_slope, 0.0, inf)
        self.equation = f"y = {self.negative_slope:g} * x where x <= 0, else x"


class Softmax(BaseActivation):
    """y_k = exp(x_k) / sum_j exp(x_j) over the last axis, for x of any shape.

    `axis` must be the last: ValueError for others. As the last layer it is computed with the loss,
    as Activation("softmax") is. Source: keras/src/layers/activations/softmax.py.
    """

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = integer(axis, "Softmax: axis", -1)
        self._choose("softmax")

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        if self.axis not in (-1, len(input_shape)):
            raise ValueError(f"{self.name}: axis={self.axis!r}, expected -1 (the last axis)")
        return input_shape, {}


def _positive(value: Any, name: str) -> float:
    return number(value, name, lambda number: number >= 0, "of at least 0")
