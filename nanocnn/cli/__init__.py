"""The command line: nanocnn train|evaluate|predict|inspect|gradcheck|explore|bench|doctor.

`commands.py` has a function for each command. `training.py`, `digits.py` and `program.py` hold what
the commands share with the scripts in `examples/`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial

import nanocnn

from ..kernels import KERNEL_SETS
from ..presets import PRESETS
from . import commands, program, training
from .digits import RAW_HELP


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, 1 (a check failed), 2 (bad input) or 130 (Ctrl-C)."""
    options = parser().parse_args(arguments)
    return program.run(partial(options.run, options), f"nanocnn {options.command}")


def parser() -> ArgumentParser:
    """All commands and their options."""
    name = program.started_as()
    top = ArgumentParser(
        prog=name,
        description="A small, fast convolutional network engine on NumPy and numba.",
        epilog=f"For the options of a command, use {name} COMMAND --help. To begin: {name} train, "
        f"then {name} predict results/simple/mnist_simple.h5 PHOTO.png",
    )
    top.add_argument("--version", action="version", version=f"nanocnn {nanocnn.__version__}")
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser

    def command(run: Callable[[Namespace], int], help: str, model: str = "") -> ArgumentParser:
        sub = add(run.__name__, help=help, description=run.__doc__)
        sub.set_defaults(run=run)
        if model:
            sub.add_argument("model", metavar="MODEL", help=model)
            sub.add_argument(
                "--kernels", choices=KERNEL_SETS, default="fast", help=training.KERNELS_HELP
            )
        return sub

    saved = "a saved model: .npz, .h5 or .keras"
    training.add_options(command(commands.train, "train a network on MNIST"))
    sub = command(
        commands.evaluate, "loss and accuracy of a saved model on MNIST's test set", saved
    )
    sub.add_argument("--data", metavar="FOLDER", help=training.DATA_HELP)
    sub.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    sub = command(commands.predict, "recognize the digit in a photo or scan", saved)
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="a PNG, JPEG, BMP or GIF file")
    sub.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    command(commands.inspect, "show the layers and weights of a saved model", saved)
    preset = f"one of {', '.join(PRESETS)}"
    command(commands.check, "check the gradients of every layer", f"a saved model, or {preset}")
    sub = command(commands.explore, "see a network at work on a page in the browser")
    sub.add_argument(
        "model", metavar="MODEL", nargs="?", default="simple",
        help=f"a saved model, or a network to train on the page, {preset} (default: simple)",
    )  # fmt: skip
    sub.add_argument("--kernels", choices=KERNEL_SETS, default="fast", help=training.KERNELS_HELP)
    sub.add_argument("--data", metavar="FOLDER", help="folder with the four MNIST files (default: "
                     "$NANOCNN_DATA, or the 5,000 digits that come with nanocnn)")  # fmt: skip
    sub.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    sub.add_argument(
        "--port", type=int, default=0, metavar="N", help="port of the page (default: one is free)"
    )
    sub.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                     help="address to listen at; 0.0.0.0 lets in whoever on the network knows the "
                     "page's address (default: 127.0.0.1, this machine only)")  # fmt: skip
    sub.add_argument("--no-open", action="store_true", help="do not open a browser")
    sub = command(commands.bench, "time training and prediction on this machine")
    sub.add_argument("model", metavar="MODEL", nargs="?", choices=PRESETS, default="lenet",
                     help=f"{preset} (default: lenet)")  # fmt: skip
    sub.add_argument(
        "--batch-size", type=int, default=128, metavar="N", help="images per step (default: 128)"
    )
    sub.add_argument("--seconds", type=float, default=5, metavar="S",
                     help="time for each kernel set and row (default: 5)")  # fmt: skip
    command(commands.doctor, "print versions, processor and caches, for a bug report")
    return top
