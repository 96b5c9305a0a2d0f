"""Layers with `trainable = False`: as in Keras, they do not move, and a batch norm infers."""

import copy
import pickle

import numpy as np
import pytest

from nanocnn import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
    load_model,
)
from nanocnn.gradcheck import check
from nanocnn.layers import layer_config, layers_from_config
from support.small_models import BOTH_SETS, SPARSE, digits

X, Y = digits(64, shape=(12, 10))
FROZEN = ("conv2d", "batch_normalization", "dense")


def model(kernels="reference", dtype="float32", optimizer="adam"):
    made = Sequential(
        [
            Input((12, 10, 1)),
            Conv2D(3, 3, activation="relu", kernel_regularizer=0.1),
            MaxPooling2D(2),
            BatchNormalization(),
            Flatten(),
            Dense(6, activation="relu", kernel_regularizer=0.1),
            Dense(10, activation="softmax", kernel_regularizer=0.1),
        ],
        dtype=dtype, kernels=kernels,
    )  # fmt: skip
    made.compile(optimizer, SPARSE, metrics=["accuracy"])
    return made


def freeze(made):
    for layer in made.layers:
        layer.trainable = layer.name not in FROZEN
    return made


@BOTH_SETS
def test_frozen_layers_do_not_change_and_batch_norm_runs_as_in_inference(kernels):
    made = model(kernels)
    made.fit(X, Y, epochs=1, verbose=0)
    freeze(made)
    before = {name: array.copy() for name, array in made.weights.items()}
    slots = {name: array.copy() for name, array in made.optimizer.slots.items()}
    inferred = made.evaluate(X, Y)
    np.testing.assert_allclose(made.train_on_batch(X, Y), inferred, rtol=1e-5)
    made.fit(X, Y, epochs=1, verbose=0)
    moved = {n for n, array in made.weights.items() if not np.array_equal(array, before[n])}
    assert moved == {"dense_1/kernel", "dense_1/bias"}
    moved = {n for n, a in made.optimizer.slots.items() if not np.array_equal(a, slots[n])}
    assert {name.partition("/")[0] for name in moved} == {"dense_1"}
    freeze(made).trainable = True  # and back
    made.train_on_batch(X, Y)
    moved = {n for n, array in made.weights.items() if not np.array_equal(array, before[n])}
    assert moved == set(before)


@BOTH_SETS
def test_gradients_through_a_frozen_batch_norm(kernels):
    made = model(kernels, "float64")
    made.layers[2].trainable = False
    made.layers[2].state["moving_mean"] += 0.3
    made.layers[2].state["moving_variance"] *= 1.7
    x = np.random.default_rng(0).permutation(4 * 120).reshape(4, 12, 10, 1) / 480
    assert check(made, x, Y[:4], limit=40).passed


def test_only_trained_weights_are_penalized():
    made = freeze(model())
    kernel = made.weights["dense_1/kernel"].astype(float)
    assert made.penalty() == pytest.approx(0.1 * (kernel**2).sum(), rel=1e-9)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".keras"])
def test_trainable_survives_saving(tmp_path, suffix):
    made = freeze(model(optimizer="sgd"))
    made.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}")
    assert {each.name for each in again.layers if not each.trainable} == set(FROZEN)


def test_trainable_survives_copying():
    made = freeze(model())
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert {each.name for each in again.layers if not each.trainable} == set(FROZEN)
        again.fit(X, Y, verbose=0)
        assert np.array_equal(again.weights["dense/kernel"], made.weights["dense/kernel"])


@pytest.mark.parametrize(
    "layer",
    [Conv2D(2, 3), Dense(3), BatchNormalization(), Dropout(0.5), Activation("relu"), Flatten(),
     MaxPooling2D()],
    ids=lambda layer: layer.name,
)  # fmt: skip
def test_every_layer_takes_the_argument(layer):
    assert layer.trainable is True and layer.get_config()["trainable"] is True
    config = layer_config(layer)
    config["config"]["trainable"] = False
    (frozen,) = layers_from_config([config], {})
    assert frozen.trainable is False and frozen.get_config()["trainable"] is False
    with pytest.raises(ValueError, match=r"trainable=0, expected True or False"):
        frozen.trainable = 0


def test_a_whole_model_is_frozen_at_once(capsys):
    made = model()
    assert made.trainable
    made.trainable = False
    assert not made.trainable and not any(layer.trainable for layer in made.layers)
    before = [array.copy() for array in made.weights.values()]
    made.fit(X, Y, verbose=0)
    assert all(map(np.array_equal, before, made.weights.values()))
    made.layers[-1].trainable = True
    assert made.trainable
    made.summary()
    assert f"\n Trainable params: {made.layers[-1].count_params()} (" in capsys.readouterr().out
    with pytest.raises(ValueError, match="trainable='no', expected True or False"):
        made.trainable = "no"


@BOTH_SETS
def test_no_gradient_is_computed_below_the_first_trained_layer(kernels, monkeypatch):
    made = freeze(model(kernels))

    def refuse(*_, **__):
        raise AssertionError("a gradient that nobody needs")

    for stage in made.execution_plan.stages[:-1]:
        monkeypatch.setattr(stage, "backward", refuse)
    made.train_on_batch(X, Y)
