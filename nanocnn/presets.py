"""Four small networks for MNIST, ready to train, and the options that choose and train one.

Shared by `examples/train_mnist.py` and `python -m nanocnn train`.
"""

import webbrowser
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .common.arrays import Array
from .common.config import serialize
from .common.errors import unknown
from .common.files import check_writable
from .common.validate import integer, number
from .kernels import KERNEL_SETS
from .layers import Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D
from .losses import SparseCategoricalCrossentropy
from .models.history import History
from .models.sequential import Sequential, load_model
from .optimizers import OPTIMIZERS


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
    """The class numbers `digits` (N,) as the model's loss wants them: as is, or one-hot (N,K)."""
    if isinstance(model.loss, SparseCategoricalCrossentropy):
        return digits
    return np.eye(model.output_shape[-1], dtype=np.uint8)[digits]


DATA_HELP = (
    "where the four MNIST files are; without it: $NANOCNN_DATA, the cache, a download, or 5,000 "
    "digits that come with nanocnn"
)
KERNELS_HELP = "fast: compiled; reference: plain NumPy, made to be read (default: fast)"


# fmt: off
def add_options(parser: ArgumentParser) -> None:
    """The options of training a preset."""
    add = parser.add_argument
    add("--model", choices=PRESETS, help="the network (default: simple, or the checkpoint's)")
    add("--data", metavar="FOLDER", help=DATA_HELP)
    add("--epochs", type=int, metavar="N",
        help="passes over the images, those before --resume included (default: the preset's)")
    add("--batch-size", type=int, default=128, metavar="N", help="images a step (default: 128)")
    names = [name.lower() for name in OPTIMIZERS]
    add("--optimizer", type=str.lower, choices=names,
        help="how weights are updated (default: the preset's, or the checkpoint's)")
    add("--seed", type=int, metavar="N",
        help="decides everything random (default: 0, or the checkpoint's)")
    add("--kernels", choices=KERNEL_SETS, default="fast", help=KERNELS_HELP)
    add("--out", metavar="FOLDER", help="where results go (default: results/MODEL)")
    add("--resume", action="store_true",
        help="continue from the checkpoint in --out, with its network, optimizer and seed")
    add("--require-accuracy", type=float, metavar="A",
        help="exit with code 1 if the test accuracy is below A, a number from 0 to 1")
    add("--show", action="store_true", help="open the pictures at the end")
# fmt: on


class Run(NamedTuple):
    """A training that may begin: its model, the epochs it ends with, and the files it writes."""

    model: Sequential
    epochs: int
    checkpoint: Path
    file: Path


def begin(options: Namespace) -> Run:
    """The new network that `options` ask for, or with `resume` that of the last checkpoint.

    All options are checked, before the data are read. Raises ValueError for one that is wrong or
    contradicts the checkpoint, OSError for a folder that cannot be written.
    """
    integer(options.batch_size, "batch_size")
    if options.epochs is not None:
        integer(options.epochs, "epochs")
    if options.require_accuracy is not None:
        words = "from 0 to 1, such as 0.99"
        number(options.require_accuracy, "require_accuracy", lambda share: 0 <= share <= 1, words)
    out = Path(f"results/{options.model or 'simple'}" if options.out is None else options.out)
    checkpoint = out / "checkpoint.npz"
    if options.resume:
        model = _resumed(options, checkpoint)
    else:
        name, seed = options.model or "simple", 0 if options.seed is None else options.seed
        model = build(name, seed, options.kernels, optimizer=options.optimizer)
    preset = PRESETS[model.name]
    epochs = preset.epochs if options.epochs is None else options.epochs
    done = integer(model.progress.get("epoch", 0), f"{checkpoint}: epoch", 0)
    if epochs <= done:
        default = " (the default)" if options.epochs is None else ""
        raise ValueError(
            f"--resume: {checkpoint} is the end of epoch {done}, expected --epochs {done + 1} or "
            f"more, got {epochs}{default}"
        )
    for path in (checkpoint, out / preset.file):
        try:
            check_writable(path)
        except IsADirectoryError as error:
            raise IsADirectoryError(
                f"{path} is a folder, expected a file or nothing: it is written"
            ) from error
        except OSError as error:
            raise OSError(
                f"--out {out}: cannot be written: {error.strerror or error}; choose another folder"
            ) from error
    return Run(model, epochs, checkpoint, out / preset.file)


def _resumed(options: Namespace, checkpoint: Path) -> Sequential:
    """The model in `checkpoint`, which must be of a preset and what the options say."""
    if not checkpoint.exists():
        raise FileNotFoundError(
            f"--resume: No such file or directory: '{checkpoint}'; a training writes it after each "
            "epoch: start one without --resume"
        )
    model = load_model(checkpoint, options.kernels)
    if options.model not in (None, model.name):
        raise ValueError(
            f"--resume: {checkpoint} holds {model.name!r}, not {options.model!r}: leave out "
            "--model, choose another --out, or start anew without --resume"
        )
    if model.name not in PRESETS or not _same(model, build(model.name, kernels=options.kernels)):
        raise ValueError(
            f"--resume: {checkpoint} holds {model.name!r}, which is not as presets.py has it, "
            f"expected one of {', '.join(PRESETS)} as it is there; train it further with model.fit"
        )
    optimizer = type(model.optimizer).__name__.lower()
    for name, asked, has in (
        ("optimizer", options.optimizer, optimizer),
        ("seed", options.seed, model.seed),
    ):
        if asked not in (None, has):
            raise ValueError(
                f"--resume: {checkpoint} was trained with {name} {has}, not {asked}: leave out "
                f"--{name}, or start anew without --resume"
            )
    return model


def _same(model: Sequential, preset: Sequential) -> bool:
    """Whether `model` is the preset's network, of any seed, compiled with any optimizer."""
    config, expected = ({**each.get_config(), "seed": 0} for each in (model, preset))
    compiled = getattr(model, "loss", None) is not None
    return (
        config == expected
        and compiled
        and serialize(model.loss) == serialize(preset.loss)
        and list(model.metrics) == list(preset.metrics)
    )


def check_steps(run: Run, images: int, batch_size: int) -> None:
    """Say so when the epochs of a checkpoint had other steps: another batch size or other data."""
    epoch, steps = run.model.progress.get("epoch", 0), -(-images // batch_size)
    made = run.model.optimizer.iterations
    if made != epoch * steps:
        print(
            f"--resume: the checkpoint made {made:,} steps in {epoch} epochs, and an epoch has "
            f"{steps:,} now: batch size or data differ, so the result is not that of one "
            "uninterrupted training"
        )


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
