"""StopAugmentation: the last epochs are trained on samples as they are."""

import numpy as np
import pytest

from nanocnn import (
    Dense,
    Flatten,
    Input,
    ModelCheckpoint,
    RandomErasing,
    RandomMorphology,
    RandomRotation,
    Sequential,
    StopAugmentation,
    load_model,
)

X = np.random.default_rng(0).random((24, 6, 6, 1), np.float32)
Y = np.arange(24) % 3


def model(*layers, kernels="fast"):
    network = Sequential([Input((6, 6, 1)), *layers, Flatten(), Dense(3)], kernels=kernels)
    network.compile("sgd", "mse", metrics=["accuracy"])
    return network


def augmented(**options):
    return model(RandomRotation(0.2), RandomErasing((1, 1)), RandomMorphology(1.0), **options)


def fit(network, epochs, *callbacks, **options):
    one_hot = np.eye(3, dtype=np.float32)[Y]
    return network.fit(X, one_hot, 8, epochs, verbose=0, callbacks=callbacks, **options)


@pytest.mark.parametrize("kernels", ["fast", "reference"])
@pytest.mark.parametrize("shards", [1, 4])
def test_the_last_epochs_see_the_samples_themselves(kernels, shards):
    """After two augmented epochs, training is that of a model without the layers."""
    network, plain = augmented(kernels=kernels), model(kernels=kernels)
    fit(network, 2, shards=shards)
    plain.set_weights(network.get_weights())
    plain.progress = network.progress  # for the order of the samples
    fit(network, 4, StopAugmentation(2), initial_epoch=2, shards=shards)
    fit(plain, 4, initial_epoch=2, shards=shards)
    for mine, theirs in zip(network.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_epochs_before_are_augmented():
    with_it, without = augmented(), augmented()
    first = fit(with_it, 3, StopAugmentation(1)).history["loss"]
    second = fit(without, 3).history["loss"]
    assert first[:2] == second[:2] and first[2] != second[2]


def test_layers_are_active_again_afterwards_also_after_an_error():
    network = augmented()
    fit(network, 2, StopAugmentation(5))
    assert all(layer.active for layer in network.layers[:3])
    with pytest.raises(ValueError):
        fit(network, 2, StopAugmentation(2), validation_data=(X, Y[:3]))
    assert all(layer.active for layer in network.layers[:3])
    assert (network.predict(X, augment=1) != network.predict(X)).any()


def test_a_resumed_training_stops_where_it_would_have(tmp_path):
    whole, part = augmented(), augmented()
    callbacks = StopAugmentation(2), ModelCheckpoint(tmp_path / "{epoch}.npz")
    fit(whole, 4, *callbacks)
    part = load_model(tmp_path / "1.npz")
    fit(part, 4, *callbacks, initial_epoch=1)
    for mine, theirs in zip(whole.get_weights(), part.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_models_without_such_layers_are_refused():
    with pytest.raises(ValueError, match="StopAugmentation: model 'sequential' has no layer for"):
        fit(model(), 2, StopAugmentation(1))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, None])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="StopAugmentation: last_epochs="):
        StopAugmentation(wrong)
