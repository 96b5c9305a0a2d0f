"""Gradient checks of everything that has a gradient, and what the checker reports and refuses.

float64, a random weight on the output (never a plain sum), relative error at most 1e-7, both kernel
sets. The inputs are distinct numbers well apart from each other, so that no maximum changes hands
within a step; mistakes and ties are in test_gradcheck_mistakes.py.
"""

import numpy as np
import pytest
from checkable import IMAGES, LAYERS, ROW_LAYERS, ROWS, K, N, built, distinct, model_of, plant

from nanocnn import (
    L2,
    Activation,
    BatchNormalization,
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPooling2D,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from nanocnn.gradcheck import check
from nanocnn.kernels import KERNEL_SETS, get_kernels, reference


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", [*LAYERS, *ROW_LAYERS])
def test_layer(name, training, kernels):
    shape, make = (IMAGES, LAYERS[name]) if name in LAYERS else (ROWS, ROW_LAYERS[name])
    layer = built(make(), shape, kernels)
    report = check(layer, distinct(shape), training=training)
    assert report, f"\n{report}"
    assert {a.name for a in report.arrays} == {
        "input", *(f"{layer.name}/{param}" for param in layer.params)
    }  # fmt: skip


LOSSES = [
    (CategoricalCrossentropy(), np.eye(K)[[1, 3, 1]]),
    (CategoricalCrossentropy(), np.array([[0.2, 0.8, 0, 0], [0, 0, 0, 2.0], [0.1, 0, 0, 0]])),
    (CategoricalCrossentropy(label_smoothing=0.2), np.eye(K)[[1, 3, 1]]),
    (CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), np.eye(K)[[0, 2, 1]]),
    (SparseCategoricalCrossentropy(), np.array([1, 3, 1])),
    (SparseCategoricalCrossentropy(from_logits=True), np.array([0, 0, 2])),
    (MeanSquaredError(), distinct((N, K), 4)),
]


@pytest.mark.parametrize("loss, y", LOSSES, ids=lambda v: type(v).__name__)
def test_loss(loss, y):
    prediction = distinct((N, K), 3)
    if not getattr(loss, "from_logits", True):
        prediction = reference.softmax_forward(prediction)
    report = check(loss, prediction, y)
    assert report, f"\n{report}"


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("loss, y", LOSSES, ids=lambda v: type(v).__name__)
def test_model_with_loss(loss, y, kernels):
    """A softmax in front of the loss is computed with it, unless the loss wants logits."""
    last = None if getattr(loss, "from_logits", False) else "softmax"
    layers = Conv2D(3, 3, activation="relu"), MaxPooling2D(2), Flatten(), Dense(K, activation=last)
    model = model_of(kernels, *layers, loss=loss)
    report = check(model, distinct(IMAGES), y)
    assert report, f"\n{report}"
    assert len(report.arrays) == 5  # two kernels, two biases, the input


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_deep_model(kernels):
    """What training runs: fused stages, dropout, batch statistics, all in one chain."""
    model = model_of(
        kernels,
        Conv2D(4, 3, padding="same", activation="relu"), Conv2D(3, 2, activation="relu"),
        MaxPooling2D(2), BatchNormalization(), Dropout(0.3), Flatten(),
        Dense(9, activation="relu"), Dropout(0.5), Dense(K), Activation("softmax"),
        loss="sparse_categorical_crossentropy",
    )  # fmt: skip
    for y in ([0, 3, 1], None):
        report = check(model, distinct(IMAGES), y, limit=50)
        assert report, f"\n{report}"


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_stages(kernels):
    """Each stage of a compiled model by itself: in the fast set several layers run as one."""
    model = model_of(
        kernels,
        Conv2D(4, 3, padding="same", activation="relu"), MaxPooling2D(2),
        Conv2D(18, 2, activation="relu"), Flatten(),
        Dense(9, activation="relu"), Dense(K, activation="softmax"),
        shape=(N, 8, 6, 2), loss="sparse_categorical_crossentropy",
    )  # fmt: skip
    names = [stage.name for stage in model.plan_.stages]
    if kernels == "fast":
        assert "conv2d+max_pooling2d" in names
    for stage in model.plan_.stages:
        report = check(stage, distinct((N, *stage.layers[0].input_shape), 7))
        assert report, f"{stage.name}\n{report}"


# --- The report, and what is refused --------------------------------------------------------------


def test_the_report_names_the_worst_element(monkeypatch):
    def change(result, *_):
        dx, dweight, dbias = result
        dweight = dweight.copy()
        dweight[1, 2, 0, 1] += 0.5
        return dx, dweight, dbias

    plant(monkeypatch, reference, "conv2d_backward", change)
    report = check(built(Conv2D(3, 3), IMAGES, reference), distinct(IMAGES))
    worst = report.worst
    assert (worst.name, worst.shape, worst.index) == ("conv2d/kernel", (3, 3, 2, 3), (1, 2, 0, 1))
    assert worst.analytic - worst.numeric == pytest.approx(0.5, abs=1e-6)
    assert worst.checked == 54 and worst.error > 0.1
    lines = str(report).splitlines()
    assert any(all(part in line for part in ("dL/d conv2d/kernel", "(1, 2, 0, 1)", "WRONG"))
               for line in lines)  # fmt: skip
    assert lines[-1] == "a gradient is WRONG (tolerance 1e-07)"


def test_a_right_report(rng):
    report = check(Dense(2), rng.random((N, 3)))
    assert report.passed and bool(report) and report.worst.error < 1e-7
    assert str(report).splitlines()[-1] == "all gradients are right (tolerance 1e-07)"


def test_limit_says_how_many_elements_are_looked_at(rng):
    x = rng.random((N, 50))
    assert [a.checked for a in check(Dense(2), x, limit=20).arrays] == [20, 2, 20]
    assert [a.checked for a in check(Dense(2), x, limit=None).arrays] == [100, 2, 150]


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_a_float32_model_is_checked_in_float64_and_left_alone(kernels):
    layers = (
        Conv2D(2, 3, activation="relu"),
        BatchNormalization(),
        Dropout(0.5),
        Flatten(),
        Dense(K),
    )
    model = model_of(kernels, *layers, loss="mse", dtype="float32")
    before = model.get_weights()
    assert check(model, distinct(IMAGES), distinct((N, K)))
    assert model.dtype == np.float32
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_a_float64_model_is_left_as_it_was(kernels):
    """Parameters, moving averages and the stream of random numbers."""
    model = model_of(kernels, BatchNormalization(), Dropout(0.5), Flatten(), Dense(K), loss="mse")
    before, random = model.get_weights(), model.rng.bit_generator.state
    x = distinct(IMAGES)
    assert check(model, x, distinct((N, K)))
    assert all(map(np.array_equal, model.get_weights(), before))
    assert model.rng.bit_generator.state == random
    assert np.array_equal(x, distinct(IMAGES))


def test_an_l2_penalty_is_not_part_of_what_is_checked(rng):
    model = model_of("reference", Flatten(), Dense(K, kernel_regularizer=L2(0.1)), loss="mse")
    assert check(model, distinct(IMAGES), distinct((N, K)))


@pytest.mark.parametrize(
    "target, words",
    [
        (built(Dense(2), ROWS, reference).params, "expected a Sequential"),
        (object(), "expected a Sequential"),
    ],
)
def test_what_cannot_be_checked(target, words):
    with pytest.raises(ValueError, match=words):
        check(target, distinct(ROWS))


def test_a_float32_layer_is_refused():
    layer = Dense(2)
    layer.build((10,), 0, "float32", get_kernels("reference"))
    with pytest.raises(ValueError, match="float64"):
        check(layer, distinct(ROWS))
