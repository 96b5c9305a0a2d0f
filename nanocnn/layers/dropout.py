"""Dropout."""

from math import prod
from typing import Any

import numpy as np

from ..common.validate import number
from ..jit.capture import each_time
from ..kernels.memory import Memory
from .base import Array, Layer


class Dropout(Layer):
    """Set elements to 0 with probability `rate` in training and scale the rest by 1/(1-rate).

    x of any shape; the identity when not training. ValueError unless `rate` is from 0 to 1.
    Each training pass draws one 64-bit key from the model's generator; the mask is a function of
    the key (see `kernels.reference.dropout_mask`). Source: Srivastava et al. 2014;
    keras/src/layers/regularization/dropout.py.
    """

    operation, saves = "dropout", ("key",)
    random = True

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate = number(rate, "Dropout: rate", lambda rate: 0 <= rate <= 1, "from 0 to 1")

    @property
    def draws(self) -> int:  # type: ignore[override]
        """One, the key, unless nothing is dropped."""
        return int(self.rate > 0)

    def _forward(self, x: Array, training: bool, memory: Memory, **out: Array) -> Array:
        """`out` may be x."""
        if not (training and self.rate):
            memory.save(self, None)
            return x
        key = memory.out(self, key=(2,)).get("out", np.zeros(2, np.uint64))
        each_time(self._draw, key, memory, prod(x.shape[1:]))
        memory.save(self, key)
        out = out or memory.out(self, y=x.shape)
        return self.kernels.dropout_forward(x, self.rate, key, **out)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory, **out: Array) -> Array | None:
        """`out` may be dy."""
        (key,) = memory.saved(self)
        if key is None:
            return dy
        out = out or memory.out(self, dx=dy.shape)
        return self.kernels.dropout_backward(dy, self.rate, key, **out)

    def _draw(self, key: Array, memory: Memory, items: int) -> None:
        """The key of a pass, and the number that its first element has in the whole batch."""
        key[:] = self.rng.integers(2**64, dtype="uint64"), memory.first * items

    def formula(self) -> str:
        return f"y = x * mask / {1 - self.rate:g}"
