"""The contestants: every library trains and runs the same networks, written as its own users would.

Each lives alone in a process of its own (workers.py) and offers
    fit(steps) -> loss      train on `steps` minibatches, shuffled, with loss and accuracy counted
    forms() -> {name: call} the ways to run the network on images, each on an array of NHWC
Data is float32 NHWC in [0, 1] and int64 labels; what a library wants it in is arranged beforehand.
"""

from collections.abc import Callable
from typing import Any

from presets import Preset

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


def keras_layers(preset: Preset, library: Any) -> list[Any]:
    """The preset by Keras's names, which are nanocnn's too; ReLU joins the layer before it."""
    layers = []
    kinds = [layer[0] for layer in preset.layers] + ["end"]
    for layer, following in zip(preset.layers, kinds[1:], strict=True):
        activation = "relu" if following == "relu" else None
        match layer:
            case ("conv", filters, size, stride, padding):
                layers.append(
                    library.Conv2D(
                        filters, size, strides=stride, padding=padding, activation=activation
                    )
                )
            case ("dense", units):
                activation = "softmax" if following == "end" else activation
                layers.append(library.Dense(units, activation=activation))
            case ("pool", size):
                layers.append(library.MaxPooling2D(size))
            case ("dropout", rate):
                layers.append(library.Dropout(rate))
            case ("flatten",):
                layers.append(library.Flatten())
            case ("batch_norm",):
                layers += [library.BatchNormalization(), library.Activation("relu")]
    return layers


@contestant("nanocnn", "nanocnn")
@contestant("nanocnn-reference", "nanocnn (reference, NumPy)", kernels="reference")
class Nanocnn:
    def __init__(
        self, preset: Preset, x: Any, y: Any, batch: int, threads: int, kernels: str = "fast"
    ) -> None:
        import nanocnn

        nanocnn.set_num_threads(threads)
        self.x, self.y, self.batch = x, y, batch
        layers = [nanocnn.Input(preset.shape), *keras_layers(preset, nanocnn)]
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
        self.model = keras.Sequential(
            [keras.Input(preset.shape), *keras_layers(preset, keras.layers)]
        )
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
        self.model = torch.nn.Sequential(*torch_layers(preset, torch.nn))
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


def torch_layers(preset: Preset, nn: Any) -> list[Any]:
    """The preset as PyTorch modules; PyTorch wants every input size written out."""
    layers = []
    H, W, C = preset.shape
    D = 0
    for layer in preset.layers:
        match layer:
            case ("conv", filters, (KH, KW), stride, padding):
                pad = (KH // 2, KW // 2) if padding == "same" else (0, 0)
                layers.append(nn.Conv2d(C, filters, (KH, KW), stride, pad))
                C = filters
                H = (H + 2 * pad[0] - KH) // stride + 1
                W = (W + 2 * pad[1] - KW) // stride + 1
            case ("pool", size):
                layers.append(nn.MaxPool2d(size))
                H, W = H // size, W // size
            case ("relu",):
                layers.append(nn.ReLU(inplace=True))
            case ("batch_norm",):
                layers.append(nn.BatchNorm2d(C, eps=1e-3, momentum=0.01))
            case ("dropout", rate):
                layers.append(nn.Dropout(rate))
            case ("flatten",):
                layers.append(nn.Flatten())
                D = H * W * C
            case ("dense", units):
                layers.append(nn.Linear(D, units))
                D = units
    return layers
