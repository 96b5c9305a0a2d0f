"""Binary cross-entropy, labels in all their forms, and losses that do not fit the last layer."""

from math import log

import numpy as np
import pytest

from nanocnn import (
    Activation,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Dense,
    Dropout,
    Flatten,
    Input,
    MeanSquaredError,
    Sequential,
    SparseCategoricalCrossentropy,
    load_model,
)
from nanocnn.common.errors import ShapeError
from nanocnn.gradcheck import check
from nanocnn.kernels import get_kernels
from support.small_models import BOTH_SETS, SPARSE, digits

X, CLASSES = digits(60)
Y = (CLASSES > 4).astype(int)
MANY = np.stack([CLASSES > 4, CLASSES % 2 == 0, CLASSES < 3], -1).astype(int)


def model(
    units=1, activation="sigmoid", loss="binary_crossentropy", kernels="reference", **options
):
    last = Dense(units, activation=activation)
    made = Sequential([Input((12, 10, 1)), Flatten(), last], kernels=kernels)
    made.compile("adam", loss, metrics=["accuracy"])
    return made


# --- Binary cross-entropy ---


def test_values_worked_out_by_hand():
    y, p = [[1], [0], [1]], [[0.9], [0.2], [0.5]]
    expected = -(log(0.9) + log(0.8) + log(0.5)) / 3
    assert BinaryCrossentropy()(y, p) == pytest.approx(expected, rel=1e-12)
    assert BinaryCrossentropy()([1, 0, 1], p) == pytest.approx(expected, rel=1e-12)
    logits = np.log(np.divide(p, np.subtract(1, p)))
    got = BinaryCrossentropy(from_logits=True)(y, logits)
    assert got == pytest.approx(expected, rel=1e-12)
    # Several outputs: the mean over them.
    got = BinaryCrossentropy()([[1, 0], [0, 1]], [[0.9, 0.2], [0.3, 0.6]])
    assert got == pytest.approx(-(log(0.9) + log(0.8) + log(0.7) + log(0.6)) / 4, rel=1e-12)
    # Smoothed by 0.2: the labels are 0.9 and 0.1.
    got = BinaryCrossentropy(label_smoothing=0.2)([[1], [0]], [[0.7], [0.4]])
    first, second = 0.9 * log(0.7) + 0.1 * log(0.3), 0.1 * log(0.4) + 0.9 * log(0.6)
    assert got == pytest.approx(-(first + second) / 2, rel=1e-12)
    # Labels between, sample weights, and probabilities kept 1e-7 from 0 and 1.
    got = BinaryCrossentropy()([[0.25]], [[0.5]])
    assert got == pytest.approx(log(2), rel=1e-12)
    got = BinaryCrossentropy()([1, 0], [[0.5], [0.5]], sample_weight=[3, 0])
    assert got == pytest.approx(1.5 * log(2), rel=1e-12)
    assert BinaryCrossentropy()([[1], [0]], [[0.0], [1.0]]) == pytest.approx(-log(1e-7), rel=1e-6)


def test_large_logits_lose_nothing():
    loss = BinaryCrossentropy(from_logits=True)
    assert loss([[1], [0]], np.float32([[-500], [500]])) == 500
    assert loss([[1], [0]], np.float32([[30], [-30]])) == pytest.approx(np.exp(-30), rel=1e-5)


@BOTH_SETS
@pytest.mark.parametrize("last", ["sigmoid", "Activation", "logits", "unfused"])
@pytest.mark.parametrize(("units", "y"), [(1, Y), (3, MANY)])
def test_gradients(kernels, last, units, y):
    activation = "sigmoid" if last in ("sigmoid", "unfused") else None
    layers = [Input((12, 10, 1)), Flatten(), Dense(units, activation=activation)]
    layers += [Activation("sigmoid")] if last == "Activation" else []
    layers += [Flatten()] if last == "unfused" else []  # no activation is the last layer's
    made = Sequential(layers, dtype="float64", kernels=kernels)
    made.compile("sgd", BinaryCrossentropy(from_logits=last == "logits", label_smoothing=0.1))
    assert (made.execution_plan.final is None) == (last in ("logits", "unfused"))
    report = check(made, X[:7] / 255, y[:7], limit=60)
    assert report.passed and report.worst.error < 1e-7


def test_gradients_without_a_model():
    rng = np.random.default_rng(0)
    for p, logits in ((rng.uniform(0.05, 0.95, (5, 3)), False), (rng.normal(size=(5, 3)), True)):
        assert check(BinaryCrossentropy(from_logits=logits), p, MANY[:5]).passed


@BOTH_SETS
def test_binary_classification_learns_and_counts_accuracy_as_keras(kernels):
    made = model(kernels=kernels)
    history = made.fit(X, Y, epochs=60, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and history["accuracy"][-1] > 0.9
    p = made.predict(X)[:, 0].astype(float)
    expected = -np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))
    for labels in (Y, Y[:, None], Y.astype(bool), Y.astype("f4"), Y.tolist()):
        loss, accuracy = made.evaluate(X, labels)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert accuracy == np.mean((p > 0.5) == Y)
    logits = model(activation=None, loss=BinaryCrossentropy(from_logits=True), kernels=kernels)
    logits.set_weights(made.get_weights())
    assert logits.evaluate(X, Y) == pytest.approx([loss, accuracy], rel=1e-5)  # a yes is above 0
    assert logits.train_on_batch(X, Y)[1] == pytest.approx(accuracy)
    assert "sigmoid, with the loss" in made.plan()
    text = str(made.trace(X[:2], Y[:2]))
    assert "dz = (sigmoid(z) - target)" in text and "softmax" not in text
    made = model(3, kernels=kernels)
    made.fit(X, MANY, epochs=2, verbose=0)
    p = made.predict(X).astype(float)
    expected = -np.mean(MANY * np.log(p) + (1 - MANY) * np.log(1 - p))
    assert made.evaluate(X, MANY)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".keras"])
def test_the_loss_survives_saving(tmp_path, suffix):
    made = model(loss=BinaryCrossentropy(label_smoothing=0.25))
    made.fit(X, Y, verbose=0)
    made.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}", kernels="reference")
    assert again.loss.get_config() == {"from_logits": False, "label_smoothing": 0.25}
    assert again.evaluate(X, Y) == made.evaluate(X, Y)


# --- Labels ---


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_a_row_of_targets_is_a_column_for_one_unit(loss):
    row, column = model(loss=loss), model(loss=loss)
    got = row.fit(X, Y, epochs=2, validation_split=0.2, verbose=0).history
    assert got == column.fit(X, Y[:, None], epochs=2, validation_split=0.2, verbose=0).history
    assert row.train_on_batch(X, Y) == column.train_on_batch(X, Y[:, None])
    p = row.predict(X)
    if loss == "mse":
        assert row.evaluate(X, Y)[0] == pytest.approx(np.mean((p[:, 0] - Y) ** 2), rel=1e-5)
        assert MeanSquaredError()(Y, p) == pytest.approx(np.mean((p[:, 0] - Y) ** 2), rel=1e-5)


LABELS = [
    (BinaryCrossentropy(), 1, 2 * Y - 1, r"y\[\(\d+, 0\)\] is -1, expected 0 or 1; for class num"),
    (BinaryCrossentropy(), 1, CLASSES, r"is \d, expected 0 or 1; for class numbers use 'sparse_ca"),
    (BinaryCrossentropy(), 3, Y, r"shape \(60,\), expected \(N, 3\) for BinaryCrossentropy; for c"),
    (BinaryCrossentropy(), 1, Y.astype(str), "array of type <U.*expected numbers; for text such"),
    (SparseCategoricalCrossentropy(), 1, Y, "one output unit, .* 'binary_crossentropy' after D"),
    (CategoricalCrossentropy(), 1, Y[:, None], "one output unit, .* use 'binary_crossentropy' aft"),
    (SparseCategoricalCrossentropy(), 3, Y.astype(str),
     r"expected numbers; for text .*astype\('int"),
    (SparseCategoricalCrossentropy(), 3, Y.astype(str).astype(object),
     "object, expected numbers; for text"),
    (MeanSquaredError(), 3, Y, r"shape \(60,\), expected \(N, 3\) for MeanSquaredError"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "units", "y", "message"), LABELS)
def test_labels_that_do_not_fit_are_refused(loss, units, y, message):
    made = model(units, "sigmoid", loss)
    with pytest.raises(ValueError, match=message):
        made.fit(X, y, verbose=0)


def test_no_row_is_broadcast_against_a_column():
    with pytest.raises(ShapeError, match=r"shape \(60, 1\), expected \(N, 60\)"):
        MeanSquaredError()(Y[:, None], np.zeros((60, 60)))


# --- The last layer and the loss ---

DOUBTS = [
    ("softmax", SparseCategoricalCrossentropy(from_logits=True), "has a softmax, and SparseCate"),
    ("softmax", CategoricalCrossentropy(from_logits=True), "applies a softmax again: remove"),
    ("sigmoid", BinaryCrossentropy(from_logits=True), "applies a sigmoid again: remove"),
    (None, SPARSE, "expects probabilities, and the last layer's activation is 'linear': use act"),
    ("relu", "categorical_crossentropy", "is 'relu': use activation='softmax', or Categorical"),
    ("tanh", "bce", r"is 'tanh': use activation='sigmoid', or BinaryCrossentropy\(from_logits=T"),
]  # fmt: skip
SURE = [
    ("softmax", SPARSE), ("sigmoid", "bce"), ("sigmoid", "categorical_crossentropy"),
    ("softmax", "bce"), (None, "mse"), ("softmax", "mse"),
    (None, SparseCategoricalCrossentropy(from_logits=True)),
    ("relu", BinaryCrossentropy(from_logits=True)),
]  # fmt: skip


@pytest.mark.parametrize(("activation", "loss", "message"), DOUBTS)
def test_a_loss_that_does_not_fit_the_last_layer_warns(activation, loss, message, tmp_path):
    with pytest.warns(UserWarning, match=message) as caught:
        made = model(3, activation, loss)
    assert len(caught) == 1 and caught[0].filename == __file__
    made.predict(X)  # once is enough
    made.evaluate(X, CLASSES % 3 if type(made.loss) is SparseCategoricalCrossentropy else MANY)
    made.save(tmp_path / "m.npz")
    with pytest.warns(UserWarning, match=message):  # a file of such a model opens
        load_model(tmp_path / "m.npz")
    layers = [Flatten(), Dense(3), Activation(activation)]
    later = Sequential(layers)  # whose shape the data tells
    later.compile("sgd", loss)
    with pytest.warns(UserWarning, match=message):
        later.build((12, 10, 1))


def test_a_softmax_is_found_behind_layers_that_change_no_number():
    loss = CategoricalCrossentropy(from_logits=True)
    made = Sequential([Input((3,)), Dense(3, activation="softmax"), Flatten(), Dropout(0.5)])
    with pytest.warns(UserWarning, match="applies a softmax again"):
        made.compile("sgd", loss)


def test_a_softmax_over_one_unit_warns():
    with pytest.warns(UserWarning, match="a softmax over one unit is always 1: use activation='si"):
        model(1, "softmax", "bce")


@pytest.mark.parametrize(("activation", "loss"), SURE)
def test_no_warning_where_loss_and_last_layer_fit(activation, loss):
    model(3, activation, loss)  # warnings are errors here


# --- Targets from a data set's labels, by kernels ---


@BOTH_SETS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_targets_of_a_batch_are_those_of_its_labels(kernels, smoothing, kind):
    kernels, index = get_kernels(kernels), np.array([3, 0, 3, 59, 17])
    hot = np.eye(10)[CLASSES]
    for loss, labels, shape in (
        (SparseCategoricalCrossentropy(label_smoothing=smoothing), CLASSES.astype("uint8"), (10,)),
        (CategoricalCrossentropy(label_smoothing=smoothing), hot.astype(bool), (10,)),
        (BinaryCrossentropy(label_smoothing=smoothing), MANY, (3,)),
        (MeanSquaredError(), X[:, :2, :3] / 7, X[0, :2, :3].shape),
    ):
        out = np.full((5, *shape), np.nan, kind)
        target = loss.take_target(loss.prepared(labels, kind), index, kernels, out)
        expected = loss.target(labels[index], shape, kind)
        assert target is out and out.tobytes() == expected.tobytes()
        if hasattr(loss, "label_smoothing"):
            number = np.dtype(kind).type
            smoothed = (hot if shape == (10,) else MANY)[index].astype(kind) * number(1 - smoothing)
            smoothed += number(smoothing / (10 if shape == (10,) else 2))
            assert out.tobytes() == smoothed.tobytes()
