"""Four small networks for MNIST, ready to train, and the options that choose and train one.

Shared by `examples/train_mnist.py` and `python -m nanocnn train`.
"""

import webbrowser
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .arrays import Array
from .errors import unknown
from .history import History
from .kernels import KERNEL_SETS
from .layers import Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D
from .losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from .optimizers import OPTIMIZERS
from .sequential import Sequential


def lenet() -> list[Layer]:
    """LeNet as many courses have it: two 5x5 convolutions, each pooled, and 500 hidden units."""
    return [
        Input((28, 28, 1)),
        Conv2D(20, 5, padding="same", activation="relu"),
        MaxPooling2D(2),
        Conv2D(50, 5, padding="same", activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(500, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def simple() -> list[Layer]:
    """One 3x3 convolution."""
    return [
        Input((28, 28, 1)),
        Conv2D(32, 3, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dropout(0.2),
        Dense(128, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def dropout() -> list[Layer]:
    """Two 3x3 convolutions before the pooling, and much dropout."""
    return [
        Input((28, 28, 1)),
        Conv2D(32, 3, activation="relu"),
        Conv2D(64, 3, activation="relu"),
        MaxPooling2D(2),
        Dropout(0.25),
        Flatten(),
        Dense(128, activation="relu"),
        Dropout(0.5),
        Dense(10, activation="softmax"),
    ]


def two_block() -> list[Layer]:
    """Two 3x3 convolutions, each pooled."""
    return [
        Input((28, 28, 1)),
        Conv2D(32, 3, activation="relu"),
        MaxPooling2D(2),
        Conv2D(64, 3, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(64, activation="relu"),
        Dense(10, activation="softmax"),
    ]


class Preset(NamedTuple):
    """A network, how it is trained, and the name under which the model is saved."""

    layers: Callable[[], list[Layer]]
    file: str
    optimizer: str = "adam"
    epochs: int = 10
    one_hot: bool = False


PRESETS = {
    "lenet": Preset(lenet, "mnist_LeNet.h5"),
    "simple": Preset(simple, "mnist_simple.h5", epochs=8),
    "dropout": Preset(dropout, "cnn_model.h5", optimizer="rmsprop"),
    "two-block": Preset(two_block, "mnist_two_block.h5", one_hot=True),
}


def build(
    name: str = "lenet",
    seed: int = 0,
    kernels: str = "fast",
    dtype: str = "float32",
    optimizer: str | None = None,
) -> Sequential:
    """The preset called `name`, compiled; `optimizer` takes the place of its own."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    preset = PRESETS[name]
    model = Sequential(preset.layers(), seed, dtype, kernels, name)
    loss = "categorical_crossentropy" if preset.one_hot else "sparse_categorical_crossentropy"
    model.compile(optimizer or preset.optimizer, loss, ["accuracy"])
    return model


def labels_for(model: Sequential, digits: Array) -> Array:
    """The class numbers `digits` (N,) as the model's loss wants them: one-hot (N,10) or as is."""
    if isinstance(model.loss, CategoricalCrossentropy) and not isinstance(
        model.loss, SparseCategoricalCrossentropy
    ):
        return np.eye(model.output_shape[-1], dtype=np.uint8)[digits]
    return digits


DATA_HELP = (
    "where the four MNIST files are; without it: $NANOCNN_DATA, the cache, a download, or 5,000 "
    "digits that come with nanocnn"
)


def add_options(parser: ArgumentParser) -> None:
    """The options of training a preset."""
    add = parser.add_argument
    add("--model", choices=PRESETS, default="simple", help="the network (default: simple)")
    add("--data", metavar="FOLDER", help=DATA_HELP)
    add("--epochs", type=int, help="passes over the training images (default: the preset's)")
    add("--batch-size", type=int, default=128, help="images a step (default: 128)")
    add("--optimizer", type=str.lower, choices=[name.lower() for name in OPTIMIZERS],
        help="default: the preset's")  # fmt: skip
    add("--seed", type=int, default=0, help="decides everything random (default: 0)")
    add("--kernels", choices=KERNEL_SETS, default="fast", help="compiled, or NumPy to read")
    add("--out", metavar="FOLDER", help="where results go (default: results/MODEL)")
    add("--resume", action="store_true", help="go on from the last checkpoint in --out")
    add("--require-accuracy", type=float, metavar="A", help="exit 1 if test accuracy is below A")
    add("--show", action="store_true", help="open the pictures at the end")


def draw(
    model: Sequential, history: History, x: Array, digits: Array, folder: Path, show: bool = False
) -> list[Path]:
    """Write the pictures of a training, of test images `x` and their true `digits`; their files."""
    from . import plots

    predictions = model.predict(x)
    some = np.random.default_rng(model.seed).choice(len(x), min(40, len(x)), replace=False)
    figures = {
        "training_curves.png": plots.training_curves(history),
        "predictions.png": plots.prediction_grid(x[some], digits[some], predictions[some]),
        "confusion_matrix.png": plots.confusion_matrix(digits, predictions),
        "filters.png": plots.filters(model),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name)
        if show:
            webbrowser.open((folder / name).resolve().as_uri())
    return [folder / name for name in figures]
