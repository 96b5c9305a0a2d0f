"""The published race of SimpleChains.jl: LeNet-5, ten epochs of MNIST, on a CPU.

Wall time of ten epochs of Adam at a learning rate of 3e-4, everything compiled and the data in
memory, and the accuracy on the test images afterwards. The first epoch of another network, with
nothing compiled, is timed before it and printed apart.

Published (https://www.julialang.org/blog/2022/04/simple-chains/, for the second ten epochs, after
compiling): 5.32 s on an Intel i7-1165G7 (4 cores, AVX-512), 1.23 s on an i9-10980XE (18 cores,
AVX-512), 3.08 s on an AMD EPYC 7513 (32 cores, AVX2); PyTorch 10.8 to 17.7 s on CPUs and GPUs.
After its first ten epochs SimpleChains.jl reached 95.1%, 97.0% and 97.4%. Its batches were
"proportional to the number of threads" (PyTorch's 2048); here they are of 128 images, which the
script in its repository (examples/mnist_lenet.jl) gives the other library.

    python benchmarks/lenet5.py
    python benchmarks/lenet5.py --batch 64 --rounds 5

The images are those that nanocnn.data.mnist.load finds: set NANOCNN_DATA to the folder of the four
files, or they are downloaded. Of the sample in the package no time of ten epochs is reported.
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import harness
from harness import say
from networks import keras_layers
from presets import PRESETS

PUBLISHED = 5.32  # seconds on four cores with AVX-512
IMAGES = 60_000


def race(options: Any) -> dict[str, Any]:
    """Train in this process, where nothing is compiled yet: seconds and accuracies."""
    import nanocnn
    from nanocnn.data import mnist

    nanocnn.set_num_threads(options.threads)
    with contextlib.redirect_stdout(sys.stderr):
        (x, y), (x_test, y_test) = mnist.sample() if options.quick else mnist.load()

    def train(epochs: int, seed: int) -> tuple[float, float]:
        layers = keras_layers(PRESETS["lenet5"].layers, nanocnn)
        model = nanocnn.Sequential(layers, seed=seed)
        model.compile(nanocnn.Adam(options.learning_rate), "sparse_categorical_crossentropy")
        start = time.perf_counter()
        model.fit(x, y, options.batch, epochs, verbose=0)
        seconds = time.perf_counter() - start
        return seconds, float((model.predict(x_test).argmax(1) == y_test).mean())

    first, _ = train(1, seed=0)
    say(f"first epoch, with nothing compiled: {first:.1f} s")
    seconds, accuracies = [], []
    for seed in range(options.rounds):
        took, accuracy = train(options.epochs, seed)
        say(f"{options.epochs} epochs: {took:.2f} s, accuracy {accuracy:.2%}")
        seconds.append(took)
        accuracies.append(accuracy)
    return {
        "images": len(x), "batch": options.batch, "epochs": options.epochs,
        "first_epoch_seconds": first, "seconds": seconds, "accuracy": accuracies,
    }  # fmt: skip


def use_cache(folder: str) -> None:
    """Let numba use this folder; called before it is loaded."""
    os.environ["NUMBA_CACHE_DIR"] = folder


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = harness.parser(__doc__, rounds=3)
    options.add_argument(
        "--batch", type=int, default=128, help="images per step (default: %(default)s)"
    )
    options.add_argument("--epochs", type=int, default=10, help="(default: %(default)s)")
    options.add_argument("--learning-rate", type=float, default=3e-4, help="(default: %(default)s)")
    options = options.parse_args(arguments)
    if options.quick:
        options.rounds, options.epochs = 1, 1
    host = harness.machine(options.threads)
    spawn = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as empty,
        ProcessPoolExecutor(1, spawn, initializer=use_cache, initargs=(empty,)) as child,
    ):
        results = child.submit(race, options).result()
    report(results, compare=not options.quick)
    harness.finish("lenet5", options.json, host, results)
    return results


def report(results: dict[str, Any], compare: bool) -> None:
    """Print the table; with `compare` also the published time, if all of MNIST was there."""
    summary = harness.summarize(results["seconds"])
    accuracy = harness.summarize(results["accuracy"]).median
    rows = [
        ["first epoch, with nothing compiled, s", results["first_epoch_seconds"]],
        [f"{results['epochs']} epochs, compiled, s", summary.median],
        ["the same, quartiles", harness.spread(summary)],
        ["accuracy on the test images", f"{accuracy:.4f}"],
    ]
    print(f"\n### LeNet-5, {results['images']} images in batches of {results['batch']}\n")
    print(harness.table(["what", "nanocnn"], rows))
    if not compare:
        print(harness.NO_VERDICT)
    elif (results["images"], results["epochs"]) == (IMAGES, 10):
        print(
            f"\n{PUBLISHED / summary.median:.2f}x the published speed of SimpleChains.jl on four "
            f"cores with AVX-512 ({PUBLISHED} s)."
        )
    else:
        print("\nNot ten epochs of all of MNIST: not compared with the published time.")


if __name__ == "__main__":
    main()
