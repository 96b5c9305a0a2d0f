"""Trainings with augmentation: the same bits for any threads, shards and interruptions."""

import numpy as np
import pytest

from nanocnn import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    RandomElastic,
    RandomErasing,
    RandomMorphology,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    Sequential,
    load_model,
)
from nanocnn.kernels import get_kernels
from nanocnn.models import passes
from support.small_models import BOTH_SETS, SPARSE, bits, digits

LAYERS = (
    lambda: RandomTranslation(0.2, (-0.1, 0.3)),
    lambda: RandomRotation(0.1),
    lambda: RandomZoom(0.2, (-0.2, 0.1)),
    lambda: RandomShear(0.2, 0.1),
    lambda: RandomElastic(0.2, cells=3),
    lambda: RandomErasing(1.0, 0.4, 0.5),
    lambda: RandomRotation(0.1, "wrap"),
    lambda: RandomMorphology(0.8),
)
X, Y = digits(56)  # of batches of 24 the last has 8


def augmented(kernels="fast", layers=LAYERS, dtype="float32"):
    """A model that augments images in three stages, and features; compiled."""
    model = Sequential(
        [Input((12, 10, 1)), *[make() for make in layers], Conv2D(4, 3, activation="relu"),
         Dropout(0.2), RandomMorphology(0.5), Flatten(), Dense(10, activation="softmax")],
        seed=4, dtype=dtype, kernels=kernels,
    )  # fmt: skip
    model.compile("adam", SPARSE, metrics=["accuracy"])
    return model


def images_seen(monkeypatch, kernels, shards, epochs=2):
    """What comes out of the three stages on images in a training, sample by sample."""
    module, seen = get_kernels(kernels), ([], [], [])
    warp, morphology = module.warp_forward, module.morphology_forward

    def warped(x, transforms, *rest, **out):
        y = warp(x, transforms, *rest, **out)
        seen[len(transforms) == 1].append(y.copy())
        return y

    def thickened(x, *rest, **out):
        y = morphology(x, *rest, **out)
        if x.shape[1:] == (12, 10, 1):
            seen[2].append(y.copy())
        return y

    with monkeypatch.context() as patch:
        patch.setattr(module, "warp_forward", warped)
        patch.setattr(module, "morphology_forward", thickened)
        augmented(kernels).fit(X, Y, 24, epochs=epochs, shards=shards, verbose=0)
    return [np.concatenate(each) for each in seen]


@BOTH_SETS
@pytest.mark.parametrize("shards", [2, 4, 12])
def test_every_sample_is_augmented_the_same_in_shards(monkeypatch, kernels, shards):
    whole = images_seen(monkeypatch, kernels, 1)
    for images, expected in zip(images_seen(monkeypatch, kernels, shards), whole, strict=True):
        assert images.shape == (2 * len(X), 12, 10, 1)
        np.testing.assert_array_equal(images, expected)
        assert len({image.tobytes() for image in images}) == len(images)


def test_both_sets_augment_with_the_same_bits(monkeypatch):
    fast, reference = (images_seen(monkeypatch, kernels, 1) for kernels in ("fast", "reference"))
    for images, expected in zip(fast, reference, strict=True):
        np.testing.assert_array_equal(images, expected)


def trained(kernels="fast", dtype="float32", shards=1, epochs=3):
    model = augmented(kernels, dtype=dtype)
    history = model.fit(X, Y, 24, epochs=epochs, shards=shards, verbose=0).history
    return model, history


def test_both_sets_train_the_same_up_to_rounding():
    for found, expected in zip(
        *(trained(kernels, "float64")[0].get_weights() for kernels in ("fast", "reference")),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@BOTH_SETS
@pytest.mark.parametrize("shards", [1, 4])
def test_any_number_of_threads_trains_the_same_bits(set_threads, kernels, shards):
    results = []
    for n in (1, 2, 4):
        set_threads(n)
        model, history = trained(kernels, shards=shards)
        results.append((bits(model), history, model.predict(X).tobytes()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("shards", [1, 4])
def test_captured_steps_draw_anew_as_those_that_are_not_captured(monkeypatch, shards):
    captured = bits(trained(shards=shards)[0])
    monkeypatch.setattr(passes, "are_capturable", lambda kernels: False)
    assert bits(trained(shards=shards)[0]) == captured


@BOTH_SETS
@pytest.mark.parametrize("shards", [1, 4])
def test_a_resumed_training_ends_with_the_same_bits(kernels, shards, tmp_path):
    straight, _ = trained(kernels, shards=shards)
    first, _ = trained(kernels, shards=shards, epochs=1)
    first.save(tmp_path / "a.npz")
    resumed = load_model(tmp_path / "a.npz", kernels=kernels)
    resumed.fit(X, Y, 24, epochs=3, initial_epoch=1, shards=shards, verbose=0)
    assert bits(resumed) == bits(straight)


CHANGES = {
    "factor": lambda m: setattr(m.layers[1], "factor", 0.3),
    "fill_mode": lambda m: setattr(m.layers[2], "fill_mode", "constant"),
    "fill_value": lambda m: setattr(m.layers[5], "fill_value", 9.0),
    "cells": lambda m: setattr(m.layers[4], "cells", 2),
    "factor of morphology": lambda m: setattr(m.layers[7], "factor", 0.1),
    "factor of features": lambda m: setattr(m.layers[10], "factor", -0.1),
    "active": lambda m: setattr(m.layers[10], "active", False),
    "nothing": lambda m: None,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_between_two_steps_is_seen(name, monkeypatch):
    def train(name):
        model = augmented()
        for place in range(4):
            if place == 2:
                CHANGES[name](model)
            model.train_on_batch(X, Y)
        return bits(model)

    captured = train(name)
    assert (captured == train("nothing")) == (name == "nothing")
    monkeypatch.setattr(passes, "are_capturable", lambda kernels: False)
    assert train(name) == captured


@BOTH_SETS
def test_predictions_and_evaluations_are_those_of_the_model_without(kernels):
    x, y = X[:40], Y[:40]
    plain, model = augmented(kernels, ()), augmented(kernels)
    for trained in (False, True):
        if trained:
            model.fit(x, y, verbose=0)
            plain.set_weights(model.get_weights())
        for count in (1, 40):
            assert model.predict(x[:count]).tobytes() == plain.predict(x[:count]).tobytes()
        assert model.evaluate(x, y, verbose=0) == plain.evaluate(x, y, verbose=0)
