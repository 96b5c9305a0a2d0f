"""The command line: python -m nanocnn train|evaluate|predict|inspect|gradcheck|bench."""

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

from . import gradcheck, presets, threads
from .callbacks import ModelCheckpoint
from .checks import whole
from .data import mnist
from .kernels import KERNEL_SETS
from .sequential import Sequential, load_model
from .texts import table


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, 1 (a check failed), 2 (bad input) or 130 (Ctrl-C)."""
    options = parser().parse_args(arguments)
    try:
        run: Callable[[Namespace], int] = options.run
        return run(options)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, ImportError) as error:
        print(f"nanocnn {options.command}: {error}", file=sys.stderr)
        return 2


def parser() -> ArgumentParser:
    """All commands and their options."""
    top = ArgumentParser(
        prog="python -m nanocnn",
        description="A small, fast convolutional network engine on NumPy and numba.",
        epilog="python -m nanocnn COMMAND --help tells more about a command.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run: Callable[[Namespace], int], help: str, model: str = "") -> ArgumentParser:
        sub = commands.add_parser(run.__name__, help=help, description=run.__doc__)
        sub.set_defaults(run=run)
        if model:
            sub.add_argument("model", metavar="MODEL", help=model)
            sub.add_argument("--kernels", choices=KERNEL_SETS, default="fast",
                             help="compiled, or NumPy to read (default: fast)")  # fmt: skip
        return sub

    saved = "a saved model: .npz, .h5 or .keras"
    presets.add_options(command(train, "train a network on MNIST"))
    sub = command(evaluate, "loss and accuracy of a saved model on MNIST's test images", saved)
    sub.add_argument("--data", metavar="FOLDER", help=presets.DATA_HELP)
    sub = command(predict, "which digit is in a photo or scan", saved)
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="a PNG, JPEG, BMP or GIF file")
    command(inspect, "what is in a saved model", saved)
    either = f"a saved model, or one of {', '.join(presets.PRESETS)}"
    command(check, "are the gradients of every layer right?", either)
    sub = command(bench, "how fast is training on this machine")
    sub.add_argument("model", metavar="MODEL", nargs="?", choices=presets.PRESETS, default="lenet",
                     help=f"one of {', '.join(presets.PRESETS)} (default: lenet)")  # fmt: skip
    sub.add_argument("--batch-size", type=int, default=128, help="images a step (default: 128)")
    sub.add_argument("--seconds", type=float, default=5, help="for each kernel set (default: 5)")
    return top


def train(options: Namespace) -> int:
    """Train a network on MNIST; writes the model, a checkpoint and pictures into --out.

    The same as examples/train_mnist.py, which is written to be read.
    """
    preset = presets.PRESETS[options.model]
    out = Path(options.out or f"results/{options.model}")
    checkpoint = out / "checkpoint.npz"
    (x, y), (x_test, y_test) = mnist.load(options.data)
    if options.resume:
        model = load_model(checkpoint, options.kernels)
    else:
        model = presets.build(
            options.model, options.seed, options.kernels, optimizer=options.optimizer
        )
    model.summary()
    y_true = presets.labels_for(model, y_test)
    try:
        history = model.fit(
            x,
            presets.labels_for(model, y),
            batch_size=options.batch_size,
            epochs=preset.epochs if options.epochs is None else options.epochs,
            validation_data=(x_test, y_true),
            callbacks=[ModelCheckpoint(checkpoint)],
            initial_epoch=model.progress.get("epoch", 0),
        )
    except KeyboardInterrupt:
        again = [argument for argument in sys.argv[1:] if argument != "--resume"]
        if checkpoint.exists():
            print(f"to go on: python -m nanocnn {shlex.join(again)} --resume")
        raise
    loss, accuracy = model.evaluate(x_test, y_true)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")
    model.save(out / preset.file)
    pictures = presets.draw(model, history, x_test, y_test, out, options.show)
    print(
        f"in {out}: {', '.join(path.name for path in (out / preset.file, checkpoint, *pictures))}"
    )
    if options.require_accuracy is not None and accuracy < options.require_accuracy:
        print(f"test accuracy {accuracy:.4f} is below {options.require_accuracy}", file=sys.stderr)
        return 1
    return 0


def evaluate(options: Namespace) -> int:
    """Print the loss and the accuracy of a saved model on MNIST's test images."""
    model = _load(options)
    _, (x, y) = mnist.load(options.data)
    loss, accuracy = model.evaluate(x, presets.labels_for(model, y))
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")
    return 0


def predict(options: Namespace) -> int:
    """Print the digit in each photo or scan, its probability, and the runners-up."""
    from .data.digits import read_digit

    digits = np.stack([read_digit(image) for image in options.images])
    for image, p in zip(options.images, _load(options).predict(digits), strict=True):
        first, *others = np.argsort(p)[::-1][:3]
        runners_up = ", ".join(f"{digit} ({p[digit]:.1%})" for digit in others)
        print(f"{image}: {first} ({p[first]:.1%}), then {runners_up}")
    return 0


def inspect(options: Namespace) -> int:
    """Print a saved model's layers, the stages it runs in, and statistics of its weights."""
    model = load_model(options.model, options.kernels)
    model.summary()
    print(f"\n{model.plan()}\n")
    rows = [("weights", "shape", "mean", "deviation", "smallest", "largest")]
    for name, array in model.weights.items():
        rows.append((name, str(array.shape), f"{array.mean():+.4f}", f"{array.std():+.4f}",
                     f"{array.min():+.4f}", f"{array.max():+.4f}"))  # fmt: skip
    print(table(rows))
    if getattr(model, "loss", None) is not None:
        optimizer, loss = type(model.optimizer).__name__, type(model.loss).__name__
        print(f"\ncompiled with {optimizer} and {loss}, {model.optimizer.iterations:,} steps made")
    for name, values in model.progress.get("history", {}).items():
        print(f"{name} after {len(values)} epochs: {values[-1]:.4f}")
    return 0


def check(options: Namespace) -> int:
    """Compare every layer's gradients with differences of the loss, in float64; exit 1 if wrong."""
    if Path(options.model).suffix:
        model = _load(options)
    else:
        model = presets.build(options.model, kernels=options.kernels, dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, *model.input_shape))
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
    models = {kernels: presets.build(options.model, kernels=kernels) for kernels in KERNEL_SETS}
    rng = np.random.default_rng(0)
    N = whole(options.batch_size, "batch_size")
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
        best = _fastest(each, options.seconds)
        fast, reference = best["fast"], best["reference"]
        rows.append((name, f"{fast * 1e3:.2f} ms", f"{reference * 1e3:.2f} ms",
                     f"{reference / fast:.1f} times as fast",
                     f"{N / fast:,.0f} images/s"))  # fmt: skip
    print(table(rows))
    print("compared with PyTorch and Keras: python benchmarks/training.py")
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


def _load(options: Namespace) -> Sequential:
    """The saved model, compiled if it is not."""
    model = load_model(options.model, options.kernels)
    if getattr(model, "loss", None) is None:
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


if __name__ == "__main__":
    sys.exit(main())
