"""The command line: nanocnn train|evaluate|predict|inspect|gradcheck|bench|doctor."""

import os
import platform
import shlex
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import nanocnn

from . import gradcheck, presets
from .answers import RAW_HELP, answers, check_shapes, is_compiled, measure, open_model
from .callbacks import ModelCheckpoint
from .common.arrays import Array
from .common.tables import table
from .common.terminal import say
from .common.validate import integer, number
from .data import mnist
from .doctor import report
from .jit import threads
from .kernels import KERNEL_SETS
from .losses import CategoricalCrossentropy
from .models.sequential import Sequential


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, 1 (a check failed), 2 (bad input) or 130 (Ctrl-C)."""
    options = parser().parse_args(arguments)
    try:
        run: Callable[[Namespace], int] = options.run
        code = run(options)
        print(end="", flush=True)
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the rest, written at the exit, has no reader
        return 1
    except (OSError, ValueError, ImportError, MemoryError) as error:
        complain(options, error)
        return 2


def complain(options: Namespace, error: BaseException) -> None:
    """Print what is wrong, in one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.strerror}: {error.filename!r}"
    text = " ".join((text or type(error).__name__).split())
    print(f"nanocnn {options.command}: {text}", file=sys.stderr)


def program() -> str:
    """How this was started: by the command that pip installs, or as a module."""
    return "nanocnn" if Path(sys.argv[0]).stem == "nanocnn" else "python -m nanocnn"


def parser() -> ArgumentParser:
    """All commands and their options."""
    top = ArgumentParser(
        prog=program(),
        description="A small, fast convolutional network engine on NumPy and numba.",
        epilog=f"{program()} COMMAND --help tells more about a command. To begin: {program()} "
        f"train, then {program()} predict results/simple/mnist_simple.h5 PHOTO.png",
    )
    top.add_argument("--version", action="version", version=f"nanocnn {nanocnn.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run: Callable[[Namespace], int], help: str, model: str = "") -> ArgumentParser:
        sub = commands.add_parser(run.__name__, help=help, description=run.__doc__)
        sub.set_defaults(run=run)
        if model:
            sub.add_argument("model", metavar="MODEL", help=model)
            sub.add_argument(
                "--kernels", choices=KERNEL_SETS, default="fast", help=presets.KERNELS_HELP
            )
        return sub

    saved = "a saved model: .npz, .h5 or .keras"
    presets.add_options(command(train, "train a network on MNIST"))
    sub = command(evaluate, "loss and accuracy of a saved model on MNIST's test images", saved)
    sub.add_argument("--data", metavar="FOLDER", help=presets.DATA_HELP)
    sub.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    sub = command(predict, "which digit is in a photo or scan", saved)
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="a PNG, JPEG, BMP or GIF file")
    sub.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    command(inspect, "what is in a saved model", saved)
    either = f"a saved model, or one of {', '.join(presets.PRESETS)}"
    command(check, "are the gradients of every layer right?", either)
    sub = command(bench, "how fast is training on this machine")
    sub.add_argument("model", metavar="MODEL", nargs="?", choices=presets.PRESETS, default="lenet",
                     help=f"one of {', '.join(presets.PRESETS)} (default: lenet)")  # fmt: skip
    sub.add_argument(
        "--batch-size", type=int, default=128, metavar="N", help="images a step (default: 128)"
    )
    sub.add_argument("--seconds", type=float, default=5, metavar="S",
                     help="for each kernel set in each row (default: 5)")  # fmt: skip
    command(doctor, "what a bug report should contain: versions, processor, caches")
    return top


def train(options: Namespace) -> int:
    """Train a network on MNIST; writes the model, a checkpoint and pictures into --out.

    The same as examples/train_mnist.py, which is written to be read.
    """
    run = presets.begin(options)
    model, out = run.model, run.file.parent
    (x, y), (x_test, y_test) = mnist.load(options.data)
    model.summary()
    presets.check_steps(run, len(x), options.batch_size)
    y_true = presets.labels_for(model, y_test)
    checkpoints = ModelCheckpoint(run.checkpoint)
    try:
        history = model.fit(
            x,
            presets.labels_for(model, y),
            batch_size=options.batch_size,
            epochs=run.epochs,
            validation_data=(x_test, y_true),
            callbacks=[checkpoints],
            initial_epoch=model.progress.get("epoch", 0),
        )
    except KeyboardInterrupt:
        again = [argument for argument in sys.argv[1:] if argument != "--resume"]
        if options.resume or checkpoints.saved:
            print(f"to go on: {program()} {shlex.join(again)} --resume")
        raise
    loss, accuracy = model.evaluate(x_test, y_true)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")
    model.save(run.file)
    pictures = presets.draw(model, history, x_test, y_test, out, options.show)
    written = (run.file, run.checkpoint, *pictures)
    print(f"in {out}: {', '.join(path.name for path in written)}")
    if options.require_accuracy is not None and accuracy < options.require_accuracy:
        print(f"test accuracy {accuracy:.4f} is below {options.require_accuracy}", file=sys.stderr)
        return 1
    return 0


def evaluate(options: Namespace) -> int:
    """Print loss, accuracy and the other metrics of a saved model on MNIST's test images.

    Accuracy is the share of images whose label has the largest output, whatever metrics the model
    was compiled with. If the model has no loss, or optimizer, loss or metrics are unknown to
    nanocnn, accuracy alone is printed.
    """
    model, why = open_model(options.model, options.kernels)
    check_shapes(model, classes=10)
    _, (x, y) = mnist.load(options.data)
    if why:
        print(f"accuracy alone, without optimizer, loss and metrics: {why}")
    elif not is_compiled(model):
        print("accuracy alone: the model was saved without a loss")
    measured = measure(model, x, y, options.raw_pixels)
    loss = f"test loss {measured.pop('loss'):.4f}, " if "loss" in measured else ""
    print(f"{loss}test accuracy {measured.pop('accuracy'):.2%}")
    for name, value in measured.items():
        print(f"test {name} {value:.4f}")
    return 0


def predict(options: Namespace) -> int:
    """Print the digit in each photo or scan, its probability, and the runners-up.

    Images without a digit, or with several, are reported and skipped; the exit code is then 2.
    Logits are turned into probabilities if the model's loss has from_logits=True; other outputs
    that are no probabilities are printed as plain numbers.
    """
    from .data.photo import read_digit

    digits = []
    for image in options.images:
        try:
            digits.append((image, read_digit(image)))
        except (OSError, ValueError) as error:
            complain(options, error)
    if digits:
        names, images = zip(*digits, strict=True)
        model, _ = open_model(options.model, options.kernels)
        for name, answer in zip(
            names, answers(model, np.stack(images), options.raw_pixels), strict=True
        ):
            print(f"{name}: {answer}")
    return 0 if len(digits) == len(options.images) else 2


def inspect(options: Namespace) -> int:
    """Print a saved model's layers, the stages it runs in, and statistics of its weights."""
    model, why = open_model(options.model, options.kernels)
    model.summary()
    print(f"\n{model.plan()}\n")
    rows = [("weights", "shape", "mean", "deviation", "smallest", "largest")]
    for name, array in model.weights.items():
        rows.append((name, str(array.shape), f"{array.mean():+.4f}", f"{array.std():+.4f}",
                     f"{array.min():+.4f}", f"{array.max():+.4f}"))  # fmt: skip
    print(table(rows))
    if is_compiled(model):
        optimizer, loss = type(model.optimizer).__name__, type(model.loss).__name__
        print(f"\ncompiled with {optimizer} and {loss}, {model.optimizer.iterations:,} steps made")
    else:
        print(f"\nnot compiled: {why or 'saved without optimizer, loss and metrics'}")
    for name, values in model.progress.get("history", {}).items():
        if values:
            print(f"{name} after {len(values)} epochs: {values[-1]:.4f}")
    return 0


def check(options: Namespace) -> int:
    """Compare every layer's gradients with differences of the loss, in float64; exit 1 if wrong.

    The input is one image of random pixels. A model without a loss is checked by its outputs.
    """
    if Path(options.model).suffix:
        model, _ = open_model(options.model, options.kernels)
    else:
        model = presets.build(options.model, kernels=options.kernels, dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, *model.input_shape))
    y: Array | None = None
    if is_compiled(model):
        y = rng.uniform(size=(1, *model.output_shape))
        if isinstance(model.loss, CategoricalCrossentropy):
            y = presets.labels_for(model, rng.integers(model.output_shape[-1], size=1))
    # A short step on one image: fewer of the ReLUs' corners lie within it.
    report = gradcheck.check(model, x, y, step=1e-6, limit=10)
    print(report)
    return 0 if report else 1


check.__name__ = "gradcheck"


def bench(options: Namespace) -> int:
    """Time training steps and predictions of a preset with both kernel sets, in turns.

    The fastest run counts. For comparison with PyTorch and Keras see benchmarks/ in the repository.
    """
    N = integer(options.batch_size, "batch_size")
    seconds = number(options.seconds, "seconds", lambda seconds: seconds > 0, "more than 0")
    models = {kernels: presets.build(options.model, kernels=kernels) for kernels in KERNEL_SETS}
    rng = np.random.default_rng(0)
    x, digits = rng.integers(256, size=(N, 28, 28), dtype=np.uint8), rng.integers(10, size=N)
    y = presets.labels_for(models["fast"], digits)
    tasks: dict[str, Callable[[Sequential], Any]] = {
        "training step": lambda model: model.train_on_batch(x, y),
        "prediction": lambda model: model.predict(x, N),
    }
    print(
        f"{options.model}, {N} images a batch, {threads.get_num_threads()} threads, "
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    )
    rows = [("", "fast", "reference", "fast is", "fast")]
    for name, task in tasks.items():
        each = {kernels: partial(task, model) for kernels, model in models.items()}
        best = _fastest(each, seconds)
        fast, reference = best["fast"], best["reference"]
        rows.append((name, f"{fast * 1e3:.2f} ms", f"{reference * 1e3:.2f} ms",
                     f"{reference / fast:.1f} times as fast",
                     f"{N / fast:,.0f} images/s"))  # fmt: skip
    print(table(rows))
    print("compared with PyTorch and Keras: python benchmarks/training.py")
    return 0


def doctor(options: Namespace) -> int:
    """Print versions, the processor, threads, caches and settings, as a bug report needs them.

    What is missing or broken is named in its row; the exit code is 0 all the same.
    """
    say(report())
    return 0


def _fastest(tasks: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The shortest time of each task, in turns, about `seconds` each; compiling is not timed."""
    best = dict.fromkeys(tasks, float("inf"))
    for task in tasks.values():
        task()
    end = time.perf_counter() + seconds * len(tasks)
    while time.perf_counter() < end:
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
