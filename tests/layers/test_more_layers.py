"""Global pooling, ReLU and its kin, Softmax, Reshape, zero padding, Rescaling, Normalization."""

import copy
import pickle

import numpy as np
import pytest

import nanocnn
from nanocnn import (
    Activation,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    LeakyReLU,
    NonFiniteError,
    Normalization,
    ReLU,
    Rescaling,
    Reshape,
    Sequential,
    ShapeError,
    Softmax,
    ZeroPadding2D,
)
from support.small_models import BOTH_SETS, SPARSE, digits

MAKERS = {
    "global average": lambda: GlobalAveragePooling2D(keepdims=True),
    "global max": lambda: GlobalMaxPooling2D(),
    "relu": lambda: ReLU(max_value=1.5, negative_slope=0.25, threshold=0.125),
    "leaky relu": lambda: LeakyReLU(0.125),
    "softmax": lambda: Softmax(),
    "reshape": lambda: Reshape((4, -1)),
    "padding": lambda: ZeroPadding2D(((1, 0), (2, 3))),
    "rescaling": lambda: Rescaling([0.5, 2.0], 0.25),
    "normalization": lambda: Normalization(mean=[0.5, 1.0], variance=2.0),
    "adapted": lambda: Normalization(),
    "one mean": lambda: Normalization(axis=None, invert=True),
}


def forward(layer, x, kernels, dtype="float64"):
    x = np.asarray(x, dtype)
    layer.build(x.shape[1:], dtype=dtype, kernels=kernels)
    return layer.forward(x, training=True)


# --- Values


@pytest.mark.parametrize("layer, expected", [
    (ReLU(), [0, 0, 0, 5, 10]),
    (ReLU(max_value=10, negative_slope=0.5), [-5, -2.5, 0, 5, 10]),
    (ReLU(max_value=5.0), [0, 0, 0, 5, 5]),
    (ReLU(threshold=5.0), [0, 0, 0, 0, 10]),
    (ReLU(6, 0.5, 2), [-6, -3.5, -1, 5, 6]),
    (LeakyReLU(), [-3, -1.5, 0, 5, 10]),
    (LeakyReLU(0.5), [-5, -2.5, 0, 5, 10]),
    (Activation("leaky_relu"), [-2, -1, 0, 5, 10]),
    (Activation("elu"), [np.expm1(-10), np.expm1(-5), 0, 5, 10]),
    (Activation("gelu"), [0, -1.4332584e-6, 0, 4.99999857, 10]),
])  # fmt: skip
def test_activations_have_the_values_that_keras_documents(kernels, layer, expected):
    x = [[-10.0, -5.0, 0.0, 5.0, 10.0]]
    np.testing.assert_allclose(forward(layer, x, kernels)[0], expected, rtol=1e-7, atol=1e-9)


def test_equal_maxima_share_the_gradient_of_a_global_maximum(kernels):
    x = np.array([[1.0, 3.0], [3.0, 2.0]]).reshape(1, 2, 2, 1)
    layer = GlobalMaxPooling2D()
    assert forward(layer, x, kernels).tolist() == [[3.0]]
    assert layer.backward(np.ones((1, 1))).ravel().tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("padding, expected", [
    (1, (4, 5)), ((2, 0), (6, 3)), (((1, 0), (0, 3)), (3, 6)), ([[0, 0], [1, 0]], (2, 4)),
])  # fmt: skip
def test_padding_takes_the_forms_of_keras(kernels, padding, expected):
    y = forward(ZeroPadding2D(padding), np.ones((1, 2, 3, 1)), kernels)
    assert y.shape[1:3] == expected and y.sum() == 6


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_layer_is_rebuilt_from_its_config(make):
    layer = make()
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


# --- Refusals


@pytest.mark.parametrize("make, message", [
    (lambda: ReLU(-1.0), "ReLU: max_value=-1.0, expected a number of at least 0"),
    (lambda: LeakyReLU(None), "LeakyReLU: negative_slope=None, expected a number of at least 0"),
    (lambda: Reshape((3, -1, -1)), "target_shape=.*one may be -1"),
    (lambda: Reshape((3, 0)), "target_shape=.*one may be -1"),
    (lambda: ZeroPadding2D((1, 2, 3)), r"padding=\(1, 2, 3\), expected an integer, a pair"),
    (lambda: ZeroPadding2D(-1), "ZeroPadding2D: padding=-1, expected an integer of at least 0"),
    (lambda: Rescaling("a"), "Rescaling: scale='a', expected a number, or a list of one a channel"),
    (lambda: Rescaling([[1.0]]), r"Rescaling: scale=\[\[1.0\]\], expected a number, or a list"),
    (lambda: Normalization(mean=1.0), "mean=1.0, variance=None, expected both or neither"),
    (lambda: Normalization((1, 2)), r"axis=\(1, 2\), expected -1 \(channels\) or None"),
    (lambda: GlobalMaxPooling2D(keepdims=1), "GlobalMaxPooling2D: keepdims=1, expected True or F"),
    (lambda: Activation("swish"), "activation 'swish'"),
])  # fmt: skip
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer, shape, message", [
    (Reshape((5, -1)), (7,), r"reshape.* \(N, 7\), expected samples of as many elements"),
    (GlobalAveragePooling2D(), (7,), r"expected images \(N, height, width, channels\)"),
    (ZeroPadding2D(), (7, 3), r"expected images \(N, height, width, channels\)"),
    (Softmax(axis=1), (4, 4, 2), r"axis=1, expected -1 \(the last axis\)"),
    (Normalization(axis=1), (4, 4, 2), r"axis=1, expected -1 \(channels\) or None"),
    (Rescaling([1.0, 2.0, 3.0]), (4, 4, 2), r"scale has 3 numbers, expected 1 or 2 \(channels\)"),
    (Normalization(None, [1.0, 2], [1.0, 2]), (4, 4, 2), "mean has 2 numbers, expected 1 or 1"),
])  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.build(shape)


# --- In models


@BOTH_SETS
def test_a_last_softmax_layer_is_computed_with_the_loss(kernels):
    results = []
    for last in (Softmax(), Activation("softmax")):
        model = Sequential([Input((12, 10, 1)), Flatten(), Dense(10), last], kernels=kernels)
        model.compile("sgd", SPARSE)
        assert model.execution_plan.final is last
        x, y = digits(20)
        results.append((model.train_on_batch(x, y), model.predict(x).tobytes()))
    assert results[0] == results[1]


@BOTH_SETS
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_layer_is_trained_through_and_copied(kernels, make):
    x, y = digits(20)
    layers = [Input((12, 10, 1)), Conv2D(2, 3), make(), Flatten(), Dense(10, "softmax")]
    model = Sequential(layers, kernels=kernels)
    model.compile("adam", SPARSE)
    before = model.train_on_batch(x, y)
    for _ in range(30):
        after = model.train_on_batch(x, y)
    assert after < before
    expected = model.predict(x)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copied.predict(x), expected)
    assert layers[2].formula() in str(model.trace(x, y))


@pytest.mark.parametrize("layer", [Rescaling(1 / 255), Normalization()], ids=lambda each: each.name)
def test_a_model_that_scales_pixels_takes_them_as_they_are(layer):
    x, _ = digits(9)
    model = Sequential([Input((12, 10, 1)), layer, Flatten()])
    factor = layer.scale if isinstance(layer, Rescaling) else 1
    expected = x.reshape(9, -1) * np.float32(factor)
    np.testing.assert_array_equal(model.predict(x), expected)
    assert Sequential([Input((12, 10, 1)), Flatten()]).predict(x).max() <= 1  # others scale


# --- Normalization


@pytest.mark.parametrize("axis", [-1, None, 3])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_adapt_takes_mean_and_variance_of_all_data(rng, axis, dtype, kernels):
    x = rng.integers(0, 255, (2500, 4, 3, 2)).astype(dtype)
    layer = Normalization(axis)
    layer.adapt(x)
    y = forward(layer, x, kernels)
    axes = None if axis is None else (0, 1, 2)
    x = x.astype("float64")
    np.testing.assert_allclose(layer.state["mean"], x.mean(axis=axes), rtol=1e-12)
    np.testing.assert_allclose(layer.state["variance"], x.var(axis=axes), rtol=1e-12)
    np.testing.assert_allclose(y, (x - x.mean(axes)) / x.std(axes), rtol=1e-10, atol=1e-10)
    back = Normalization(axis, *(layer.state[n].tolist() for n in ("mean", "variance")), True)
    np.testing.assert_allclose(forward(back, y, kernels), x, rtol=1e-10, atol=1e-9)


def test_a_constant_channel_is_divided_by_the_least_deviation(kernels):
    y = forward(Normalization(mean=1.0, variance=0.0), [[1.0], [1.5]], kernels)
    np.testing.assert_allclose(y, [[0], [0.5e7]], rtol=1e-12)


@BOTH_SETS
def test_predictions_follow_the_mean_that_is_adapted_or_set_later(kernels):
    """The pass was captured before."""
    layer = Normalization()
    model = Sequential([Input((2,)), layer, Dense(2, kernel_initializer="ones")], kernels=kernels)
    x = np.array([[1.0, 2.0], [3.0, 6.0]], "float32")
    first = [model.predict(x).tolist() for _ in range(3)]
    assert first == [[[3, 3], [9, 9]]] * 3
    layer.adapt(x)
    assert model.predict(x).tolist() == [[-2, -2], [2, 2]]
    model.set_weights([[0, 0], [4, 4], 0, *model.get_weights()[3:]])
    assert model.predict(x).tolist() == [[1.5, 1.5], [4.5, 4.5]]


def test_what_adapt_refuses():
    for data, error, message in [
        (iter([np.zeros((2, 2))]), ShapeError, r"data: object of shape \(\), expected numbers"),
        (np.zeros((0, 3)), ShapeError, r"shape \(0, 3\), expected numbers \(N, \.\.\.\)"),
        (np.zeros(3), ShapeError, r"data: float64 of shape \(3,\), expected numbers \(N, \.\.\.\)"),
        (np.array([[np.nan]]), NonFiniteError, "data: NaN or infinity"),
        (np.array([["a"]]), ShapeError, "expected numbers"),
    ]:
        with pytest.raises(error, match=message):
            Normalization().adapt(data)
    with pytest.raises(ValueError, match=r"mean=1\.0 was given"):
        Normalization(mean=1, variance=1).adapt(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"variance=-1, .*each of at least 0"):
        Normalization(mean=1, variance=-1)
    layer = Normalization()
    layer.build((4, 4, 2))
    with pytest.raises(ShapeError, match=r"shape \(9, 2\), expected numbers \(N, 4, 4, 2\)"):
        layer.adapt(np.zeros((9, 2)))


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".keras"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_layer_is_read_back_from_every_file(make, suffix, tmp_path, rng):
    layer = make()
    if isinstance(layer, Normalization) and layer.mean is None:
        layer.adapt(rng.standard_normal((50, 4, 4, 2)))
    layers = [Input((4, 4, 2)), layer, Flatten(), Dense(3, activation="gelu"), Activation("elu")]
    model = Sequential(layers)
    model.save(tmp_path / f"model{suffix}")
    again = nanocnn.load_model(tmp_path / f"model{suffix}")
    assert again.get_config()["layers"] == model.get_config()["layers"]
    x = rng.standard_normal((5, 4, 4, 2)).astype("float32")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
