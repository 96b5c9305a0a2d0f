"""Gradient checks of everything that has a gradient, and what the checker reports and refuses.

float64, a random weight on the output (never a plain sum), relative error at most 1e-7, both kernel
sets. The inputs are distinct numbers well apart from each other, so that no maximum changes hands
within a step; mistakes and ties are in test_gradcheck_mistakes.py.
"""

import types

import numpy as np
import pytest

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
    MeanAbsoluteError,
    MeanSquaredError,
    RandomErasing,
    SparseCategoricalCrossentropy,
)
from nanocnn.gradcheck import check
from nanocnn.kernels import KERNEL_SETS, get_kernels, reference
from nanocnn.kernels.transforms import FILL_MODES
from nanocnn.losses import FunctionLoss
from support.gradcheck_cases import (
    GEOMETRIC,
    IMAGES,
    LAYERS,
    ROW_LAYERS,
    ROWS,
    K,
    N,
    built,
    distinct,
    model_of,
    plant,
)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", [*LAYERS, *ROW_LAYERS])
def test_every_layer_has_right_gradients(name, training, kernels):
    shape, make = (IMAGES, LAYERS[name]) if name in LAYERS else (ROWS, ROW_LAYERS[name])
    layer = built(make(), shape, kernels)
    report = check(layer, distinct(shape), training=training)
    assert report, f"\n{report}"
    assert {a.name for a in report.arrays} == {
        "input", *(f"{layer.name}/{param}" for param in layer.params)
    }  # fmt: skip


def huber(y_true, y_pred):
    """Several values a sample, which are averaged."""
    error = np.abs(y_pred - y_true)
    return np.where(error < 0.5, error**2 / 2, 0.5 * error - 0.125)


LOSSES = [
    (CategoricalCrossentropy(), np.eye(K)[[1, 3, 1]]),
    (CategoricalCrossentropy(), np.array([[0.2, 0.8, 0, 0], [0, 0, 0, 2.0], [0.1, 0, 0, 0]])),
    (CategoricalCrossentropy(label_smoothing=0.2), np.eye(K)[[1, 3, 1]]),
    (CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), np.eye(K)[[0, 2, 1]]),
    (SparseCategoricalCrossentropy(), np.array([1, 3, 1])),
    (SparseCategoricalCrossentropy(from_logits=True), np.array([0, 0, 2])),
    (MeanSquaredError(), distinct((N, K), 4)),
    (MeanAbsoluteError(), distinct((N, K), 4)),
    (FunctionLoss(huber), distinct((N, K), 4)),
]


@pytest.mark.parametrize("loss, y", LOSSES, ids=lambda v: type(v).__name__)
def test_every_loss_has_right_gradients(loss, y):
    prediction = distinct((N, K), 3)
    if not loss.from_logits:
        prediction = reference.softmax_forward(prediction)
    report = check(loss, prediction, y)
    assert report, f"\n{report}"


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("loss, y", LOSSES, ids=lambda v: type(v).__name__)
def test_model_with_loss(loss, y, kernels):
    """A softmax in front of the loss is computed with it, unless the loss wants logits."""
    last = None if loss.from_logits else "softmax"
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
@pytest.mark.parametrize("mode", FILL_MODES)
def test_composed_transforms_between_trained_layers(kernels, mode):
    """Drawn anew in each pass, but in a check the same, or no difference would be right."""
    geometric = [make(fill_mode=mode, fill_value=0.3) for make in GEOMETRIC.values()]
    model = model_of(
        kernels,
        Conv2D(3, 3, padding="same", activation="relu"), *geometric, RandomErasing(1.0, 0.3, 0.2),
        Conv2D(2, 3, activation="tanh"), Flatten(), Dense(K, activation="softmax"),
        loss="sparse_categorical_crossentropy",
    )  # fmt: skip
    names = [len(stage.layers) for stage in model.execution_plan.stages]
    assert 7 in names  # all of them run as one
    for training in (True, False):
        report = check(model, distinct(IMAGES), [0, 3, 1], training=training, limit=50)
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
    names = [stage.name for stage in model.execution_plan.stages]
    if kernels == "fast":
        assert "conv2d+max_pooling2d" in names
    for stage in model.execution_plan.stages:
        for training in (True, False):
            x = distinct((N, *stage.layers[0].input_shape), 7)
            report = check(stage, x, training=training, limit=100)
            assert report, f"{stage.name}\n{report}"
    assert check(model, distinct((N, 8, 6, 2)), [0, 3, 1], training=False, limit=20)


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


def test_the_report_of_right_gradients(rng):
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


def test_only_the_arrays_that_are_named_are_checked():
    model = model_of("reference", Flatten(), Dense(K), loss="mse")
    x, y = distinct(IMAGES), distinct((N, K))
    everything = {array.name: array for array in check(model, x, y).arrays}
    (found,) = check(model, x, y, arrays=["dense/bias"]).arrays
    assert (found.name, found.analytic) == ("dense/bias", everything["dense/bias"].analytic)
    names = [array.name for array in check(model, x, y, arrays=("input", "dense/kernel")).arrays]
    assert names == ["input", "dense/kernel"]
    with pytest.raises(ValueError, match="unknown name in arrays 'dense/bia'; did you mean"):
        check(model, x, y, arrays=["dense/bia"])
    for wrong in ([], "input", 7):
        with pytest.raises(ValueError, match="arrays="):
            check(model, x, y, arrays=wrong)


def test_an_l2_penalty_is_not_part_of_what_is_checked(rng):
    model = model_of("reference", Flatten(), Dense(K, kernel_regularizer=L2(0.1)), loss="mse")
    assert check(model, distinct(IMAGES), distinct((N, K)))


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_a_model_is_put_back_to_the_last_bit_where_there_are_ties_and_errors(kernels):
    model = model_of(kernels, MaxPooling2D(2), Dropout(0.5), Flatten(), Dense(K), loss="mse")
    before, x = model.get_weights(), np.zeros(IMAGES)
    report = check(model, x, distinct((N, K)))
    assert report and report.arrays[-1].ties > 0
    assert all(map(np.array_equal, model.get_weights(), before))

    class Interrupted(Dense):
        passes = 0

        def transform(self, x, memory, **fused):
            self.passes += 1
            if self.passes == 40:
                raise KeyboardInterrupt
            return super().transform(x, memory, **fused)

    layer = built(Interrupted(3), ROWS, get_kernels(kernels))
    before = {name: param.copy() for name, param in layer.params.items()}
    with pytest.raises(KeyboardInterrupt):
        check(layer, distinct(ROWS))
    assert all(np.array_equal(layer.params[name], before[name]) for name in before)


def test_a_float32_model_with_a_custom_layer_is_checked():
    class Scaled(Dense):
        def _backward(self, dy, need_dx, memory):
            dx = super()._backward(dy, need_dx, memory)
            self.grads["kernel"] = self.factor * self.grads["kernel"]
            return dx

    layer = Scaled(K)
    model = model_of("fast", Flatten(), layer, loss="mse", dtype="float32")
    for layer.factor, right in ((1.0, True), (1.001, False)):
        assert check(model, distinct(IMAGES), distinct((N, K))).passed is right
    assert layer.params["kernel"].dtype == np.float32


def test_a_float32_model_is_checked_with_the_kernels_its_layers_have(monkeypatch):
    model = model_of("reference", Flatten(), Dense(K), loss="mse", dtype="float32")
    broken = types.SimpleNamespace(**vars(reference))
    broken.dense_backward = lambda *args: [1.001 * a for a in reference.dense_backward(*args)]
    model.layers[-1].kernels = broken
    assert not check(model, distinct(IMAGES), distinct((N, K)))


def test_a_parameter_that_is_not_contiguous_is_moved(kernels):
    layer = built(Dense(4), ROWS, kernels)
    layer.params["kernel"] = np.repeat(layer.params["kernel"], 2, axis=1)[:, ::2]
    assert check(layer, distinct(ROWS)).arrays[0].numeric != 0
    assert check(layer, distinct(ROWS))


@pytest.mark.parametrize(
    "words, changed",
    [
        ("target=.*expected a Sequential", {"target": {"kernel": 1}}),
        ("target=None, expected a Sequential", {"target": None}),
        ("target=<class .*expected a Sequential", {"target": Dense}),
        ("x: expected an array of numbers", {"x": None, "y": None, "target": Flatten()}),
        ("x: expected an array of numbers", {"x": "digits"}),
        ("x: NaN or infinity", {"x": np.full(ROWS, np.nan), "y": None, "target": Flatten()}),
        (r"x: shape \(3,\), expected \(N, ...\)", {"x": [1, 2, 3], "y": None, "target": Flatten()}),
        (r"x: shape \(0, 2\)", {"x": np.zeros((0, 2)), "y": None, "target": Flatten()}),
        ("x has 3 samples and y has 2", {"y": np.zeros((2, K))}),
        (
            "x has 3 samples and y has 2",
            {"target": MeanSquaredError(), "x": np.ones((N, K)), "y": np.zeros((2, K))},
        ),
        ("y=None, expected the labels of Mean", {"target": MeanSquaredError(), "y": None}),
        ("y: labels for flatten, which has no loss", {"target": Flatten()}),
        ("y: shape", {"y": 3}),
        ("training=1, expected True or False", {"training": 1}),
        ("training='yes', expected True or False", {"training": "yes"}),
        ("step=0, expected a number more than", {"step": 0}),
        ("step=None, expected a number", {"step": None}),
        ("tolerance=-1, expected a number between 0 and 1", {"tolerance": -1}),
        (r"tolerance=\[1e-07\], expected a number", {"tolerance": [1e-7]}),
        ("limit=0, expected an integer of at least 1", {"limit": 0}),
        ("limit=2.5, expected an integer", {"limit": 2.5}),
        ("seed=None, expected an integer", {"seed": None}),
        ("seed=-1, expected an integer of at least 0", {"seed": -1}),
    ],
    ids=lambda v: v[:30] if isinstance(v, str) else "",
)
def test_bad_arguments_are_named(words, changed):
    given = {
        "target": model_of("reference", Flatten(), Dense(K), loss="mse"),
        "x": distinct(IMAGES),
        "y": distinct((N, K)),
        **changed,
    }
    with pytest.raises(ValueError, match=words):
        check(**given)


class Forgotten(Flatten):
    def _backward(self, dy, need_dx, memory):
        super()._backward(dy, need_dx, memory)


class Overflowing(Flatten):
    def _forward(self, x, training, memory):
        return super()._forward(x, training, memory) + np.inf


@pytest.mark.parametrize(
    "layer, words",
    [(Forgotten(), "forgotten: backward returned None, expected dL/dx"),
     (Overflowing(), "L is .* for this x, expected a finite number")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_layer_that_cannot_be_checked_is_named(layer, words):
    with pytest.raises(ValueError, match=words):
        check(layer, distinct(IMAGES))


def test_a_float32_layer_is_refused():
    layer = Dense(2)
    layer.build((10,), rng=0, dtype="float32", kernels=get_kernels("reference"))
    with pytest.raises(ValueError, match="float64"):
        check(layer, distinct(ROWS))
