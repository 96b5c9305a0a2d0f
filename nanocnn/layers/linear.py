"""Layers that multiply by a kernel: Dense and Conv2D, each followed by an activation."""

from typing import Any

from .. import initializers
from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import flag, integer, one_of, pair
from ..kernels.geometry import Window
from ..kernels.memory import Memory
from ..regularizers import get_regularizer
from .activation import Activation
from .base import Array, Layer, Shape
from .pooling import window_over


class Linear(Layer):
    """Base class of Dense and Conv2D: kernel, bias, their initializers, L2 penalty, activation.

    y = activation(transform(x)); `operation` is the transform's kernel.
    `activation` is a separate layer, so that a plan can fuse it or leave it to the loss.
    """

    saves = ("x",)

    def __init__(
        self,
        activation: str | None,
        use_bias: bool,
        kernel_initializer: str | dict[str, Any],
        bias_initializer: str | dict[str, Any],
        kernel_regularizer: Any,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.activation = Activation(activation)
        self.use_bias = flag(use_bias, f"{type(self).__name__}: use_bias")
        self.kernel_initializer = initializers.canonical(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.canonical(bias_initializer, "bias_initializer")
        self.kernel_regularizer = get_regularizer(kernel_regularizer)
        if self.kernel_regularizer:
            self.penalties["kernel"] = self.kernel_regularizer.l2

    @property
    def bias(self) -> Array | None:
        """The bias, or None without one."""
        return self.params.get("bias")

    def transform(self, x: Array, memory: Memory, **fused: Any) -> Array:
        """Compute the part before the activation; `fused` are arguments of fused kernels."""
        memory.save(self, x)
        forward = getattr(self.kernels, f"{self.operation}_forward")
        out = memory.out(self, z=(len(x), *self.output_shape))
        return forward(x, self.params["kernel"], self.bias, *self.arguments, **fused, **out)

    def transform_backward(
        self, dz: Array, need_dx: bool, memory: Memory, **fused: Any
    ) -> Array | None:
        """Backward pass of `transform`: set `grads`, return dx."""
        (x,) = memory.saved(self)
        kernel = self.params["kernel"]
        backward = getattr(self.kernels, f"{self.operation}_backward")
        out = self.gradient_buffers(x, need_dx, memory)
        dx, dweight, dbias = backward(dz, x, kernel, *self.arguments, need_dx, **fused, **out)
        self.set_gradients(dweight, dbias)
        return dx

    def gradient_buffers(self, x: Array, need_dx: bool, memory: Memory) -> dict[str, Any]:
        """Return the output buffers dx, dweight and dbias for a kernel."""
        kernel = self.params["kernel"].shape
        dx = x.shape if need_dx else None
        return memory.out(self, dx=dx, dweight=kernel, dbias=kernel[-1:])

    def set_gradients(self, dweight: Array, dbias: Array) -> None:
        """Set `grads` to a kernel's results."""
        self.grads = {"kernel": dweight, "bias": dbias} if self.use_bias else {"kernel": dweight}

    def _weights(self, kernel_shape: Shape) -> dict[str, Shape]:
        return {"kernel": kernel_shape, **({"bias": kernel_shape[-1:]} if self.use_bias else {})}

    def initial(self, name: str, shape: Shape) -> str:
        return self.kernel_initializer if name == "kernel" else self.bias_initializer

    def _prepare(self) -> None:
        self.activation.name = f"{self.name}/{self.activation.activation}"
        self.activation.build(
            self.output_shape, rng=self.rng, dtype=self.dtype, kernels=self.kernels
        )

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return self.activation._forward(self.transform(x, memory), training, memory)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        dz = self.activation._backward(dy, True, memory)
        assert dz is not None
        return self.transform_backward(dz, need_dx, memory)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": self.activation.activation,
            "kernel_initializer": initializers.config(self.kernel_initializer),
            "bias_initializer": initializers.config(self.bias_initializer),
        }


class Dense(Linear):
    """y = activation(x @ kernel + bias): every unit is connected to every input.

    x (N,D), kernel (D,U), bias (U,) -> y (N,U), U = `units`; raises ShapeError for images, which
    need a `Flatten` first. Arguments as in Keras; source: keras/src/layers/core/dense.py.
    """

    operation = "dense"

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | dict[str, Any] = "glorot_uniform",
        bias_initializer: str | dict[str, Any] = "zeros",
        kernel_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
            **options,
        )  # fmt: skip
        self.units = integer(units, "Dense: units")
        self.equation = f"y = x @ kernel{' + bias' * self.use_bias}"

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        if len(input_shape) != 1:
            raise ShapeError(
                f"{self.name}: input of shape (N, {sizes(input_shape)}), expected (N, features); "
                "put a Flatten() before it"
            )
        return (self.units,), self._weights((input_shape[0], self.units))


class Conv2D(Linear):
    """y = activation(x * kernel + bias): every filter slides over the image.

    x (N,H,W,C), kernel (KH,KW,C,F), bias (F,) -> y (N,OH,OW,F), F = `filters`. `strides` and
    `dilation_rate` in pixels (only one of them over 1, as in Keras), `padding` "valid" or "same".
    Raises ShapeError if the input is not an image or is smaller than the window.
    Source: keras/src/layers/convolutional/base_conv.py.
    """

    operation = "conv2d"

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        *,
        dilation_rate: int | tuple[int, int] = (1, 1),
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | dict[str, Any] = "glorot_uniform",
        bias_initializer: str | dict[str, Any] = "zeros",
        kernel_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
            **options,
        )  # fmt: skip
        self.filters = integer(filters, "Conv2D: filters")
        self.kernel_size = pair(kernel_size, "Conv2D: kernel_size")
        self.strides = pair(strides, "Conv2D: strides")
        self.dilation_rate = pair(dilation_rate, "Conv2D: dilation_rate")
        self.padding = one_of(padding, ("valid", "same"), "Conv2D padding")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"Conv2D: strides={strides!r} with dilation_rate={dilation_rate!r}, "
                "expected only one of them over 1"
            )
        bias = " + bias[f]" * self.use_bias
        self.equation = f"y[n,h,w,f] = sum_kh,kw,c x[n,h+kh,w+kw,c] kernel[kh,kw,c,f]{bias}"

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        window, C = self._window(input_shape)
        weights = self._weights((*self.kernel_size, C, self.filters))
        return (window.OH, window.OW, self.filters), weights

    def _prepare(self) -> None:
        super()._prepare()
        self.window, _ = self._window(self.input_shape)
        self.arguments = (self.window,)

    def _window(self, shape: Shape) -> tuple[Window, int]:
        return window_over(
            shape, self.name, self.kernel_size, self.strides, self.padding, self.dilation_rate
        )
