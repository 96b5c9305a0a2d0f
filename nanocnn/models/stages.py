"""Stages: one or more layers that run as one, with the forward and backward of a layer."""

from ..common.arrays import Array
from ..kernels import ability
from ..kernels.memory import Memory
from ..layers import Conv2D, Dropout, Layer, MaxPooling2D
from ..layers.augmentation import Warp, transform, transform_backward
from ..layers.linear import Linear


class Stage:
    """One or more layers that run as one; this class runs a single layer as it is."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.name = "+".join(layer.name for layer in layers)

    def forward(self, x: Array, training: bool, memory: Memory) -> Array:
        """The output of the stage's last layer for the input of its first."""
        return self.layers[0].run_forward(x, training, memory)

    def backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        """dL/dx of the last forward with this memory; fills the layers' `grads`."""
        return self.layers[0].run_backward(dy, need_dx, memory)

    def kernel(self) -> str:
        """What runs, in a few words."""
        layer = self.layers[0]
        if layer.is_custom:
            return f"{type(layer).__name__}, its own methods"
        if isinstance(layer, Conv2D) and ability(layer.kernels, "chooses"):
            return f"Conv2D: {chosen(layer)}"
        return type(layer).__name__


class LinearPart(Stage):
    """A Dense or Conv2D layer without its activation, which the loss computes."""

    layers: tuple[Linear]

    def forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return self.layers[0].transform(x, memory)

    def backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return self.layers[0].transform_backward(dy, need_dx, memory)


class LinearRelu(Stage):
    """Dense or Conv2D with ReLU, which is applied while the sums are still in registers."""

    layers: tuple[Linear]

    def forward(self, x: Array, training: bool, memory: Memory) -> Array:
        y = self.layers[0].transform(x, memory, relu=True)
        memory.save(self, y)
        return y

    def backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        (y,) = memory.saved(self)
        return self.layers[0].transform_backward(dy, need_dx, memory, relu_output=y)

    def kernel(self) -> str:
        layer = self.layers[0]
        choice = f": {chosen(layer)}" if isinstance(layer, Conv2D) else ""
        return f"{type(layer).__name__}, ReLU{choice}"


class ConvReluPool(Stage):
    """Convolution, ReLU and 2x2 max-pooling in one pass; backward visits only the maxima."""

    layers: tuple[Conv2D, MaxPooling2D]

    def forward(self, x: Array, training: bool, memory: Memory) -> Array:
        y, argmax = self._run(x, training, memory)
        memory.save(self, x, argmax)
        return y

    def _run(self, x: Array, want_argmax: bool, memory: Memory) -> tuple[Array, Array | None]:
        conv, pool = self.layers
        shape = (len(x), *pool.output_shape)
        out = memory.out(self, y=shape, argmax=shape if want_argmax else None)
        y, argmax = conv.kernels.conv2d_relu_pool_forward(
            x, conv.params["kernel"], conv.bias, conv.window, pool.window,
            want_argmax=want_argmax, **out,
        )  # fmt: skip
        return y, argmax

    def backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        conv, pool = self.layers
        x, argmax = memory.saved(self)
        if argmax is None:  # inference saves none; only a gradient check runs backward from it
            _, argmax = self._run(x, True, memory)
        out = conv.gradient_buffers(x, need_dx, memory)
        dx, dweight, dbias = conv.kernels.conv2d_relu_pool_backward(
            dy, x, conv.params["kernel"], argmax, conv.window, pool.window, need_dx, **out
        )
        conv.set_gradients(dweight, dbias)
        return dx

    def kernel(self) -> str:
        return f"Conv2D, ReLU, pool: {chosen(self.layers[0], pooled=True)}"


class Augmentation(Stage):
    """Random transforms of images, composed to one."""

    layers: tuple[Warp, ...]

    def forward(self, x: Array, training: bool, memory: Memory) -> Array:
        return transform(self, self.layers, x, training, memory)

    def backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return transform_backward(self, self.layers, dy, memory)

    def kernel(self) -> str:
        return "one map of each image, in training"


class InPlaceDropout(Stage):
    """A stage and the dropout of its output, which needs no other buffer.

    The ReLU in it keeps its output: where dropout makes that 0, the gradient is 0 too.
    """

    def __init__(self, stage: Stage, *others: Layer) -> None:
        super().__init__(*stage.layers, *others)
        self.stage, self.others = stage, others

    def forward(self, x: Array, training: bool, memory: Memory) -> Array:
        y = self.stage.forward(x, training, memory)
        for layer in self.others:
            if isinstance(layer, Dropout):
                y = layer._forward(y, training, memory, out=y)
            else:
                y = layer._forward(y, training, memory)
        return y

    def backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        d: Array | None = dy
        for layer in reversed(self.others):
            assert d is not None
            if isinstance(layer, Dropout):
                d = layer._backward(d, True, memory, out=d)
            else:
                d = layer._backward(d, True, memory)
        assert d is not None
        return self.stage.backward(d, need_dx, memory)

    def kernel(self) -> str:
        return f"{self.stage.kernel()}, dropout"


def chosen(conv: Conv2D, pooled: bool = False) -> str:
    """The algorithm of each of a convolution's three products."""
    choice = conv.kernels.choose(conv.window, conv.input_shape[2], conv.filters, pooled)
    return f"{choice.forward} / {choice.dweight} / {choice.dx}"
