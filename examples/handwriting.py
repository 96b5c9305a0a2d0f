"""Digits as people write them: off centre, tilted, thick and thin, made from the test set.

python examples/handwriting.py results/simple/mnist_simple.h5    the accuracy of models on each kind
python examples/handwriting.py --picture kinds.png
"""

import sys
from argparse import ArgumentParser

import numpy as np

from nanocnn import RandomRotation, RandomTranslation, load_model
from nanocnn.cli import program
from nanocnn.common.tables import table
from nanocnn.data import mnist

KINDS = ("off centre", "tilted", "thick", "thin")
SHIFT, TILT = 4, 15  # at most: pixels, degrees
FINE = 4  # steps of a pixel by which strokes grow and shrink


def variant(x, kind, seed=0):
    """Change digits x, uint8 (N,28,28); the result has the same shape and type.

    "off centre"   moved by up to 4 pixels in each direction: MNIST's digits have that much margin
    "tilted"       turned by up to 15 degrees
    "thick"        strokes grow until they have 1.3 to 1.8 times the ink
    "thin"         strokes shrink until they have 0.5 to 0.75 times the ink

    All amounts are drawn with `seed`, uniformly.
    """
    rng = np.random.default_rng(seed)
    if kind in ("off centre", "tilted"):
        share = SHIFT / x.shape[1]
        moved = RandomTranslation(share, share, "constant")
        layer = moved if kind == "off centre" else RandomRotation(TILT / 360, "constant")
        layer.build((*x.shape[1:], 1), rng=rng)
        y = layer.forward(x[..., None].astype(np.float32), training=True)[..., 0]
        return np.round(y).astype(np.uint8)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}, expected one of {', '.join(KINDS)}")
    wanted = rng.uniform(*((1.3, 1.8) if kind == "thick" else (0.5, 0.75)), len(x))
    return np.concatenate(
        [
            _with_ink(x[i : i + 500], wanted[i : i + 500], kind == "thick")
            for i in range(0, len(x), 500)
        ]
    )


def _with_ink(x, wanted, grows):
    """Let strokes grow or shrink by quarters of a pixel until each has `wanted` times its ink."""
    fine = x.repeat(FINE, axis=1).repeat(FINE, axis=2)
    before = x.sum(axis=(1, 2), dtype=np.float64)
    result = x.copy()
    left = np.arange(len(x))
    while len(left):
        edges = np.pad(fine, ((0, 0), (1, 1), (1, 1)))
        sides = edges[:, :-2, 1:-1], edges[:, 2:, 1:-1], edges[:, 1:-1, :-2], edges[:, 1:-1, 2:]
        fine = (np.maximum if grows else np.minimum).reduce([fine, *sides])
        N, H, W = fine.shape
        mean = fine.reshape(N, H // FINE, FINE, W // FINE, FINE).mean(axis=(2, 4))
        ink = mean.sum(axis=(1, 2)) / before[left]
        result[left] = np.round(mean)
        on = ink < wanted[left] if grows else ink > wanted[left]
        left, fine = left[on], fine[on]
    return result


def accuracies(model, x, y, seed=0):
    """The share of digits, as they are and of each kind, that the model reads right."""
    kinds = {"as they are": x} | {kind: variant(x, kind, seed) for kind in KINDS}
    return {kind: (model.predict(each).argmax(axis=1) == y).mean() for kind, each in kinds.items()}


def as_table(models):
    """A table of {name: accuracies}."""
    kinds = next(iter(models.values()))
    rows = [("test digits", *models)]
    rows += [(kind, *(f"{found[kind]:.2%}" for found in models.values())) for kind in kinds]
    return table(rows, right=len(models))


def draw(x, path):
    """Write a picture of the first digits, of each kind in a row."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(KINDS) + 1, 12, figsize=(9, 4))
    for row, kind in zip(axes, ("as they are", *KINDS), strict=True):
        images = x[:12] if kind == "as they are" else variant(x[:12], kind)
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(kind, rotation=0, ha="right", va="center")
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    parser = ArgumentParser(description="How well models read digits as people write them.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="saved models")
    parser.add_argument("--data", metavar="FOLDER", help="folder with the four MNIST files")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the changes")
    parser.add_argument("--picture", metavar="FILE", help="write a picture of the kinds")
    options = parser.parse_args()
    models = {path: load_model(path) for path in options.models}
    _, (x, y) = mnist.load(options.data)
    if options.picture:
        draw(x, options.picture)
    if models:
        found = {path: accuracies(model, x, y, options.seed) for path, model in models.items()}
        print(as_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(program.run(main, "handwriting.py"))
