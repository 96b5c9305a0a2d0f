"""The contestants: every library trains and runs the same networks, written as its own users would.

Each lives alone in a process of its own (workers.py) and offers
    fit(steps) -> loss      train on `steps` minibatches, shuffled, with loss and accuracy counted
    forms() -> {name: call} the ways to run the network on images, each on an array of NHWC
Data is float32 NHWC in [0, 1] and int64 labels; what a library wants it in is arranged beforehand.
The parity tests build their networks by `keras_layers` and `torch_layers` too: what is timed was
found equal.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from presets import Layer, Preset

Form = Callable[[Any], Any]
CONTESTANTS: dict[str, tuple[str, Callable[..., Any]]] = {}
"""Name on the command line -> (name in tables, class)."""

OURS = "nanocnn"
DEFAULT = ("nanocnn", "torch", "torch-cl", "keras", "keras-nojit")


def contestant(name: str, title: str, **settings: Any) -> Callable[[type], type]:
    """Enter a class under `name`; `settings` go to its constructor."""

    def enter(cls: type) -> type:
        CONTESTANTS[name] = (title, lambda *args: cls(*args, **settings))
        return cls

    return enter


def title(name: str) -> str:
    return CONTESTANTS[name][0]


def keras_layers(layers: Sequence[Layer], library: Any) -> list[Any]:
    """The layers of a network in Keras or in nanocnn: `library` has the classes."""
    return [getattr(library, kind)(**options) for kind, options in layers]


@contestant("nanocnn", "nanocnn")
@contestant("nanocnn-reference", "nanocnn (reference, NumPy)", kernels="reference")
class Nanocnn:
    def __init__(
        self, preset: Preset, x: Any, y: Any, batch: int, threads: int, kernels: str = "fast"
    ) -> None:
        import nanocnn

        nanocnn.set_num_threads(threads)
        self.x, self.y, self.batch = x, y, batch
        layers = keras_layers(preset.layers, nanocnn)
        self.model = nanocnn.Sequential(layers, seed=0, kernels=kernels)
        optimizer = nanocnn.Adam(1e-3) if preset.optimizer == "adam" else nanocnn.RMSprop(1e-3)
        self.model.compile(
            optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"]
        )

    def fit(self, steps: int) -> float:
        n = steps * self.batch
        history = self.model.fit(self.x[:n], self.y[:n], batch_size=self.batch, verbose=0)
        return float(history.history["loss"][-1])

    def forms(self) -> dict[str, Form]:
        return {"predict": lambda x: self.model.predict(x, batch_size=len(x))}


@contestant("keras", "Keras on TensorFlow")
@contestant("keras-nojit", "Keras on TensorFlow, no XLA", jit=False)
class Keras:
    """`jit` "auto" is Keras's default: XLA wherever the model allows it."""

    def __init__(
        self, preset: Preset, x: Any, y: Any, batch: int, threads: int, jit: Any = "auto"
    ) -> None:
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        import keras

        self.tensorflow, self.jit = tensorflow, jit == "auto"
        self.x, self.y, self.batch = x, y, batch
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential(keras_layers(preset.layers, keras.layers))
        optimizers = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
        self.model.compile(
            optimizer=optimizers[preset.optimizer](1e-3),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=jit,
        )

    def fit(self, steps: int) -> float:
        n = steps * self.batch
        history = self.model.fit(self.x[:n], self.y[:n], batch_size=self.batch, verbose=0)
        return float(history.history["loss"][-1])

    def forms(self) -> dict[str, Form]:
        call = self.tensorflow.function(
            lambda x: self.model(x, training=False), jit_compile=self.jit
        )
        return {
            "predict": lambda x: self.model.predict(x, batch_size=len(x), verbose=0),
            "compiled call": lambda x: call(self.tensorflow.constant(x)).numpy(),
        }


@contestant("torch", "PyTorch NCHW")
@contestant("torch-cl", "PyTorch channels-last, fused Adam", channels_last=True)
@contestant("torch-compile", "torch.compile, channels-last", channels_last=True, compiled=True)
class Torch:
    """Plain eager training loop; no DataLoader (it is slower), no waiting for numbers in a step."""

    def __init__(
        self,
        preset: Preset,
        x: Any,
        y: Any,
        batch: int,
        threads: int,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(0)
        self.torch, self.batch = torch, batch
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.x, self.y = self.tensor(x), torch.from_numpy(y)
        *layers, _ = torch_layers(preset.layers, torch.nn)  # the softmax is part of the loss
        self.model = torch.nn.Sequential(*layers)
        self.model.to(memory_format=self.format)
        if preset.optimizer == "adam":
            self.optimizer = torch.optim.Adam(
                self.model.parameters(), 1e-3, fused=channels_last or None
            )
        else:
            self.optimizer = torch.optim.RMSprop(self.model.parameters(), 1e-3, alpha=0.9, eps=1e-7)
        self.call = torch.compile(self.model) if compiled else self.model

    def tensor(self, x: Any) -> Any:
        return self.torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def fit(self, steps: int) -> float:
        torch = self.torch
        self.model.train()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in torch.randperm(steps * self.batch).split(self.batch):
            target = self.y[rows]
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.call(self.x[rows])
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
            correct += (logits.detach().argmax(1) == target).sum()
        self.accuracy = int(correct) / (steps * self.batch)
        return float(total) / steps

    def forms(self) -> dict[str, Form]:
        self.model.eval()

        def call(x: Any) -> Any:
            with self.torch.inference_mode():
                return self.call(self.tensor(x)).softmax(1).numpy()

        return {"call": call}


def torch_layers(layers: Sequence[Layer], nn: Any) -> list[Any]:
    """The modules of a network in PyTorch, on images NCHW; it wants every input size written out.

    Where Keras pads the two sides differently, and where PyTorch's own padding counts, the padding
    is a module of its own.
    """
    activations = {
        "relu": partial(nn.ReLU, inplace=True), "softmax": partial(nn.Softmax, dim=1),
        "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "linear": nn.Identity,
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
