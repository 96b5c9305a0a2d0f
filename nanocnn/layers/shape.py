"""Layers without arithmetic: Input, Flatten, Reshape and ZeroPadding2D."""

from math import prod
from typing import Any

from ..common.config import checked_config
from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import integer, sample_shape
from ..kernels.memory import Memory
from .base import Array, Layer, Shape, without_batch
from .pooling import window_over


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

    equation = "y = x with one row a sample"

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        return (prod(input_shape),), {}

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return x.reshape(len(x), *self.output_shape)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return dy.reshape(len(dy), *self.input_shape)


class Reshape(Flatten):
    """Each sample in another shape, (N, ...) -> (N, *target_shape), last axis fastest, no copy.

    One size may be -1: what is left. ValueError for other sizes below 1, ShapeError if the number
    of elements differs. Source: keras/src/layers/reshaping/reshape.py.
    """

    equation = "y = x with each sample in another shape"

    def __init__(self, target_shape: tuple[int, ...], **options: Any) -> None:
        super().__init__(**options)
        items = target_shape if isinstance(target_shape, (tuple, list)) else (target_shape,)
        self.target_shape = tuple(integer(item, "Reshape: target_shape", -1) for item in items)
        if not items or 0 in self.target_shape or self.target_shape.count(-1) > 1:
            raise ValueError(
                f"Reshape: target_shape={target_shape!r:.80}, expected sizes; one may be -1"
            )

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        rest = prod(input_shape) // prod(n for n in self.target_shape if n > 0)
        shape = tuple(rest if n < 0 else n for n in self.target_shape)
        if prod(shape) != prod(input_shape):
            raise ShapeError(
                f"{self.name}: input of shape (N, {sizes(input_shape)}), expected samples of as "
                f"many elements as target_shape={self.target_shape}"
            )
        return shape, {}


class ZeroPadding2D(Layer):
    """Zeros around each image, (N,H,W,C) -> (N, top + H + bottom, left + W + right, C).

    `padding` in pixels: one number for all sides, (rows, columns), or ((top, bottom), (left,
    right)). ValueError for other values, ShapeError if the input is not an image.
    Source: keras/src/layers/reshaping/zero_padding2d.py.
    """

    operation = "zero_pad"

    def __init__(self, padding: Any = (1, 1), **options: Any) -> None:
        super().__init__(**options)
        sides = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        pairs = [each if isinstance(each, (tuple, list)) else (each, each) for each in sides]
        if [len(each) for each in pairs] != [2, 2]:
            raise ValueError(
                f"ZeroPadding2D: padding={padding!r:.80}, expected an integer, a pair of them, or "
                "((top, bottom), (left, right))"
            )
        rows, columns = ([integer(n, "ZeroPadding2D: padding", 0) for n in each] for each in pairs)
        self.padding = (rows[0], rows[1]), (columns[0], columns[1])
        self.arguments = (self.padding,)
        self.equation = f"y[n,h,w,c] = x[n,h-{rows[0]},w-{columns[0]},c], 0 outside"

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        window, C = window_over(input_shape, self.name, (1, 1))
        return (window.H + sum(self.padding[0]), window.W + sum(self.padding[1]), C), {}
