"""Batch normalization."""

from typing import Any, NamedTuple

import numpy as np

from ..common.validate import flag, integer, number
from ..kernels.memory import Memory
from .base import Array, Layer, Shape


class Shard(NamedTuple):
    """Of a shard of a batch: x, mean and variance of the batch, and what is combined for it.

    mean, variance (C,). `moments`: (2, C), the shard's own mean and variance; `sums`: (2, C), those
    of dy and of dy * (x - mean); `means`: these of the batch, divided by its size.
    """

    x: Array
    mean: Array
    variance: Array
    moments: Array
    sums: Array
    means: Array


class BatchNormalization(Layer):
    """Normalise each channel to mean 0 and variance 1 over the batch, then scale and shift it.

    x (..., C), C the last axis; weights gamma, beta, moving_mean, moving_variance (C,). Training
    uses the batch's statistics and updates their moving averages with `momentum`; inference, and a
    layer with `trainable` False, use the averages as they are. Where `fit` cuts a batch into
    shards, each has its own statistics; `synchronized` takes those of the whole batch.
    Source: Ioffe & Szegedy 2015; Keras's layers/normalization/batch_normalization.py (momentum .99,
    epsilon 1e-3, biased variance; PyTorch's defaults are .9 and 1e-5, its moving variance is
    unbiased).
    """

    operation, saves = "batch_norm", ("x", "mean", "variance")
    untrained = ("moving_mean", "moving_variance")
    equation = "y = gamma * (x - mean) / sqrt(variance + epsilon) + beta"

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        synchronized: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        where = "BatchNormalization: "
        self.momentum = number(momentum, f"{where}momentum", lambda m: 0 <= m <= 1, "from 0 to 1")
        self.epsilon = number(epsilon, f"{where}epsilon", lambda e: e > 0, "more than 0")
        self.center, self.scale = flag(center, f"{where}center"), flag(scale, f"{where}scale")
        self.synchronized = flag(synchronized, f"{where}synchronized")
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
        self._fixed = {"gamma": np.ones(C, self.dtype), "beta": np.zeros(C, self.dtype)}

    def _vectors(self) -> list[Array]:
        """gamma and beta, 1 and 0 where these are no weights, and the moving averages."""
        vectors = {**self._fixed, **self.weights}
        return [vectors[name] for name in ("gamma", "beta", *self.untrained)]

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        gamma, beta, *moving = self._vectors()
        y: Array
        training = training and self.trainable  # frozen: as in inference (Keras 2.1.3)
        if training:
            out = memory.out(self, y=x.shape, mean=gamma.shape, variance=gamma.shape)
            y, *moments = self.kernels.batch_norm_forward(x, gamma, beta, self.epsilon, **out)
            self.kernels.batch_norm_update(*moving, *moments, self.momentum)
        else:
            out, moments = memory.out(self, y=x.shape), moving
            y = self.kernels.batch_norm_inference(x, gamma, beta, *moving, self.epsilon, **out)
        memory.save(self, x, *moments, training)
        return y

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        x, mean, variance, training = memory.saved(self)
        kernel = self.kernels.batch_norm_backward
        return self._differentiate(kernel, memory, dy, x, mean, variance, not training)

    def _differentiate(
        self, kernel: Any, memory: Memory, dy: Array, x: Array, mean: Array, variance: Array,
        *more: Any,
    ) -> Array:  # fmt: skip
        """Run a kernel of the backward pass: set `grads`, return dx."""
        gamma, *_ = self._vectors()
        out = memory.out(self, dx=x.shape, dgamma=gamma.shape, dbeta=gamma.shape)
        dx, *grads = kernel(dy, x, gamma, mean, variance, self.epsilon, *more, **out)
        by_name = dict(zip(("gamma", "beta"), grads, strict=True))
        self.grads = {name: by_name[name] for name in self.params}
        return dx

    # --- Synchronized: between the halves of a pass, the numbers of all shards are combined ---

    def _shard(self, memory: Memory) -> "Shard":
        """The numbers of the shard whose pass has this memory."""
        found: Shard = memory.saved(self)[0]
        return found

    def _statistics(self, x: Array, memory: Memory) -> None:
        """The first half of the forward pass: mean and variance of this shard, in `moments`."""
        C = self.input_shape[-1]
        arrays = memory.out(
            self, mean=(C,), variance=(C,), moments=(2, C), sums=(2, C), means=(2, C)
        ).get("out", (*np.empty((2, C), self.dtype), *np.empty((3, 2, C))))
        shard = Shard(x, *arrays)
        self.kernels.batch_norm_statistics(x, out=shard.moments)
        memory.save(self, shard, None)

    def _normalize(self, memory: Memory) -> Array:
        """The second half, when mean and variance are those of the whole batch."""
        x, mean, variance, *_ = self._shard(memory)
        gamma, beta, *moving = self._vectors()
        self.kernels.batch_norm_update(*moving, mean, variance, self.momentum)
        out = memory.out(self, y=x.shape)
        y: Array = self.kernels.batch_norm_inference(
            x, gamma, beta, mean, variance, self.epsilon, **out
        )
        return y

    def _sums(self, dy: Array, memory: Memory) -> None:
        """The first half of the backward pass: the `sums` of dy and of dy * (x - mean)."""
        shard = self._shard(memory)
        self.kernels.batch_norm_sums(dy, shard.x, shard.mean, out=shard.sums)
        memory.save(self, shard, dy)

    def _gradient(self, memory: Memory) -> Array:
        """The second half, when `means` has the sums of the whole batch, divided by its size."""
        (x, mean, variance, _, sums, means), dy = memory.saved(self)
        kernel = self.kernels.batch_norm_gradient
        return self._differentiate(kernel, memory, dy, x, mean, variance, sums, means)
