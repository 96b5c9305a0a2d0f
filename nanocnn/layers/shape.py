"""Layers without arithmetic: Input and Flatten."""

from math import prod
from typing import Any

from ..common.config import checked_config
from ..common.validate import sample_shape
from ..kernels.memory import Memory
from .base import Array, Layer, Shape, without_batch


class Input(Layer):
    """The first layer of every model: the shape of one sample, such as (28, 28, 1).

    Takes `shape` without the batch axis (also as `input_shape`), or `batch_shape` with None for it.
    Raises ValueError unless each size is an integer of at least 1.
    Source: keras/src/layers/core/input_layer.py.
    """

    def __init__(
        self,
        shape: tuple[int, ...] | None = None,
        *,
        batch_shape: tuple[int | None, ...] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name="input_layer" if name is None else name, **options)
        given, self.expected_shape = self.expected_shape, None  # `input_shape`
        if sum(each is not None for each in (shape, given, batch_shape)) > 1:
            raise ValueError(
                f"Input: shape={shape!r:.80}, input_shape={given!r:.80}, "
                f"batch_shape={batch_shape!r:.80}, expected only one"
            )
        if batch_shape is not None:
            given = without_batch(batch_shape, "Input: batch_shape")
        self.shape = given or sample_shape(shape, "Input: shape")

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        return self.shape, {}

    def _prepare(self) -> None:
        if self.is_custom:
            raise ValueError(
                f"{self.name}: {type(self).__name__}, an Input, overrides forward or "
                "backward, which no model calls; make it a Layer and put it after an Input"
            )

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return x

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return dy

    def get_config(self) -> dict[str, Any]:
        dtype = str(self.dtype) if self.built else "float32"
        return {"name": self.name, "batch_shape": [None, *self.shape], "dtype": dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Input":
        config = checked_config(config, "Input")
        return cls(name=config.get("name"), batch_shape=config.get("batch_shape"))


class Flatten(Layer):
    """Reshape each sample to one row, (N,H,W,C) -> (N,H*W*C), channels fastest, without a copy.

    Source: keras/src/layers/reshaping/flatten.py.
    """

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        return (prod(input_shape),), {}

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return x.reshape(len(x), -1)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return dy.reshape(len(dy), *self.input_shape)

    def formula(self) -> str:
        return "y = x with one row a sample"
