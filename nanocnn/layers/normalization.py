"""Batch normalization."""

from typing import Any

import numpy as np

from ..memory import Memory
from .base import Array, Layer, Shape


class BatchNormalization(Layer):
    """Each channel shifted and scaled to mean 0 and variance 1 over the batch, then by beta, gamma.

    x (..., C), C the last axis; weights gamma, beta, moving_mean, moving_variance (C,). While
    training, the batch's own statistics are used and averaged with `momentum`; otherwise the
    averages are. Source: Ioffe & Szegedy 2015; Keras's layers/normalization/batch_normalization.py
    (momentum .99, epsilon 1e-3, biased variance; PyTorch's defaults are .9 and 1e-5, its moving
    variance is unbiased).
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNormalization: momentum={momentum!r}, expected 0 to 1")
        if not epsilon > 0:
            raise ValueError(f"BatchNormalization: epsilon={epsilon!r}, expected more than 0")
        self.axis, self.momentum, self.epsilon = axis, float(momentum), float(epsilon)
        self.center, self.scale = bool(center), bool(scale)

    def _build(self, input_shape: Shape) -> Shape:
        if self.axis not in (-1, len(input_shape)):
            raise ValueError(f"{self.name}: axis={self.axis}, expected -1 (channels last)")
        C = input_shape[-1:]
        self.params = {}
        if self.scale:
            self.params["gamma"] = np.ones(C, self.dtype)
        if self.center:
            self.params["beta"] = np.zeros(C, self.dtype)
        self.state = {
            "moving_mean": np.zeros(C, self.dtype),
            "moving_variance": np.ones(C, self.dtype),
        }
        self._ones, self._zeros = np.ones(C, self.dtype), np.zeros(C, self.dtype)
        return input_shape

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        gamma = self.params.get("gamma", self._ones)
        beta = self.params.get("beta", self._zeros)
        y: Array
        if training:
            out = memory.out(self, y=x.shape, mean=gamma.shape, variance=gamma.shape)
            y, mean, variance = self.kernels.batch_norm_forward(x, gamma, beta, self.epsilon, **out)
            keep = self.dtype.type(self.momentum)
            if np.isfinite(mean).all() and np.isfinite(variance).all():
                for name, value in (("moving_mean", mean), ("moving_variance", variance)):
                    self.state[name] *= keep
                    self.state[name] += (1 - keep) * value
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
            dy, x, gamma, mean, variance, self.epsilon, **out
        )
        self.grads = {"gamma": dgamma, "beta": dbeta}
        self.grads = {name: self.grads[name] for name in self.params}
        if not training:  # mean and variance were constants: y is linear in x
            np.multiply(dy, gamma / np.sqrt(variance + self.dtype.type(self.epsilon)), out=dx)
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }

    def formula(self) -> str:
        return "y = gamma * (x - mean) / sqrt(variance + epsilon) + beta"
