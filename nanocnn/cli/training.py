"""Training a preset: options, checks, resuming and pictures.

Shared by `python -m nanocnn train` and `examples/train_mnist.py`.
"""

import hashlib
import shlex
import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common import processes
from ..common.arrays import Array
from ..common.config import serialize
from ..common.files import check_writable
from ..common.terminal import say
from ..common.validate import integer, number
from ..kernels import KERNEL_SETS
from ..models import Sequential, load_model
from ..models.history import History
from ..optimizers import OPTIMIZERS
from ..presets import PRESETS, end_with
from .digits import is_compiled

DATA_HELP = (
    "folder with the four MNIST files (default: $NANOCNN_DATA, the cache, a download, or the 5,000 "
    "digits that come with nanocnn)"
)
KERNELS_HELP = "fast: compiled; reference: plain NumPy, easy to read (default: fast)"


# fmt: off
def add_options(parser: ArgumentParser) -> None:
    """Add the options of training a preset."""
    add = parser.add_argument
    add("--model", choices=PRESETS, help="the network (default: simple, or the checkpoint's)")
    add("--data", metavar="FOLDER", help=DATA_HELP)
    add("--epochs", type=int, metavar="N",
        help="passes over the training set, including those before --resume (default: the "
        "preset's)")
    add("--batch-size", type=int, default=128, metavar="N", help="images per step (default: 128)")
    names = [name.lower() for name in OPTIMIZERS]
    add("--shards", type=int, metavar="S",
        help="cut each batch into S parts, computed one after the other or by the processes of "
        "mpiexec (default: one for each process)")
    add("--optimizer", type=str.lower, choices=names,
        help="how weights are updated (default: the preset's, or the checkpoint's)")
    add("--seed", type=int, metavar="N",
        help="seed of all random numbers (default: 0, or the checkpoint's)")
    add("--kernels", choices=KERNEL_SETS, default="fast", help=KERNELS_HELP)
    add("--out", metavar="FOLDER", help="where results are written (default: results/MODEL)")
    add("--resume", action="store_true",
        help="continue from the checkpoint in --out, with its network, optimizer and seed")
    add("--require-accuracy", type=float, metavar="A",
        help="exit with code 1 if the test accuracy is below A, a number from 0 to 1")
    add("--show", action="store_true", help="open the pictures at the end")
# fmt: on


class Run(NamedTuple):
    """A training run that can start: its model, its last epoch, and the files it writes."""

    model: Sequential
    epochs: int
    checkpoint: Path
    file: Path


def begin(options: Namespace, build: Callable[..., Sequential]) -> Run:
    """Build the network that `options` ask for or, with --resume, load the last checkpoint.

    build  called as presets.build: build(name, seed, kernels=..., optimizer=...); the checkpoint
           must hold the network that it makes

    Checks all options, before any data are read. Raises ValueError for one that is wrong or
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
        model = _resume(options, checkpoint, build)
    else:
        seed = 0 if options.seed is None else options.seed
        model = build(
            options.model or "simple", seed, kernels=options.kernels, optimizer=options.optimizer
        )
    preset = PRESETS[model.name]
    epochs = preset.epochs if options.epochs is None else options.epochs
    done = integer(model.progress.get("epoch", 0), f"{checkpoint}: epoch", 0)
    if epochs <= done:
        default = " (the default)" if options.epochs is None else ""
        raise ValueError(
            f"--resume: {checkpoint} was saved after epoch {done}, expected --epochs {done + 1} or "
            f"more, got {epochs}{default}"
        )
    for path in (checkpoint, out / preset.file) if processes.first else ():
        try:
            check_writable(path)
        except OSError as error:
            why = f"{path} is a folder" if path.is_dir() else error.strerror or error
            raise OSError(
                f"--out {out}: cannot be written: {why}; choose another folder"
            ) from error
    return Run(model, epochs, checkpoint, out / preset.file)


def _resume(options: Namespace, checkpoint: Path, build: Callable[..., Sequential]) -> Sequential:
    """The model in `checkpoint`, which must be an unchanged preset and agree with the options."""
    if not checkpoint.exists():
        raise FileNotFoundError(
            f"--resume: No such file or directory: '{checkpoint}'; it is written after each epoch: "
            "start without --resume"
        )
    model = load_model(checkpoint, kernels=options.kernels)
    if options.model not in (None, model.name):
        raise ValueError(
            f"--resume: {checkpoint} holds {model.name!r}, not {options.model!r}: omit --model, "
            "choose another --out, or start again without --resume"
        )
    if model.name not in PRESETS or not _same(model, build(model.name, kernels=options.kernels)):
        raise ValueError(
            f"--resume: {checkpoint} holds a model {model.name!r} that differs from the preset, "
            f"expected one of {', '.join(PRESETS)}, unchanged; continue training it with model.fit"
        )
    optimizer = type(model.optimizer).__name__.lower()
    for name, asked, has in (
        ("optimizer", options.optimizer, optimizer),
        ("seed", options.seed, model.seed),
    ):
        if asked not in (None, has):
            raise ValueError(
                f"--resume: {checkpoint} was trained with {name} {has}, not {asked}: omit "
                f"--{name}, or start again without --resume"
            )
    return model


def _same(model: Sequential, preset: Sequential) -> bool:
    """Whether `model` is the preset's network, of any seed, compiled with any optimizer."""
    config, expected = ({**each.get_config(), "seed": 0} for each in (model, preset))
    return (
        config == expected
        and is_compiled(model)
        and serialize(model.loss) == serialize(preset.loss)
        and list(model.metrics) == list(preset.metrics)
    )


def writes_results() -> bool:
    """Whether this process is alone, or the first of those that have trained the model."""
    return processes.first


def check_steps(model: Sequential, images: int, batch_size: int, epochs: int) -> None:
    """Let a one-cycle learning rate end with the last epoch.

    Prints a note if the checkpoint's epochs had other steps: another batch size or other data.
    """
    epoch, steps = model.progress.get("epoch", 0), -(-images // batch_size)
    end_with(model, epochs * steps)
    made = model.optimizer.iterations
    if made != epoch * steps:
        say(
            f"--resume: the checkpoint made {made:,} steps in {epoch} epochs, but an epoch now has "
            f"{steps:,}: batch size or data differ, so the result will differ from that of one "
            "uninterrupted run"
        )


@contextmanager
def resume_hint(model: Sequential, *program: str) -> Iterator[None]:
    """After Ctrl-C in this block, print the command that resumes, if there is a checkpoint.

    program  the words that started it, such as "python", "train.py"
    """
    try:
        yield
    except KeyboardInterrupt:
        if model.progress.get("epoch"):
            arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
            say(f"to resume: {shlex.join([*program, *arguments])} --resume")
        raise


def draw(
    model: Sequential, history: History, x: Array, digits: Array, folder: Path, show: bool = False
) -> list[Path]:
    """Write pictures of a training run to `folder` and return their paths.

    x, digits  test images and their true labels
    show       open the pictures, too
    """
    from .. import plots

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


def weights_hash(model: Sequential) -> str:
    """SHA-256, in hexadecimal, of the weights' bytes in Keras's order: two trainings compared."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def end(run: Run, pictures: list[Path], accuracy: float, required: float | None) -> int:
    """Print what came of it, weights and files; the exit code, 1 if `accuracy` < `required`."""
    print(f"weights: SHA-256 {weights_hash(run.model)}")
    names = ", ".join(path.name for path in (run.file, run.checkpoint, *pictures))
    print(f"in {run.file.parent}: {names}")
    if required is not None and accuracy < required:
        print(f"test accuracy {accuracy:.4f} is below {required}", file=sys.stderr)
        return 1
    return 0
