"""predict(..., augment=n): the mean over variants of each image."""

import numpy as np
import pytest

from nanocnn import (
    Conv2D,
    Dense,
    Flatten,
    Input,
    RandomErasing,
    RandomMorphology,
    RandomRotation,
    Sequential,
)
from nanocnn.kernels.memory import Memory

X = np.random.default_rng(0).random((20, 9, 8, 1), np.float32)


def model(*layers, seed=3, kernels="reference"):
    return Sequential(
        [Input((9, 8, 1)), *layers, Conv2D(2, 3, activation="relu"), Flatten(),
         Dense(3, activation="softmax")],
        seed=seed, kernels=kernels,
    )  # fmt: skip


def random_layers():
    """Two stages."""
    return RandomRotation(0.1), RandomErasing((1, 1)), RandomMorphology(1.0)


def by_hand(network, x, variants):
    """The mean over images that the layers make with keys of these variants."""
    stages = network.execution_plan.stages[:2]
    total = 0
    for variant in range(variants):
        memory = Memory()
        memory.rng = np.random.default_rng((network.seed, variant))
        varied = x
        for stage in stages:
            varied = stage.forward(varied, True, memory)
        total = total + network.predict(varied)
    return total / variants


@pytest.mark.parametrize("kernels", ["reference", "fast"])
def test_is_the_mean_over_seeded_variants(kernels):
    network = model(*random_layers(), kernels=kernels)
    found = network.predict(X, augment=3)
    np.testing.assert_allclose(found, by_hand(network, X, 3), rtol=1e-5)
    assert np.abs(found - network.predict(X)).max() > 1e-3


@pytest.mark.parametrize("kernels", ["reference", "fast"])
def test_is_the_same_each_time_and_for_any_batch_size(kernels):
    network = model(*random_layers(), kernels=kernels)
    first = network.predict(X, augment=2)
    np.testing.assert_array_equal(first, network.predict(X, augment=2))
    found = network.predict(X, 7, augment=2)
    np.testing.assert_allclose(found, first, rtol=1e-6)  # BLAS may add in another order
    other = model(*random_layers(), seed=4, kernels=kernels)
    other.set_weights(network.get_weights())
    assert (other.predict(X, augment=2) != first).any()


def test_leaves_the_model_as_it_was():
    network, other = model(*random_layers()), model(*random_layers())
    for each in (network, other):
        each.compile("adam", "sparse_categorical_crossentropy")
    network.predict(X, augment=4)
    y = np.arange(20) % 3
    for each in (network, other):
        each.fit(X, y, epochs=2, verbose=0)
    for mine, theirs in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (network.predict(X) == other.predict(X)).all()


def test_a_subclass_of_such_a_layer_makes_variants_too():
    class Mine(RandomRotation):
        """The same, under another name."""

    plain, mine = model(RandomRotation(0.1)), model(Mine(0.1))
    np.testing.assert_array_equal(mine.predict(X, augment=2), plain.predict(X, augment=2))
    assert (mine.predict(X, augment=2) != mine.predict(X)).any()


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(ValueError, match="augment=2: model 'sequential' has no layer for augm"):
        model().predict(X, augment=2)
    model().predict(X, augment=0)


@pytest.mark.parametrize("wrong", [-1, 1.5, "2", None])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=f"augment={wrong!r}, expected an integer of at least 0"):
        model(*random_layers()).predict(X, augment=wrong)
