"""Models of every kind can be described and traced, with the bits of `model.trace`."""

import json

import numpy as np
import pytest

import nanocnn
from nanocnn import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    LeakyReLU,
    MaxPooling2D,
    Normalization,
    RandomErasing,
    RandomRotation,
    RandomZoom,
    ReLU,
    Rescaling,
    Reshape,
    Sequential,
    Softmax,
    ZeroPadding2D,
)  # fmt: skip
from nanocnn.common.errors import ShapeError
from nanocnn.explore.digits import Digits
from nanocnn.explore.packing import pack
from nanocnn.explore.session import Session
from support.custom_layers import Doubled, Leaky, Mirrored, Scale
from support.explored import TESTS, answer, arrays, ask, pixels_of, session_of, small

IMAGE = (28, 28, 1)
END = Flatten, lambda: Dense(10, activation="softmax")
KINDS = {
    "plain": lambda: [Conv2D(2, 3, padding="same", activation="tanh")],
    "batch norm": lambda: [Conv2D(2, 3), BatchNormalization(), Activation("relu")],
    "frozen batch norm": lambda: [BatchNormalization(trainable=False)],
    "dropout": lambda: [Dropout(0.3), Dropout(0.0)],
    "random": lambda: [RandomRotation(0.1), RandomZoom(0.1), RandomErasing(), Conv2D(1, 3)],
    "scaled": lambda: [Rescaling(1 / 255), Conv2D(1, 3)],
    "normalized": lambda: [Normalization(mean=0.1, variance=0.2)],
    "pools": lambda: [MaxPooling2D(3, 2, "same"), AveragePooling2D((2, 3)), MaxPooling2D((1, 2))],
    "wide pool": lambda: [MaxPooling2D(20)],
    "global": lambda: [Conv2D(4, 3, strides=2), GlobalAveragePooling2D(keepdims=True)],
    "global max": lambda: [Conv2D(4, 3, dilation_rate=2), GlobalMaxPooling2D()],
    "reshape": lambda: [Flatten(), Reshape((14, 56)), Flatten(), Dense(16), Reshape((4, 4, 1))],
    "padding": lambda: [ZeroPadding2D(2), LeakyReLU(0.1), ReLU(max_value=0.5), Softmax()],
    "penalty": lambda: [Conv2D(2, 3, kernel_regularizer=nanocnn.L2(0.1), use_bias=False)],
    "custom": lambda: [Scale(), Leaky(0.3), Mirrored()],
    "custom dense": lambda: [Flatten(), Doubled(4)],
}


def made(kind, loss="sparse_categorical_crossentropy", **options):
    model = Sequential([Input(IMAGE), *KINDS[kind](), *(each() for each in END)], **options)
    if loss:
        model.compile("adam", loss)
    return model


def every_array(session):
    """All arrays that the description names."""
    requests = [
        (layer["name"], what)
        for layer in ask(session, "describe")["model"]["layers"]
        for what in (
            *("x", "y", "z", "dx", "dy", "dz"), *(f"param:{name}" for name in layer["params"]),
            *(f"grad:{name}" for name in layer["trained"]),
            *(f"saved:{name}" for name in layer["saved"]),
        )
    ]  # fmt: skip
    return requests, arrays(session, *requests)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_is_described_and_traced(kind, dtype, training):
    model = made(kind, dtype=dtype, seed=2)
    with session_of(model) as session:
        ask(session, "mode", training=training, seed=9)
        model.rng.bit_generator.state = np.random.default_rng(9).bit_generator.state
        x, y = session.sample
        expected = model.trace(x, y, training)
        requests, found = every_array(session)
        for (layer, what), array in zip(requests, found, strict=True):
            if what in ("x", "y", "z", "dx") or (what in ("dy", "dz") and array.size):
                assert array.tobytes() == getattr(expected[layer], what).tobytes(), (layer, what)
            assert array.dtype.kind in "biuf"
        assert session.trace().loss == expected.loss
        packed = pack(ask(session, "session"), found)  # all of it can travel
        assert len(packed) > 1000
        described = ask(session, "describe")["model"]
        json.dumps(described, allow_nan=False)
        assert [each["name"] for each in described["layers"]] == [e.name for e in model.layers]
        assert all(each["forward"]["formula"] for each in described["layers"])


def test_the_description_points_at_the_reference_kernels():
    with session_of(small()) as session:
        conv, *_, dense = ask(session, "describe")["model"]["layers"]
        for place, start in [
            (conv["forward"], "def conv2d_forward("),
            (conv["backward"]["dz"], "def relu_backward("),
            (conv["backward"]["dkernel"], "def conv2d_backward("),
            (dense["activation_forward"], "def softmax_cross_entropy_forward("),
        ]:  # fmt: skip
            source = ask(session, "source", function=place["function"])
            assert source["text"].startswith(start) and source["file"] == place["file"]
            lines = source["text"].count("\n")
            assert source["line"] <= place["line"] < source["line"] + lines
        assert "dz" not in dense["backward"] and ask(session, "describe")["model"]["loss"]["fused"]
        assert conv["reach"]["size"] == [5, 5]


def test_formulas_of_batch_normalization_follow_the_mode():
    with session_of(made("batch norm")) as session:
        before = ask(session, "describe")["model"]["layers"][1]
        ask(session, "mode", training=True)
        after = ask(session, "describe")["model"]["layers"][1]
        assert before["backward"]["dx"] != after["backward"]["dx"]
        assert (before["operation"], after["operation"]) == ("batch_norm_inference", "batch_norm")


LOSSES = [
    (lambda: [Flatten(), Dense(10, activation="softmax")], "SparseCategoricalCrossentropy"),
    (lambda: [Flatten(), Dense(1, activation="sigmoid")], "BinaryCrossentropy"),
    (lambda: [Flatten(), Dense(10)], "MeanSquaredError"),
    (lambda: [Flatten(), Dense(10), Activation("softmax")], "SparseCategoricalCrossentropy"),
    (lambda: [Conv2D(2, 3, activation="softmax")], "MeanSquaredError"),
    (lambda: [Flatten(), Dense(1)], "MeanSquaredError"),
]


@pytest.mark.parametrize(("layers", "loss"), LOSSES)
def test_a_model_without_a_loss_gets_one_in_the_session_only(layers, loss):
    model = Sequential([Input(IMAGE), *layers()])
    with session_of(model) as session:
        told = ask(session, "describe")["model"]["loss"]
        assert told["name"] == loss and told["added"] and "no loss" in told["note"]
        assert np.isfinite(ask(session, "state")["loss"])
        ask(session, "digit", pixels_of(TESTS[0][3]))
        assert np.isfinite(ask(session, "state")["loss"])
    assert not model._compiled
    with session_of(small()) as session:
        assert ask(session, "describe")["model"]["loss"]["note"] == ""


@pytest.mark.parametrize("loss", [
    "categorical_crossentropy", "binary_crossentropy", "mse", "mae",
    nanocnn.CategoricalCrossentropy(label_smoothing=0.1),
    nanocnn.SparseCategoricalCrossentropy(label_smoothing=0.1),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:model 'sequential'")
def test_the_label_has_the_form_that_the_loss_takes(loss):
    model = made("plain", loss)
    with session_of(model) as session:
        ask(session, "digit", test=5, label=3)
        y = 3 if isinstance(loss, nanocnn.SparseCategoricalCrossentropy) else np.eye(10)[3]
        expected = model.trace(TESTS[0][5:6], np.array([y]), training=False)
        assert ask(session, "state")["loss"] == expected.loss
        assert np.isfinite(ask(session, "accuracy")["loss"])


def squared(y_true, y_pred):
    return ((y_true - y_pred) ** 2).sum(axis=1)


def test_a_loss_and_a_metric_of_ones_own_go_with_the_model():
    model = made("plain", None)
    model.compile("sgd", squared, metrics=[lambda y_true, y_pred: y_pred.max(axis=1)])
    y = np.eye(10)[TESTS[1][:20]]
    with session_of(model, TESTS[0][:20], y) as session:
        expected = model.trace(TESTS[0][3:4], y[3:4], training=False)
        assert ask(session, "digit", test=3)["loss"] == expected.loss
        assert ask(session, "describe")["model"]["loss"]["function"] == ""
        assert ask(session, "accuracy")["loss"] > 0


def test_logits_are_told_as_such():
    loss = nanocnn.SparseCategoricalCrossentropy(from_logits=True)
    model = Sequential([Input(IMAGE), Flatten(), Dense(10)])
    model.compile("sgd", loss)
    with session_of(model) as session:
        told = ask(session, "describe")["model"]
        assert told["output"]["logits"] and not told["loss"]["fused"]
        assert told["loss"]["function"] == "softmax_cross_entropy_forward"
        assert arrays(session, ("dense", "dy"))[0].shape == (10,)


def test_weights_that_are_not_numbers_can_be_looked_at():
    model = small()
    model.layers[0].params["kernel"][1, 1] = np.nan
    model.layers[0].params["bias"][2] = np.inf
    with session_of(model) as session:
        state = ask(session, "state")
        assert np.isnan(state["loss"]) and np.isnan(state["prediction"]).any()
        request = {"layer": "conv2d", "what": "param:kernel"}
        ((kernel, about),) = answer(session, "arrays", {"arrays": [request]})[1]
        finite = kernel[np.isfinite(kernel)]
        assert len(finite) == 72 and about["whole"] == [finite.min(), finite.max()]
        assert ask(session, "accuracy")["accuracy"] is not None
        assert len(ask(session, "pick", by="hardest", count=3)["indices"]) == 3
        ask(session, "digit", pixels_of(TESTS[0][0]))
        assert b'"NaN"' in pack(state)


def test_samples_of_ones_own_are_taken_as_the_model_takes_them():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 3, (40, 6, 5, 3)).astype("f"), rng.integers(0, 4, 40)
    model = Sequential([Input((6, 5, 3)), Flatten(), Dense(4, activation="softmax")])
    for loss, labels in [("sparse_categorical_crossentropy", y), ("mse", np.eye(4)[y])]:
        model.compile("sgd", loss)
        with session_of(model, x, labels) as session:
            told = ask(session, "session")
            assert (told["tests"], told["can_draw"], told["labels"]) == (40, False, list("0123"))
            assert ask(session, "digit", test=7)["label"] == y[7]
            expected = model.trace(x[7:8], labels[7:8], training=False)
            assert ask(session, "state")["loss"] == expected.loss
            assert session.picture.shape == (6, 5, 3) and session.picture.dtype == np.uint8
            with pytest.raises(ValueError, match="no drawn digits"):
                ask(session, "digit", pixels_of(TESTS[0][0]))


@pytest.mark.parametrize("kind", ["list", "memory-mapped"])
def test_samples_may_be_whatever_fit_takes(kind, tmp_path):
    x, y = np.divide(TESTS[0][:30], 255, dtype="f"), TESTS[1][:30]
    given = x.tolist()
    if kind == "memory-mapped":
        np.save(tmp_path / "x.npy", x)
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    with session_of(small(), given, y.tolist()) as session:
        assert ask(session, "digit", test=4)["label"] == y[4]
        assert np.array_equal(arrays(session, (None, "x"))[0][..., 0], x[4])
        assert np.array_equal(session.picture, TESTS[0][4])


@pytest.mark.parametrize(("output", "y"), [
    (Dense(3), np.random.default_rng(1).random((20, 3))),
    (Dense(1), np.random.default_rng(1).random(20)),
    (Reshape((2, 2)), np.random.default_rng(1).random((20, 2, 2))),
])  # fmt: skip
def test_targets_that_are_no_classes_are_kept_as_they_are(output, y):
    x = np.random.default_rng(2).random((20, 4), "f")
    model = Sequential([Input((4,)), output])
    model.compile("sgd", "mse")
    with session_of(model, x, y) as session:
        assert ask(session, "digit", test=3)["label"] is None
        expected = model.trace(x[3:4], y[3:4], training=False)
        assert ask(session, "state")["loss"] == expected.loss
        assert ask(session, "accuracy")["accuracy"] is None
        assert ask(session, "pick", by="hardest", count=2)["labels"] == [None, None]
        for by in ("wrong", "class:1"):
            with pytest.raises(ValueError, match="no classes"):
                ask(session, "pick", by=by)
        with pytest.raises(ValueError, match="no classes"):
            ask(session, "confusion")


def test_samples_without_labels_are_labelled_as_the_model_takes_them():
    with session_of(small(), TESTS[0][:9]) as session:
        state = ask(session, "digit", test=4)
        assert state["label"] == int(np.argmax(state["prediction"]))
        with pytest.raises(ValueError, match="no labels"):
            ask(session, "pick", by="hardest")
        assert np.isnan(ask(session, "pick", by="random", count=2)["losses"]).all()


@pytest.mark.parametrize("shape", [(28, 28), (784,), (28, 28, 1), (1, 28, 28)])
def test_digits_come_in_the_shape_that_the_model_takes(shape):
    model = Sequential([Input(shape), Reshape((28, 28, 1)), Flatten(), Dense(10)])
    with session_of(model) as session:
        told = ask(session, "session")
        assert told["can_draw"] and session.picture.shape == (28, 28)
        (x,) = arrays(session, (None, "x"))
        assert np.array_equal(np.rint(255 * x.reshape(28, 28)), TESTS[0][0])


def test_pixels_of_0_to_255_are_told_by_layer_training_or_word():
    scaled = Sequential([Input(IMAGE), Rescaling(1 / 255), Flatten(), Dense(10)])
    trained = small()
    trained.fit(TESTS[0][:64].astype("f"), TESTS[1][:64], epochs=1, verbose=0)
    for model, words in [(scaled, {}), (trained, {}), (small(), {"raw_pixels": True})]:
        with session_of(model, **words) as session:
            assert arrays(session, (None, "x"))[0].max() == 255
            assert np.array_equal(session.picture, TESTS[0][0])


def test_models_of_other_inputs_need_samples():
    model = Sequential([Input((32, 32, 3)), Flatten(), Dense(10)])
    with pytest.raises(ShapeError, match=r"explore\(model, x, y\)"):
        Digits(model)
    with pytest.raises(ValueError, match="expected the samples x"):
        Digits(small(), None, TESTS[1])
    with pytest.raises(ShapeError, match="9 samples and y has 8"):
        Digits(small(), TESTS[0][:9], TESTS[1][:8])
    with pytest.raises(RuntimeError, match="no weights yet"):
        Session(Sequential([Flatten(), Dense(10)]))


def test_digits_of_classes_that_the_model_has_not_are_left_out():
    model = Sequential([Input(IMAGE), Flatten(), Dense(3, activation="softmax")])
    with session_of(model) as session:
        assert set(session.digits.labels) == {0, 1, 2}
        assert ask(session, "session")["labels"] == ["0", "1", "2"]
