"""A prediction has the same bits alone, in any batch and at any place of it: 10,000 images."""

import os

import networks
import numpy as np
import pytest
from presets import NINE, PRESETS

import nanocnn
from nanocnn import Input, Sequential
from nanocnn.data import mnist
from support.small_models import SPARSE

FULL = os.environ.get("NANOCNN_DATA", "")
SIZES = (1, 2, 3, 5, 8, 13, 16, 31, 32, 47, 64, 100, 127, 128, 200, 256, 500, 777, 1024, 10_000)
COUNT = {"vgg": 1000}  # the others: 10,000
ALONE = 200  # images that are predicted by calls of their own


def images(count, shape):
    """Digits, from MNIST's test set if all of it is at hand, else the embedded ones; (N,H,W,C)."""
    H, W, C = shape
    x = (mnist.load(FULL) if FULL else mnist.sample())[1][0]
    if x.shape[1:] != (H, W):
        x = np.random.default_rng(1).integers(0, 256, (count, H, W), dtype=np.uint8)
    x = np.resize(x, (count, H, W))[..., np.newaxis]
    return np.concatenate([np.roll(x, 3 * channel, axis=1) for channel in range(C)], axis=-1)


def trained(name, x, metrics):
    """The benchmarks' network of this name after a few steps, so that no bias is zero."""
    preset = PRESETS[name]
    layers = networks.keras_layers(preset.layers[1:], nanocnn)
    model = Sequential([Input(preset.shape), *layers], seed=1)
    model.compile(preset.optimizer, SPARSE, metrics=metrics)
    model.fit(x[:64], np.arange(64) % 10, 32, verbose=0)
    return model


def differing(found, expected):
    """How many rows differ in any byte."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    return int((found.view(np.uint8) != expected.view(np.uint8)).any(axis=1).sum())


@pytest.mark.slow
@pytest.mark.parametrize("name", NINE)
def test_an_image_is_predicted_alike_in_any_batch(name):
    seen = []

    def keep(target, prediction):  # what `evaluate` predicts
        seen.append(prediction)
        return 0.0

    count = COUNT.get(name, 10_000)
    pixels = images(count, PRESETS[name].shape)
    x = (pixels / 255).astype(np.float32)
    model, y = trained(name, x, [keep]), np.arange(count) % 10
    expected = model.predict(x)
    of_pixels = model.predict(pixels)
    rng = np.random.default_rng(0)
    for place, size in enumerate(SIZES):
        order = np.arange(count) if place % 2 else rng.permutation(count)
        assert differing(model.predict(x[order], size), expected[order]) == 0, size
        if place % 5 == 0:
            seen.clear()
            model.evaluate(x[order], y, size)
            assert differing(np.concatenate(seen), expected[order]) == 0, f"evaluate, {size}"
            assert differing(model.predict(pixels[order], size), of_pixels[order]) == 0, size
    alone = rng.choice(count, ALONE, replace=False)
    found = np.concatenate([model.predict(x[i : i + 1]) for i in alone])
    assert differing(found, expected[alone]) == 0
    print(
        f"{name}: {count:,} images in batches of {len(SIZES)} sizes, in order and not, and "
        f"{ALONE} of them alone: the same {expected.nbytes:,} bytes"
    )
