"""Losses that are functions: Keras's lower-case ones, and those of one's own."""

import copy

import numpy as np
import pytest

from nanocnn import (
    SGD,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Dense,
    Flatten,
    Input,
    MeanAbsoluteError,
    MeanSquaredError,
    ModelCheckpoint,
    Sequential,
    SparseCategoricalCrossentropy,
    losses,
)
from support.small_models import BOTH_SETS, digits

X, Y = digits(48)
ONE_HOT = np.eye(10)[Y]


def squares(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2, axis=-1)


def elements(y_true, y_pred):
    return (y_true - y_pred) ** 2


def entropy(y_true, y_pred):
    return -(y_true * np.log(np.clip(y_pred, 1e-7, 1))).sum(axis=-1)


def only_at_the_prediction():
    """A loss that is not defined beside the first prediction that it gets."""
    seen = []

    def loss(y_true, y_pred):
        seen.append(y_pred)
        return y_pred.sum(1) * (1 if np.array_equal(y_pred, seen[0]) else np.nan)

    return loss


def trained(loss, kernels="reference", dtype="float64", last="softmax", **options):
    layers = [Input((12, 10, 1)), Flatten(), Dense(10, activation=last)]
    model = Sequential(layers, dtype=dtype, kernels=kernels, seed=1)
    model.compile(SGD(0.2, momentum=0.5), loss, metrics=["accuracy"])
    history = model.fit(X, ONE_HOT, 16, 3, validation_data=(X, ONE_HOT), verbose=0, **options)
    return model, history.history


@BOTH_SETS
@pytest.mark.parametrize(
    ("own", "builtin"),
    [(squares, "mse"), (elements, "mse"), (entropy, "cat")],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_function_trains_as_the_loss_that_it_is(kernels, own, builtin):
    known = "mse" if builtin == "mse" else "categorical_crossentropy"
    model, history = trained(own, kernels)
    other, expected = trained(known, kernels)
    assert history.keys() == expected.keys()
    for name, values in history.items():
        assert values == pytest.approx(expected[name], rel=1e-7)
    for weight, value in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, value, atol=1e-7)
    assert model.evaluate(X, ONE_HOT) == pytest.approx(other.evaluate(X, ONE_HOT), rel=1e-7)


def test_float32_models_and_shards_take_functions_too():
    _, expected = trained("mse")
    for options in ({"dtype": "float32"}, {"shards": 4}, {"sample_weight": np.ones(len(X))}):
        _, history = trained(squares, **options)
        assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_the_function_gets_float64_copies_and_may_change_them():
    seen = []

    def spoils(y_true, y_pred):
        seen.append((y_true.dtype, y_pred.dtype, y_true.shape, y_pred.shape))
        values = squares(y_true, y_pred)
        y_true[...] = y_pred[...] = 0
        return values

    plain, _ = trained(squares, dtype="float32")
    spoilt, _ = trained(spoils, dtype="float32")
    np.testing.assert_array_equal(plain.get_weights()[0], spoilt.get_weights()[0])
    assert set(seen) == {(np.dtype("float64"),) * 2 + ((16, 10),) * 2}
    assert len(seen) == 3 * (3 * (1 + 2 * 10) + 3)  # epochs of training and validation


def test_a_column_for_one_unit():
    model = Sequential([Input((12, 10, 1)), Flatten(), Dense(1)], kernels="reference")
    model.compile("sgd", lambda y_true, y_pred: np.abs(y_true - y_pred)[:, 0])
    loss = model.evaluate(X, Y)
    assert loss == pytest.approx(np.abs(model.predict(X)[:, 0] - Y).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t, p: np.mean((t - p) ** 2), r"'<lambda>' returned shape \(\) for 16 samples, exp"),
        (lambda t, p: np.zeros(3), r"returned shape \(3,\) for 16 samples, expected \(16,\)"),
        (lambda t, p: None, "loss '<lambda>' returned None, expected numbers"),
        (lambda t, p: (squares(t, p), p), "loss '<lambda>': expected an array of numbers"),
        (only_at_the_prediction(), "its gradient is NaN or infinite; keep"),
        (lambda t, p: p.sum(1) * np.nan, "the loss is nan"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_result_names_the_loss(function, message):
    with pytest.raises(ValueError, match=message):
        trained(function)


def test_what_is_no_loss_is_refused():
    with pytest.raises(ValueError, match=r"loss 'len': expected a function of \(y_true, y_pred\)"):
        losses.get(len)
    with pytest.raises(ValueError, match=r"loss 'squares' gets class numbers as one-hot rows"):
        trained(squares)[0].fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match=r"unknown loss .*did you mean MeanSquaredError\(\.\.\.\)"):
        losses.get(MeanSquaredError)


def test_files_cannot_store_a_function_and_say_so_before_the_training(tmp_path):
    model, _ = trained(squares)
    for suffix in (".npz", ".h5", ".keras"):
        with pytest.raises(TypeError, match="loss 'squares': model files cannot store a function"):
            model.save(tmp_path / f"m{suffix}")
        with pytest.raises(TypeError, match="model files cannot store a function"):
            model.fit(X, ONE_HOT, callbacks=[ModelCheckpoint(tmp_path / f"m{suffix}")], verbose=0)
    assert list(tmp_path.iterdir()) == []


BUILTIN = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
}


@pytest.mark.parametrize("name", BUILTIN)
def test_the_functions_of_keras_are_the_losses_of_that_name(name):
    function = getattr(losses, name)
    assert type(losses.get(function)) is type(losses.get(name)) is BUILTIN[name]
    rng = np.random.default_rng(2)
    p = rng.random((6, 4))
    y = rng.integers(0, 4, 6) if name.startswith("sparse") else np.eye(4)[rng.integers(0, 4, 6)]
    each = function(y, p)
    assert each.shape == (6,) and BUILTIN[name]()(y, p) == pytest.approx(each.mean(), rel=1e-12)
    if "cross" in name:
        from_logits = function(y, p, True)
        assert BUILTIN[name](from_logits=True)(y, p) == pytest.approx(from_logits.mean(), rel=1e-12)


def test_the_absolute_error_by_hand():
    assert MeanAbsoluteError()([[1, 2], [3, 4]], [[1.5, 2], [3, 0]]) == pytest.approx(4.5 / 4)
    np.testing.assert_allclose(losses.mae([1, 2], [[3], [2]]), [2, 0])
    model, _ = trained("mean_absolute_error", last="linear")
    assert type(copy.copy(model).loss) is MeanAbsoluteError


def with_keras(test):
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore::DeprecationWarning")(test))


@with_keras
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("K", [0, 1, 5])
def test_binary_crossentropy_is_keras(keras, K, from_logits, smoothing):
    """(N,), (N,1) and (N,K) in float64: values of Keras, by itself and through `evaluate`."""
    rng = np.random.default_rng(K)
    shape = (9, K) if K else (9,)
    y, z = rng.integers(0, 2, shape).astype(float), 3 * rng.standard_normal((9, K or 1))
    options = {"from_logits": from_logits, "label_smoothing": smoothing}
    prediction = z if from_logits else 1 / (1 + np.exp(-z))
    tensors = [keras.ops.convert_to_tensor(each.reshape(z.shape), "float64")
               for each in (y, prediction)]  # fmt: skip
    expected = np.array(keras.losses.binary_crossentropy(*tensors, **options))
    np.testing.assert_allclose(losses.binary_crossentropy(y, prediction, **options), expected,
                               rtol=1e-10)  # fmt: skip
    last = "linear" if from_logits else "sigmoid"
    model = Sequential([Input((K or 1,)), Dense(K or 1, activation=last)], dtype="float64",
                       kernels="fast")  # fmt: skip
    model.set_weights([np.eye(K or 1), np.zeros(K or 1)])
    model.compile("sgd", BinaryCrossentropy(**options))
    assert model.evaluate(z, y) == pytest.approx(expected.mean(), rel=1e-10)
