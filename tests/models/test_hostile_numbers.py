"""Numbers and shapes at the edge: the right answer or a clear error, in both kernel sets alike."""

import numpy as np
import pytest

from nanocnn import (
    SGD,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
)
from nanocnn.common.errors import NonFiniteError
from support.compare import TOLERANCE, relative_error
from support.small_models import BOTH_SETS, SPARSE, digits, small_model

SETS = ("reference", "fast")
X, Y = digits(33)


def models(*layers, dtype="float32", loss=SPARSE, optimizer=None):
    """The same model in both kernel sets; `layers` are functions that make a layer."""
    pair = [Sequential([make() for make in layers], dtype=dtype, kernels=name) for name in SETS]
    for model in pair:
        model.compile(optimizer or SGD(0.1), loss, metrics=["accuracy"])
    return pair


def together(pair, x, y, steps=2, tolerance=None):
    """Predict, evaluate and train with both; all results agree. Returns the predictions."""
    tolerance = tolerance or 20 * TOLERANCE[str(pair[0].dtype)]

    def agree(what, function):
        results = []
        for model in pair:
            try:
                results.append(function(model))
            except NonFiniteError as error:
                results.append(str(error))
        a, b = results
        if isinstance(a, str) or isinstance(b, str):
            assert a == b, what
        else:
            error = max(relative_error(p, q) for p, q in zip(a, b, strict=True))
            assert error <= tolerance, f"{what}: {error:.1e}"
        return a

    predictions = agree("predict", lambda m: [m.predict(x)])
    agree("evaluate", lambda m: [m.evaluate(x, y)])
    for step in range(steps):
        agree(f"step {step}", lambda m: [m.train_on_batch(x, y)])
    agree("weights", lambda m: m.get_weights())
    return predictions[0] if isinstance(predictions, list) else predictions


def input_of(shape):
    return lambda: Input(shape)


NETWORK = (
    lambda: Conv2D(6, 3, activation="relu"), lambda: MaxPooling2D(2), Flatten,
    lambda: Dense(20, activation="relu"), lambda: Dense(10, activation="softmax"),
)  # fmt: skip


def network(shape=(12, 10, 1), **options):
    return models(input_of(shape), *NETWORK, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@BOTH_SETS
def test_pixels_that_are_not_finite_are_refused_with_their_place(kernels, value):
    x = (X / 255).astype("float32")
    x[5, 6, 7] = value
    model = small_model(kernels)
    for use in (lambda: model.predict(x), lambda: model.fit(x, Y), lambda: model.evaluate(x, Y)):
        with pytest.raises(NonFiniteError, match=r"index \(5, 6, 7, 0\)"):
            use()


@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-30, 1e10, 1e20])
def test_tiny_and_huge_pixels(scale):
    x = (X / 255 * scale).astype("float32")
    p = together(network(), x, Y, steps=1 if scale < 1 else 0, tolerance=1e-3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    if scale < 1e-20:
        np.testing.assert_allclose(p, 0.1, atol=1e-6)


def test_pixels_of_1e38_are_an_error_that_names_the_layer_or_the_right_answer():
    x = np.full((4, 12, 10, 1), 1e38, "float32")
    pair = network()
    for model in pair:
        model.layers[0].params["kernel"][...] = 1
    message = together(pair, x, [1, 2, 3, 4], steps=1)
    assert "first seen in the output of layer 'conv2d'" in message
    for model in pair:  # the failed step changed nothing
        assert np.isfinite(model.get_weights()[2]).all()
        assert model.optimizer.iterations == 0
    exact = network(dtype="float64")
    for model in exact:
        model.layers[0].params["kernel"][...] = 1
    assert np.isfinite(together(exact, x, [1, 2, 3, 4], steps=0)).all()


def test_logits_of_1e4_keep_loss_and_gradient_exact():
    pair = models(input_of((3,)), lambda: Dense(3, "softmax"), optimizer=SGD(1.0))
    for model in pair:
        model.set_weights([np.eye(3), np.zeros(3)])
    x = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4]], "float32")
    assert [model.predict(x)[0].tolist() for model in pair] == [[1, 0, 0]] * 2
    for model in pair:
        loss = model.train_on_batch(x, [0, 2])[0]
        assert loss == pytest.approx(1e4)  # (0 + 2e4) / 2, not clipped
        np.testing.assert_allclose(model.get_weights()[1], [-0.5, 0, 0.5])  # lr * (p - t), exact


@pytest.mark.parametrize("value", [0, 1, 255])
def test_constant_images(value):
    together(network(), np.full((20, 12, 10), value, np.uint8), np.arange(20) % 7)


def test_constant_images_through_batch_normalization():
    pair = models(input_of((12, 10, 1)), BatchNormalization, *NETWORK)
    together(pair, np.full((20, 12, 10), 255, np.uint8), np.arange(20) % 7)


def test_one_class_only():
    pair = network()
    together(pair, X, np.full(33, 3), steps=30, tolerance=1e-3)
    for model in pair:
        assert model.evaluate(X, np.full(33, 3))[1] == 1.0


def test_a_softmax_of_one_class_is_always_1():
    pair = models(input_of((4,)), lambda: Dense(1, "softmax"))
    assert (together(pair, np.ones((3, 4), "float32"), [0, 0, 0]) == 1).all()


@pytest.mark.parametrize("batch_size", [1, 16, 32])
def test_batches_of_one_and_a_last_batch_of_one(batch_size):
    a, b = (model.fit(X, Y, batch_size, 2, verbose=0).history for model in network())
    assert relative_error(a["loss"], b["loss"]) < 1e-4


def test_one_image_through_batch_normalization_in_training():
    pair = models(
        input_of((1, 1, 3)), BatchNormalization, Flatten, lambda: Dense(4, activation="softmax")
    )
    together(pair, np.array([[[[1, 2, 3]]]], "float32"), [1])


SHAPES = {
    "1x1 image": ((1, 1, 1), [lambda: Conv2D(3, 1), lambda: MaxPooling2D(1)]),
    "1x1 image, same": ((1, 1, 2), [lambda: Conv2D(3, 5, padding="same")]),
    "1x1 pooled": ((1, 1, 2), [lambda: AveragePooling2D(3, padding="same")]),
    "one row": ((1, 17, 1), [lambda: Conv2D(3, (1, 4)), lambda: MaxPooling2D((1, 2))]),
    "one column": ((17, 1, 3), [lambda: Conv2D(3, (5, 1), strides=(3, 1))]),
    "kernel as large as the image": ((7, 9, 2), [lambda: Conv2D(5, (7, 9), activation="relu")]),
    "larger than the image": ((3, 4, 2), [lambda: Conv2D(5, 7, padding="same")]),
    "more filters than pixels": ((2, 3, 1), [lambda: Conv2D(300, 2, activation="relu")]),
    "many channels": ((3, 3, 257), [lambda: Conv2D(3, 2)]),
    "pool window over 255 cells": ((20, 21, 1), [lambda: MaxPooling2D(17)]),
    "stride larger than the window": ((13, 11, 1), [lambda: Conv2D(4, 2, strides=5)]),
    "dilated": ((13, 11, 1), [lambda: Conv2D(4, 3, dilation_rate=4)]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SHAPES)
def test_unusual_shapes_give_the_same_in_both_sets(case, dtype):
    shape, layers = SHAPES[case]
    pair = models(
        input_of(shape), *layers, Flatten, lambda: Dense(5, activation="softmax"), dtype=dtype
    )
    rng = np.random.default_rng(0)
    for n in (1, 3):
        together(pair, rng.standard_normal((n, *shape)), np.arange(n) % 5)


def test_a_thousand_classes():
    pair = models(input_of((40,)), lambda: Dense(1000, activation="softmax"))
    rng = np.random.default_rng(0)
    p = together(pair, rng.standard_normal((50, 40)), rng.integers(1000, size=50))
    assert p.shape == (50, 1000)


def test_a_thousand_features_of_zero_weight():
    pair = models(input_of((1000,)), lambda: Dense(10, "softmax", kernel_initializer="zeros"))
    p = together(pair, np.random.default_rng(0).standard_normal((5, 1000)), np.arange(5))
    np.testing.assert_allclose(p, 0.1, rtol=1e-6)


@pytest.mark.slow
def test_images_of_4096_by_4096():
    pair = models(
        input_of((4096, 4096, 1)), lambda: Conv2D(1, 3, activation="relu"),
        lambda: MaxPooling2D(64), lambda: AveragePooling2D(4), Flatten,
        lambda: Dense(10, "softmax"),
    )  # fmt: skip
    x = np.random.default_rng(0).integers(256, size=(1, 4096, 4096), dtype=np.uint8)
    together(pair, x, [3], steps=1, tolerance=1e-3)
