"""Activation functions: relu, sigmoid, tanh, softmax and linear."""

from typing import Any

from ..common.validate import one_of
from ..kernels.memory import Memory
from .base import Array, Layer

# Names for `activation=`, and their formulas.
ACTIVATIONS = {
    "linear": "y = x",
    "relu": "y = max(x, 0)",
    "sigmoid": "y = 1 / (1 + exp(-x))",
    "tanh": "y = tanh(x)",
    "softmax": "y_k = exp(x_k) / sum_j exp(x_j)",
}


class Activation(Layer):
    """y = f(x) elementwise (softmax: over the last axis), for x of any shape.

    `activation`: "relu", "sigmoid", "tanh", "softmax" or "linear" (also None); ValueError for
    others. Source: keras/src/activations/activations.py.
    """

    saves = ("y",)

    def __init__(self, activation: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.activation = self.operation = (
            "linear" if activation is None else one_of(activation, ACTIVATIONS, "activation")
        )

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        if self.activation == "linear":
            return x
        function = getattr(self.kernels, f"{self.operation}_forward")
        y: Array = function(x, **memory.out(self, y=x.shape))
        memory.save(self, y)
        return y

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        if self.activation == "linear":
            return dy
        (y,) = memory.saved(self)
        function = getattr(self.kernels, f"{self.operation}_backward")
        return function(dy, y, **memory.out(self, dx=y.shape))

    def formula(self) -> str:
        return ACTIVATIONS[self.activation]
