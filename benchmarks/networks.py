"""The networks of presets.py as each library builds them, and their weights.

The parity tests build theirs by the same functions: what is timed was found equal.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from presets import Layer


def keras_layers(layers: Sequence[Layer], library: Any) -> list[Any]:
    """The layers of a network in Keras or in nanocnn: `library` has the classes."""
    return [getattr(library, kind)(**options) for kind, options in layers]


def torch_layers(layers: Sequence[Layer], nn: Any) -> list[Any]:
    """The modules of a network in PyTorch, on images NCHW; it wants every input size written out.

    Where Keras pads the two sides differently, and where PyTorch's own padding counts, the padding
    is a module of its own.
    """
    activations = {
        "relu": partial(nn.ReLU, inplace=True), "softmax": partial(nn.Softmax, dim=1),
        "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "linear": nn.Identity, "elu": nn.ELU,
        "gelu": nn.GELU, "leaky_relu": partial(nn.LeakyReLU, 0.2),
    }  # fmt: skip
    modules: list[Any] = []
    *size, C = layers[0][1]["shape"]
    for kind, options in layers[1:]:
        if kind in ("Conv2D", "MaxPooling2D", "AveragePooling2D"):
            conv = kind == "Conv2D"
            kernel = pair(options["kernel_size"] if conv else options.get("pool_size", 2))
            strides = pair(options.get("strides") or (1 if conv else kernel))
            dilation = pair(options.get("dilation_rate", 1))
            padding = options.get("padding", "valid")
            sides, size = padded(size, kernel, strides, padding, dilation)
        match kind:
            case "Conv2D":
                both = all(before == after for before, after in sides)
                if not both:
                    modules.append(nn.ZeroPad2d((*sides[1], *sides[0])))
                modules.append(
                    nn.Conv2d(
                        C, options["filters"], kernel, strides,
                        (sides[0][0], sides[1][0]) if both else 0, dilation,
                        bias=options.get("use_bias", True),
                    )
                )  # fmt: skip
                C = options["filters"]
            case "MaxPooling2D":
                if padding == "same":
                    modules.append(nn.ConstantPad2d((*sides[1], *sides[0]), -math.inf))
                modules.append(nn.MaxPool2d(kernel, strides))
            case "AveragePooling2D":
                modules.append(average_pool(nn, kernel, strides, (*sides[1], *sides[0])))
            case "BatchNormalization":
                norm = nn.BatchNorm2d if size else nn.BatchNorm1d
                modules.append(
                    norm(C, options.get("epsilon", 1e-3), 1 - options.get("momentum", 0.99))
                )
                modules[-1].weight.requires_grad_(options.get("scale", True))
                modules[-1].bias.requires_grad_(options.get("center", True))
            case "Dropout":
                modules.append(nn.Dropout(options["rate"]))
            case "LeakyReLU":
                modules.append(nn.LeakyReLU(options["negative_slope"]))
            case "ZeroPadding2D":
                (top, bottom), (left, right) = options["padding"]
                modules.append(nn.ZeroPad2d((left, right, top, bottom)))
                size = [size[0] + top + bottom, size[1] + left + right]
            case "GlobalAveragePooling2D":
                modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
                size = []
            case "Flatten":
                modules.append(nn.Flatten())
                C, size = C * math.prod(size), []
            case "Dense":
                modules.append(nn.Linear(C, options["units"], options.get("use_bias", True)))
                C = options["units"]
        if options.get("activation"):
            modules.append(activations[options["activation"]]())
    return modules


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def padded(
    size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: str,
    dilation: Sequence[int],
) -> tuple[list[tuple[int, int]], list[int]]:  # fmt: skip
    """How Keras pads an image: (top, bottom) and (left, right), and the size that comes out."""
    sides, out = [], []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        extent = (k - 1) * d + 1
        total = max((-(-n // s) - 1) * s + extent - n, 0) if padding == "same" else 0
        sides.append((total // 2, total - total // 2))
        out.append((n + total - extent) // s + 1)
    return sides, out


def average_pool(nn: Any, kernel: Any, strides: Any, sides: tuple[int, ...]) -> Any:
    """The mean of what lies inside the image, as in Keras."""
    pad, pool = nn.ZeroPad2d(sides), nn.AvgPool2d(kernel, strides)

    class AveragePool(nn.Module):
        def forward(self, x: Any) -> Any:
            inside = x.new_ones((1, 1, *x.shape[2:]))
            return pool(pad(x)) / pool(pad(inside))

    return AveragePool()


def torch_weights(modules: Sequence[Any], nn: Any) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Each weight in Keras's order: PyTorch's tensor and the axes that give it Keras's shape."""
    for module in modules:
        vectors = [getattr(module, "bias", None)]
        match module:
            case nn.Conv2d():
                yield module.weight, (2, 3, 1, 0)
            case nn.Linear():
                yield module.weight, (1, 0)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                trained = [p for p in module.parameters() if p.requires_grad]
                vectors = [*trained, module.running_mean, module.running_var]
        for vector in vectors:
            if vector is not None:
                yield vector, (0,)


def set_torch_weights(
    network: Any, weights: Sequence[Any], shape: tuple[int, int, int], torch: Any
) -> None:
    """Set the weights of a PyTorch network on images NCHW from arrays of a network on NHWC.

    network  nn.Sequential of `torch_layers`, in training mode again afterwards
    weights  in Keras's order and shapes
    shape    (H, W, C) of one image

    The layer behind `Flatten` gets its pixels in another order, and so its rows.
    """
    nn = torch.nn
    with torch.no_grad():
        x, flat, first = torch.zeros(1, shape[2], *shape[:2]), (), None
        network.eval()
        for module in network:
            if isinstance(module, nn.Flatten):
                flat = x.shape[1:]
            elif flat and first is None and isinstance(module, nn.Linear):
                first = module.weight
            x = module(x)
        network.train()
        for (tensor, axes), array in zip(torch_weights(network, nn), weights, strict=True):
            if tensor is first:
                C, H, W = flat
                array = array.reshape(H, W, C, -1).transpose(2, 0, 1, 3).reshape(C * H * W, -1)
            tensor.permute(axes).copy_(torch.from_numpy(array))
