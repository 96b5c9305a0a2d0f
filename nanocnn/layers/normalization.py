"""Batch normalization."""

from typing import Any

import numpy as np

from ..common.validate import flag, integer, number
from ..kernels.memory import Memory
from .base import Array, Layer, Shape


class BatchNormalization(Layer):
    """Normalise each channel to mean 0 and variance 1 over the batch, then scale and shift it.

    x (..., C), C the last axis; weights gamma, beta, moving_mean, moving_variance (C,). Training
    uses the batch's statistics and updates their moving averages with `momentum`; inference, and a
    layer with `trainable` False, use the averages as they are. Source: Ioffe & Szegedy 2015;
    Keras's layers/normalization/batch_normalization.py (momentum .99, epsilon 1e-3, biased
    variance; PyTorch's defaults are .9 and 1e-5, its moving variance is unbiased).
    """

    operation, saves = "batch_norm", ("x", "mean", "variance")
    untrained = ("moving_mean", "moving_variance")

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        where = "BatchNormalization: "
        self.momentum = number(momentum, f"{where}momentum", lambda m: 0 <= m <= 1, "from 0 to 1")
        self.epsilon = number(epsilon, f"{where}epsilon", lambda e: e > 0, "more than 0")
        self.center, self.scale = flag(center, f"{where}center"), flag(scale, f"{where}scale")
        self.axis = integer(axis, f"{where}axis", -1)

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        if self.axis not in (-1, len(input_shape)):
            raise ValueError(f"{self.name}: axis={self.axis!r}, expected -1 (channels last)")
        names = (*["gamma"] * self.scale, *["beta"] * self.center, *self.untrained)
        return input_shape, {name: input_shape[-1:] for name in names}

    def initial(self, name: str, shape: Shape) -> str:
        return "ones" if name in ("gamma", "moving_variance") else "zeros"

    def _prepare(self) -> None:
        C = self.input_shape[-1:]
        self._ones, self._zeros = np.ones(C, self.dtype), np.zeros(C, self.dtype)

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        gamma = self.params.get("gamma", self._ones)
        beta = self.params.get("beta", self._zeros)
        y: Array
        training = training and self.trainable  # frozen: as in inference (Keras 2.1.3)
        if training:
            out = memory.out(self, y=x.shape, mean=gamma.shape, variance=gamma.shape)
            y, mean, variance = self.kernels.batch_norm_forward(x, gamma, beta, self.epsilon, **out)
            moving = [self.state[name] for name in self.untrained]
            self.kernels.batch_norm_update(*moving, mean, variance, self.momentum)
        else:
            mean, variance = self.state["moving_mean"], self.state["moving_variance"]
            y = self.kernels.batch_norm_inference(
                x, gamma, beta, mean, variance, self.epsilon, **memory.out(self, y=x.shape)
            )
        memory.save(self, x, mean, variance, training)
        return y

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        x, mean, variance, training = memory.saved(self)
        gamma = self.params.get("gamma", self._ones)
        out = memory.out(self, dx=x.shape, dgamma=gamma.shape, dbeta=gamma.shape)
        dx, dgamma, dbeta = self.kernels.batch_norm_backward(
            dy, x, gamma, mean, variance, self.epsilon, frozen=not training, **out
        )
        self.grads = {"gamma": dgamma, "beta": dbeta}
        self.grads = {name: self.grads[name] for name in self.params}
        return dx

    def formula(self) -> str:
        return "y = gamma * (x - mean) / sqrt(variance + epsilon) + beta"
