"""Train a preset with several seeds and print what it reaches: mean, spread, every seed, seconds.

python examples/records.py --which record --seeds 5     30 epochs; then the vote of the five
python examples/records.py --which sprint --seeds 30    one epoch
python examples/records.py --which handwriting          record and lenet on digits as people write
python examples/records.py --help

Nothing is chosen by the test set: recipes were compared on 5,000 training digits that were held
back (--hold-back 5000). What is reported is the network after the last epoch. Times are those of
`fit`, of data in memory and compiled kernels.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter

import handwriting
import numpy as np

from nanocnn import Sequential, load_model, plots
from nanocnn.cli import program
from nanocnn.common.config import serialize
from nanocnn.common.tables import table
from nanocnn.common.terminal import say
from nanocnn.common.validate import integer
from nanocnn.data import mnist
from nanocnn.data.download import SOURCES
from nanocnn.presets import PRESETS, build, callbacks, end_with, labels_for

BATCH = 128
PARTS = (
    *("augmentation", "RandomMorphology", "RandomRotation", "RandomZoom", "RandomTranslation"),
    *("RandomElastic", "StopAugmentation", "BatchNormalization", "Dropout", "OneCycle", "use_ema"),
)


def make(name, seed, steps, without):
    """The preset with this seed, for so many steps, and without one of its parts."""
    whole = build(name, seed)
    if without is None:
        end_with(whole, steps)
        return whole
    left_out = "Random" if without == "augmentation" else without
    layers = [
        layer for layer in PRESETS[name].layers() if not type(layer).__name__.startswith(left_out)
    ]
    optimizer = serialize(whole.optimizer)
    if without == "OneCycle":
        optimizer["config"]["learning_rate"] = 1e-3
    if without == "use_ema":
        optimizer["config"]["use_ema"] = False
    model = Sequential(layers, name=name, seed=seed)
    model.compile(optimizer, whole.loss, metrics=["accuracy"])
    end_with(model, steps)
    return model


def train(name, seed, x, y, epochs, without):
    """Train the preset with this seed; return the model and the seconds that it took."""
    steps = -(-len(x) // BATCH) * epochs
    model = make(name, seed, steps, without)
    labels = labels_for(model, y)
    first = slice(2 * BATCH)
    others = callbacks(model, epochs) if without != "StopAugmentation" else []
    make(name, seed, steps, without).fit(x[first], labels[first], BATCH, verbose=0)  # compiles
    start = perf_counter()
    model.fit(x, labels, BATCH, epochs, verbose=0, callbacks=others)
    return model, perf_counter() - start


def trained(name, seed, data, epochs, folder, without=None):
    """`train`, or the model that an earlier run has left in `folder`; and its seconds, or None."""
    if without is not None:
        return train(name, seed, *data, epochs, without)
    path = folder / f"{name}-{seed}.npz"
    if path.exists():
        model, new = load_model(path), make(name, seed, -(-len(data[0]) // BATCH) * epochs, None)
        same = all(
            serialize(old) == serialize(now)
            for old, now in ((model, new), (model.optimizer, new.optimizer))
        )
        if same and model.progress.get("epoch") == epochs:
            return model, None
    model, seconds = train(name, seed, *data, epochs, None)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model, seconds


def wrong(probabilities, y):
    """How many predictions are wrong."""
    return int((probabilities.argmax(axis=1) != y).sum())


def report(name, data, test, epochs, folder, options):
    """Train with each seed, and print the table."""
    x, y = test
    seeds, augment = options.seeds, options.augment
    found, times = [], []
    for seed in range(seeds):
        model, seconds = trained(name, seed, data, epochs, folder, options.without)
        if not seed:
            say(
                f"{name}: {model.count_params():,} parameters, {epochs} epochs of "
                f"{len(data[0]):,} images, batches of {BATCH}"
            )
        found.append([model.predict(x), model.predict(x, augment=augment) if augment else None])
        times.append(seconds)
        errors = wrong(found[-1][0], y)
        loss = -np.log(np.maximum(found[-1][0][np.arange(len(y)), y], 1e-7)).mean()
        print(
            f"seed {seed}: {1 - errors / len(y):.2%}, {errors} wrong, loss {loss:.4f}, "
            + ("trained before" if seconds is None else f"{seconds:.1f} s"),
            flush=True,
        )
    rows = [("", "mean", "spread", "lowest", "highest", "vote")]
    for what, column in (("as they are", 0), (f"{augment} variants each", 1)):
        if column and not augment:
            continue
        outputs = [each[column] for each in found]
        shares = np.array([1 - wrong(each, y) / len(y) for each in outputs])
        vote = 1 - wrong(np.mean(outputs, axis=0), y) / len(y)
        spread = shares.std(ddof=1) if seeds > 1 else 0.0
        numbers = shares.mean(), spread, shares.min(), shares.max(), vote
        rows.append((what, f"{numbers[0]:.3%}", *(f"{each:.2%}" for each in numbers[1:])))
    print(table(rows, right=5))
    vote = np.mean([each[0] for each in found], axis=0)
    missed = np.flatnonzero(vote.argmax(axis=1) != y)[:100]
    if options.picture and len(missed):
        plots.prediction_grid(x[missed], y[missed], vote[missed]).savefig(options.picture)
    measured = [each for each in times if each is not None]
    if measured:
        middle, slowest = np.median(measured), max(measured)
        print(f"seconds of a training: {middle:.2f} in the middle, {slowest:.2f} at most")


def main() -> int:
    parser = ArgumentParser(description="Train a preset with several seeds.")
    # fmt: off
    add = parser.add_argument
    add("--which", choices=(*PRESETS, "handwriting"), default="record", help="(default: record)")
    add("--seeds", type=int, default=5, metavar="N", help="trainings (default: 5)")
    add("--epochs", type=int, metavar="N", help="(default: the preset's)")
    add("--data", metavar="FOLDER", help="folder with the four files of the data set")
    add("--dataset", choices=SOURCES, default="mnist", help="(default: mnist)")
    add("--hold-back", type=int, default=0, metavar="N",
        help="test on the last N training images, which are not trained on, not on the test set")
    add("--augment", type=int, default=0, metavar="N",
        help="also predict the mean of N variants of each image")
    add("--without", choices=PARTS, help="train without this layer or part of the recipe")
    add("--picture", metavar="FILE", help="draw the images on which the vote is wrong")
    add("--out", default="results/records", metavar="FOLDER",
        help="where models are kept, and found again (default: results/records)")
    # fmt: on
    options = parser.parse_args()
    integer(options.seeds, "--seeds")
    integer(options.augment, "--augment", 0)
    held = integer(options.hold_back, "--hold-back", 0)
    name = "record" if options.which == "handwriting" else options.which
    epochs = integer(options.epochs or PRESETS[name].epochs, "--epochs")
    data, test = mnist.load(options.data, options.dataset)
    if held:
        if held >= len(data[0]):
            raise ValueError(f"--hold-back {held}: expected fewer than {len(data[0])} images")
        test = tuple(each[-held:] for each in data)
        data = tuple(each[:-held] for each in data)
    if options.augment:
        build(name).predict(test[0][:1], augment=1)  # refused now, not after the training
    folder = Path(options.out) / f"{options.dataset}-{len(data[0])}-{epochs}"
    if options.which != "handwriting":
        report(name, data, test, epochs, folder, options)
        return 0
    models = {}
    for each in ("record", "lenet"):
        count = epochs if each == "record" else PRESETS[each].epochs
        model, _ = trained(each, 0, data, count, folder)
        models[each] = handwriting.accuracies(model, *test)
    print(handwriting.as_table(models))
    return 0


if __name__ == "__main__":
    sys.exit(program.run(main, "records.py"))
