"""The commands, one function each: it takes the parsed options and returns the exit code."""

import platform
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import gradcheck, presets
from ..callbacks import ModelCheckpoint
from ..common.arrays import Array
from ..common.tables import table
from ..common.terminal import say
from ..common.validate import integer, number
from ..data import mnist
from ..doctor import report
from ..jit import threads
from ..kernels import KERNEL_SETS
from ..losses import CategoricalCrossentropy
from ..models import Sequential, load_model
from . import digits, program, training


def train(options: Namespace) -> int:
    """Train a network on MNIST; write the model, a checkpoint and pictures to --out.

    examples/train_mnist.py does the same and is written to be read.
    """
    run = training.begin(options, presets.build)
    model = run.model
    (x, y), (x_test, y_test) = mnist.load(options.data)
    model.summary()
    training.check_steps(model, len(x), options.batch_size, run.epochs)
    y, y_true = presets.labels_for(model, y), presets.labels_for(model, y_test)
    with training.resume_hint(model, *program.started_as().split()):
        history = model.fit(
            x, y, options.batch_size, run.epochs, validation_data=(x_test, y_true),
            callbacks=[*presets.callbacks(model, run.epochs), ModelCheckpoint(run.checkpoint)],
            initial_epoch=model.progress.get("epoch", 0), shards=options.shards,
        )  # fmt: skip
    if not training.writes_results():
        return 0
    loss, accuracy = model.evaluate(x_test, y_true)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")
    model.save(run.file)
    pictures = training.draw(model, history, x_test, y_test, run.file.parent, options.show)
    return training.end(run, pictures, accuracy, options.require_accuracy)


def evaluate(options: Namespace) -> int:
    """Print loss, accuracy and the other metrics of a saved model on MNIST's test images.

    Accuracy is the share of images whose label has the largest output, whatever metrics the model
    was compiled with. Only accuracy is printed if the model has no loss, or if nanocnn does not
    know its optimizer, loss or metrics.
    """
    model = load_model(options.model, kernels=options.kernels)
    digits.check_input(model)
    digits.check_output(model, classes=10)
    _, (x, y) = mnist.load(options.data)
    if not digits.is_compiled(model):
        print("accuracy only: the model has no loss")
    measured = digits.measure(model, x, y, options.raw_pixels)
    loss = f"test loss {measured.pop('loss'):.4f}, " if "loss" in measured else ""
    print(f"{loss}test accuracy {measured.pop('accuracy'):.2%}")
    for name, value in measured.items():
        print(f"test {name} {value:.4f}")
    return 0


def predict(options: Namespace) -> int:
    """Print the digit in each photo or scan, its probability, and the next most likely digits.

    Images without a digit, or with several, are reported and skipped; the exit code is then 2.
    Logits are converted to probabilities if the model's loss has from_logits=True. Outputs that
    are not probabilities are printed as plain numbers.
    """
    names, images = digits.read_digits(options.images, f"nanocnn {options.command}")
    if names:
        model = load_model(options.model, kernels=options.kernels)
        outputs = model.predict(digits.pixels(model, images, options.raw_pixels))
        for name, answer in zip(names, digits.in_words(model, outputs), strict=True):
            print(f"{name}: {answer}")
    return 0 if len(names) == len(options.images) else 2


def inspect(options: Namespace) -> int:
    """Print a saved model's layers, the stages in which it runs, and statistics of its weights."""
    model = load_model(options.model, kernels=options.kernels)
    model.summary()
    print(f" {model.dtype}, {model.kernel_set} kernels\n\n{model.plan()}\n")
    rows = [("weights", "shape", "mean", "std", "min", "max")]
    for name, array in model.weights.items():
        rows.append((name, str(array.shape), f"{array.mean():+.4f}", f"{array.std():+.4f}",
                     f"{array.min():+.4f}", f"{array.max():+.4f}"))  # fmt: skip
    print(table(rows))
    if digits.is_compiled(model):
        optimizer, loss = type(model.optimizer).__name__, type(model.loss).__name__
        print(
            f"\ncompiled with {optimizer} and {loss}, {model.optimizer.iterations:,} training steps"
        )
    else:
        print("\nnot compiled: without optimizer, loss and metrics")
    for name, values in model.progress.get("history", {}).items():
        if values:
            print(f"{name} after {len(values)} epochs: {values[-1]:.4f}")
    return 0


def check(options: Namespace) -> int:
    """Compare the gradients of every layer with central differences, in float64; exit 1 if wrong.

    The input is one image of random pixels. For a model without a loss, its outputs are checked.
    """
    if Path(options.model).suffix:
        model = load_model(options.model, kernels=options.kernels)
    else:
        model = presets.build(options.model, kernels=options.kernels, dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, *model.input_shape))
    y: Array | None = None
    if digits.is_compiled(model):
        y = rng.uniform(size=(1, *model.output_shape))
        if isinstance(model.loss, CategoricalCrossentropy):
            y = presets.labels_for(model, rng.integers(model.output_shape[-1], size=1))
    # One image and a short step: few ReLUs change sign within it.
    report = gradcheck.check(model, x, y, step=1e-6, limit=10)
    print(report)
    return 0 if report else 1


check.__name__ = "gradcheck"


def explore(options: Namespace) -> int:
    """Show a network at work on a page in the browser, whose address is printed; Ctrl-C ends it.

    A preset is trained there, live. Needs starlette and uvicorn: pip install "nanocnn[explore]".
    """
    from ..explore import explore

    saved = bool(Path(options.model).suffix)
    kernels = options.kernels
    page = explore(
        load_model(options.model, kernels=kernels) if saved else
        presets.build(options.model, kernels=kernels),
        port=options.port, host=options.host, open=not options.no_open, block=False,
        raw_pixels=options.raw_pixels, data=options.data, train=not saved,
    )  # fmt: skip
    page.wait()
    return 0


def bench(options: Namespace) -> int:
    """Time training steps and predictions of a preset with both kernel sets, alternating.

    The fastest run counts. For a comparison with PyTorch and Keras see benchmarks/ in the
    repository.
    """
    N = integer(options.batch_size, "batch_size")
    seconds = number(options.seconds, "seconds", lambda seconds: seconds > 0, "more than 0")
    models = {kernels: presets.build(options.model, kernels=kernels) for kernels in KERNEL_SETS}
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(N, 28, 28), dtype=np.uint8)
    y = presets.labels_for(models["fast"], rng.integers(10, size=N))
    tasks: dict[str, Callable[[Sequential], Any]] = {
        "training step": lambda model: model.train_on_batch(x, y),
        "prediction": lambda model: model.predict(x, N),
    }
    print(
        f"{options.model}, {N} images per batch, {threads.get_num_threads()} threads, "
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
    print("for a comparison with PyTorch and Keras: python benchmarks/training.py")
    return 0


def doctor(options: Namespace) -> int:
    """Print versions, processor, threads, caches and settings: what a bug report should contain.

    A row says what is missing or broken; the exit code is 0 even then.
    """
    say(report())
    return 0


def _fastest(tasks: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The shortest time of each task, run alternately for about `seconds` each after a warm-up."""
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
