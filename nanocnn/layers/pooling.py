"""Pooling: one value for each window of each channel."""

from typing import Any

from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import flag, one_of, pair
from ..kernels.geometry import Window, sliding_window
from ..kernels.memory import Memory
from .base import Array, Layer, Shape


def image_shape(shape: Shape, layer: str) -> tuple[int, int, int]:
    """Return (H,W,C), or raise `ShapeError` naming the layer for a shape that is not of images."""
    if len(shape) != 3:
        raise ShapeError(
            f"{layer}: input of shape (N, {sizes(shape)}), "
            "expected images (N, height, width, channels)"
        )
    return shape[0], shape[1], shape[2]


def window_over(
    shape: Shape, layer: str, kernel: tuple[int, int], *arguments: Any
) -> tuple[Window, int]:
    """Return the window of `sliding_window` over images of `shape` (H,W,C), and C.

    Raises `ShapeError` naming the layer for other shapes and for images smaller than the window.
    """
    H, W, C = image_shape(shape, layer)
    try:
        return sliding_window((H, W), kernel, *arguments), C
    except ShapeError as error:
        raise ShapeError(f"{layer}: {error}") from None


class Pooling2D(Layer):
    """Base class: x (N,H,W,C) -> y (N,OH,OW,C); `strides` default to `pool_size`."""

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.pool_size = pair(pool_size, f"{kind}: pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, f"{kind}: strides")
        self.padding = one_of(padding, ("valid", "same"), f"{kind} padding")

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        window, C = self._window(input_shape)
        return (window.OH, window.OW, C), {}

    def _prepare(self) -> None:
        self.window, _ = self._window(self.input_shape)
        self.arguments = (self.window,)

    def _window(self, shape: Shape) -> tuple[Window, int]:
        # With padding, a window of three times the image covers the image at every position.
        limit = 3 if self.padding == "same" else 1 << 31
        KH, KW = (min(k, limit * n) for k, n in zip(self.pool_size, (*shape, 1, 1), strict=False))
        return window_over(shape, self.name, (KH, KW), self.strides, self.padding)


class MaxPooling2D(Pooling2D):
    """The maximum of each window; its gradient goes to the first pixel that has it.

    x (N,H,W,C) -> y (N,OH,OW,C); `pool_size` and `strides` (default: pool_size) in pixels, padding
    counts as -inf. Raises ShapeError if the image is smaller than the window.
    Source: keras/src/layers/pooling/max_pooling2d.py.
    """

    operation, saves = "max_pool", ("argmax",)
    equation = "y[n,h,w,c] = max over the window of x[n,.,.,c]"

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        shape = (len(x), *self.output_shape)
        name = "argmax" if self.window.KH * self.window.KW <= 255 else "wide_argmax"
        out = memory.out(self, **{"y": shape, name: shape})
        y, argmax = self.kernels.max_pool_forward(x, self.window, **out)
        memory.save(self, argmax)
        return y


class AveragePooling2D(Pooling2D):
    """The mean of each window, not counting padding.

    x (N,H,W,C) -> y (N,OH,OW,C); arguments as for `MaxPooling2D`.
    Source: keras/src/layers/pooling/average_pooling2d.py.
    """

    operation = "average_pool"
    equation = "y[n,h,w,c] = mean over the window of x[n,.,.,c]"


class GlobalPooling2D(Layer):
    """Base class: one number a channel, x (N,H,W,C) -> y (N,C), or (N,1,1,C) with `keepdims`."""

    def __init__(self, *, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.keepdims = flag(keepdims, f"{type(self).__name__}: keepdims")

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        _, C = window_over(input_shape, self.name, (1, 1))
        return ((1, 1, C) if self.keepdims else (C,)), {}

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return super()._forward(x, training, memory).reshape(len(x), *self.output_shape)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return super()._backward(dy.reshape(len(dy), *self.kernel_shape), need_dx, memory)


class GlobalAveragePooling2D(GlobalPooling2D):
    """The mean of each channel: x (N,H,W,C) -> y (N,C), or (N,1,1,C) with `keepdims`.

    ShapeError if x is not an image. Source: keras/src/layers/pooling/global_average_pooling2d.py.
    """

    operation = "average_pool"
    equation = "y[n,c] = mean over h,w of x[n,h,w,c]"

    def _prepare(self) -> None:
        H, W, C = self.input_shape
        self.arguments = window_over(self.input_shape, self.name, (H, W))[:1]
        self.kernel_shape = 1, 1, C


class GlobalMaxPooling2D(GlobalPooling2D):
    """The maximum of each channel: x (N,H,W,C) -> y (N,C), or (N,1,1,C) with `keepdims`.

    Equal maxima share the gradient, as in Keras (`MaxPooling2D`: the first has it all).
    ShapeError if x is not an image. Source: keras/src/layers/pooling/global_max_pooling2d.py.
    """

    operation, saves = "global_max", ("x", "y")
    equation = "y[n,c] = max over h,w of x[n,h,w,c]"

    def _prepare(self) -> None:
        self.kernel_shape = self.input_shape[-1:]
