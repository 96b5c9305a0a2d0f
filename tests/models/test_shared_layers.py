"""`add` and `pop` keep weights; models made of another's layers share them, as in Keras."""

import numpy as np
import pytest

from nanocnn import (
    Adam,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
)
from nanocnn.common.errors import ShapeError
from support.small_models import BOTH_SETS, SPARSE, bits, digits, every_layer, small_model

X, Y = digits(60)


def layers():
    return [
        Input((12, 10, 1)), Conv2D(4, 3, activation="relu"), Dropout(0.3), Conv2D(5, 3),
        BatchNormalization(), MaxPooling2D(2), Flatten(), Dense(10, activation="softmax"),
    ]  # fmt: skip


@BOTH_SETS
@pytest.mark.parametrize("known", [True, False], ids=["input known", "input not known"])
def test_layers_added_one_by_one_make_the_same_model_as_all_at_once(kernels, known):
    first = 0 if known else 1
    whole = Sequential(layers()[first:], seed=4, kernels=kernels)
    grown = Sequential(seed=4, kernels=kernels)
    for layer in layers()[first:]:
        grown.add(layer)
    for model in (whole, grown):
        model.compile("adam", SPARSE)
        model.fit(X, Y, epochs=2, verbose=0)  # draws for its dropout from the same stream
    assert bits(whole) == bits(grown) and list(whole.weights) == list(grown.weights)


@BOTH_SETS
def test_a_trained_model_keeps_its_weights_when_a_layer_is_added_or_removed(kernels):
    model = small_model(kernels)
    model.fit(X, Y, verbose=0)
    before = {name: array.copy() for name, array in model.weights.items()}
    predicted = model.predict(X)
    model.add(Dense(3, activation="softmax"))
    assert model.predict(X).shape == (60, 3) and list(model.weights)[-1] == "dense_2/bias"
    assert all(np.array_equal(model.weights[name], array) for name, array in before.items())
    assert model.optimizer.iterations == 0 and model.progress == {}
    model.fit(X, Y % 3, verbose=0)
    model.set_weights([*before.values(), *model.get_weights()[-2:]])
    last = model.pop()
    assert last.units == 3 and np.array_equal(model.predict(X), predicted)


def test_nothing_is_left_to_pop_and_a_layer_that_does_not_fit_is_not_added():
    model = small_model()
    before = model.predict(X)
    with pytest.raises(ShapeError):
        model.add(Conv2D(2, 3))
    np.testing.assert_array_equal(model.predict(X), before)
    while model.layers:
        model.pop()
    with pytest.raises(ValueError, match="pop: the model has no layers"):
        model.pop()
    for layer in (Flatten(), Dense(2)):  # the input is still known
        model.add(layer)
    assert model.predict(X).shape == (60, 2)


@BOTH_SETS
def test_the_first_layers_of_a_trained_model_extract_its_features(kernels):
    base = small_model(kernels)
    base.fit(X, Y, verbose=0)
    features = Sequential(base.layers[:-1], kernels=kernels)
    found = features.predict(X)
    assert found.shape == (60, 24)
    kernel, bias = base.layers[-1].get_weights()
    logits = found @ kernel + bias
    assert (logits.argmax(axis=1) == base.predict(X).argmax(axis=1)).all()
    assert features.layers[-1] is base.layers[-2]


@BOTH_SETS
def test_both_models_predict_right_whichever_is_trained(kernels):
    base = small_model(kernels)
    base.fit(X, Y, verbose=0)
    names = list(base.weights)
    other = Sequential([*base.layers[:-1], Dense(3, activation="softmax")], kernels=kernels)
    assert list(base.weights) == names == list(other.weights)
    other.compile(Adam(0.01), SPARSE)
    for trained, labels in ((other, Y % 3), (base, Y), (other, Y % 3)):
        trained.predict(X[:4])  # captured now
        trained.fit(X, labels, batch_size=20, verbose=0)
        for each in (base, other):
            copy = each.__copy__()  # of its present weights
            np.testing.assert_array_equal(each.predict(X[:4]), copy.predict(X[:4]))
    assert base.optimizer.iterations == 2 + 3 and other.optimizer.iterations == 6


@BOTH_SETS
def test_a_frozen_base_stays_as_it_is_while_its_head_is_trained(kernels):
    base = small_model(kernels)
    base.fit(X, Y, verbose=0)
    before = base.predict(X)
    head = Sequential(base.layers[:-1], kernels=kernels)
    head.trainable = False
    head.add(Dense(3, activation="softmax"))
    head.compile(Adam(0.05), SPARSE)
    losses = head.fit(X, Y % 3, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    np.testing.assert_array_equal(base.predict(X), before)
    assert list(head.trainable_weights) == ["dense_1/kernel", "dense_1/bias"]


def test_a_model_of_shared_layers_is_copied_and_saved_whole(tmp_path):
    from nanocnn import load_model

    base = every_layer()
    base.fit(X, Y, verbose=0)
    part = Sequential(base.layers[:-2], kernels="reference")
    part.save(tmp_path / "part.npz")
    again = load_model(tmp_path / "part.npz", kernels="reference")
    np.testing.assert_array_equal(again.predict(X), part.predict(X))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"dtype": "float64"}, r"built for .*dtype='float32'.*; here .*dtype='float64'.*"),
        ({"kernels": "fast"}, r"built for .*kernels='reference'; here .*kernels='fast'"),
    ],
)
def test_layers_of_another_arithmetic_are_refused(options, words):
    base = small_model()
    expected = base.predict(X)
    with pytest.raises(ShapeError, match=f"part of a model {words}: expected the same"):
        Sequential(base.layers[:-1], **{"kernels": "reference", **options})
    np.testing.assert_array_equal(base.predict(X), expected)


def test_layers_for_another_input_are_refused():
    base = small_model()
    with pytest.raises(ShapeError, match=r"'conv2d' .*\(N, 12, 10, 1\).* get input \(N, 9, 9, 1\)"):
        Sequential([Input((9, 9, 1)), *base.layers[:2]], kernels="reference")


def test_build_makes_all_weights_anew():
    base = small_model()
    before = base.get_weights()
    base.fit(X, Y, verbose=0)
    base.build((12, 10, 1))
    assert all(map(np.array_equal, base.get_weights(), before))
    assert base.optimizer.iterations == 0 and base.progress == {} and base.unit_range is None
