"""Gradient checks of everything that has a gradient, and the checker itself against planted errors.

float64, a random weight on the output (never a plain sum), relative error at most 1e-7, both kernel
sets. The inputs are distinct numbers well apart from each other, so that no maximum changes hands
within a step; what happens at a corner is tested on its own.
"""

import numpy as np
import pytest

from nanocnn import (
    L2,
    Activation,
    AveragePooling2D,
    BatchNormalization,
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    MeanSquaredError,
    Sequential,
    SparseCategoricalCrossentropy,
)
from nanocnn.gradcheck import check
from nanocnn.kernels import KERNEL_SETS, get_kernels, reference

N, K = 3, 4
IMAGES, ROWS = (N, 7, 6, 2), (N, 10)


def distinct(shape, seed=0):
    """A shuffle of evenly spaced numbers between -1 and 1, none of them 0."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) + 0.5) / size * 2 - 1


def built(layer, shape, kernels):
    """The layer with random parameters, biases and gamma not at their 0 and 1."""
    layer.build(shape[1:], 1, "float64", kernels)
    rng = np.random.default_rng(2)
    for param in layer.params.values():
        param += 0.2 * rng.standard_normal(param.shape)
    return layer


LAYERS = {
    "conv": lambda: Conv2D(3, 3),
    "conv same": lambda: Conv2D(3, 3, padding="same", activation="relu"),
    "conv even same": lambda: Conv2D(2, (4, 2), padding="same", activation="tanh"),
    "conv 1x1": lambda: Conv2D(5, 1, activation="sigmoid"),
    "conv strides": lambda: Conv2D(3, (3, 2), strides=(2, 1), activation="relu"),
    "conv strides same": lambda: Conv2D(3, 3, strides=(3, 2), padding="same", use_bias=False),
    "conv dilation": lambda: Conv2D(2, (2, 3), dilation_rate=(3, 2), activation="tanh"),
    "conv dilation same": lambda: Conv2D(2, 3, dilation_rate=2, padding="same"),
    "conv softmax": lambda: Conv2D(3, 2, activation="softmax", use_bias=False),
    "conv whole image": lambda: Conv2D(17, (7, 6)),
    "max pool": lambda: MaxPooling2D(2),
    "max pool same": lambda: MaxPooling2D((3, 2), padding="same"),
    "max pool overlapping": lambda: MaxPooling2D(3, strides=(1, 2)),
    "max pool overlapping same": lambda: MaxPooling2D(3, strides=1, padding="same"),
    "max pool gaps": lambda: MaxPooling2D(2, strides=3),
    "average pool": lambda: AveragePooling2D(2),
    "average pool same": lambda: AveragePooling2D((2, 4), strides=(3, 1), padding="same"),
    "average pool overlapping": lambda: AveragePooling2D(3, strides=1),
    "dropout": lambda: Dropout(0.4),
    "dropout none": lambda: Dropout(0.0),
    "dropout all": lambda: Dropout(1.0),
    "flatten": lambda: Flatten(),
    "batch norm": lambda: BatchNormalization(),
    "batch norm bare": lambda: BatchNormalization(center=False, scale=False, epsilon=1e-5),
    "batch norm no center": lambda: BatchNormalization(center=False),
    "batch norm no scale": lambda: BatchNormalization(scale=False),
    **{f"image {name}": lambda name=name: Activation(name)
       for name in ("relu", "sigmoid", "tanh", "softmax", "linear")},
}  # fmt: skip
ROW_LAYERS = {
    "dense": lambda: Dense(4),
    "dense no bias": lambda: Dense(17, use_bias=False, activation="relu"),
    **{f"dense {name}": lambda name=name: Dense(5, activation=name)
       for name in ("relu", "sigmoid", "tanh", "softmax", "linear")},
    **{name: lambda name=name: Activation(name)
       for name in ("relu", "sigmoid", "tanh", "softmax", "linear")},
    "row dropout": lambda: Dropout(0.5),
    "row batch norm": lambda: BatchNormalization(),
}  # fmt: skip


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


def model_of(kernels, *layers, shape=IMAGES, loss=None, dtype="float64"):
    model = Sequential([Input(shape[1:]), *layers], seed=3, dtype=dtype, kernels=kernels)
    if loss is not None:
        model.compile("sgd", loss)
    return model


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


# --- Planted mistakes -----------------------------------------------------------------------------


def wrong(report):
    """The names of the gradients found wrong."""
    return {array.name for array in report.arrays if not array.passed}


def plant(monkeypatch, kernels, name, change):
    """Let kernel `name` return change(result, *arguments)."""
    right = getattr(kernels, name)
    monkeypatch.setattr(
        kernels, name, lambda *args, **kw: change(right(*args, **kw), *args), raising=True
    )


@pytest.mark.parametrize("kind", ["conv2d", "dense"])
def test_finds_a_dropped_bias_gradient(kind, kernels, monkeypatch):
    plant(monkeypatch, kernels, f"{kind}_backward", lambda r, *_: (r[0], r[1], 0 * r[2]))
    layer, shape = (Conv2D(3, 3), IMAGES) if kind == "conv2d" else (Dense(4), ROWS)
    report = check(built(layer, shape, kernels), distinct(shape))
    assert wrong(report) == {f"{kind}/bias"}
    assert "WRONG" in str(report) and not report.passed


def test_finds_a_gradient_that_is_not_there_at_all(kernels, monkeypatch):
    monkeypatch.setattr(Dense, "set_gradients", lambda self, dw, db: setattr(self, "grads", {}))
    report = check(built(Dense(4), ROWS, kernels), distinct(ROWS))
    assert wrong(report) == {"dense/kernel", "dense/bias"}


@pytest.mark.parametrize("layer", ["conv", "max pool overlapping", "average pool overlapping"])
def test_finds_assignment_where_col2im_must_add(layer, monkeypatch):
    def col2im(dcols, n, channels, window):
        H, W, KH, KW, SH, SW, DH, DW, top, bottom, left, right, OH, OW = window
        dcells = dcols.reshape(n, OH, OW, KH, KW, channels)
        dpadded = np.zeros((n, H + top + bottom, W + left + right, channels))
        for kh in range(KH):
            for kw in range(KW):
                rows = slice(kh * DH, kh * DH + (OH - 1) * SH + 1, SH)
                columns = slice(kw * DW, kw * DW + (OW - 1) * SW + 1, SW)
                dpadded[:, rows, columns] = dcells[:, :, :, kh, kw]  # must be +=
        return dpadded[:, top : top + H, left : left + W]

    monkeypatch.setattr(reference, "col2im", col2im)
    layer = built(LAYERS[layer](), IMAGES, reference)
    assert wrong(check(layer, distinct(IMAGES))) == {"input"}


@pytest.mark.parametrize("places", ["every", "one"])
def test_finds_a_wrong_winner_in_a_pool(places, kernels, monkeypatch):
    def change(result, x, window):
        y, winner = result[0], result[1].copy()
        if places == "every":
            winner[...] = (winner + 1) % (window.KH * window.KW)
        else:
            winner[1, 2, 0, 1] = (winner[1, 2, 0, 1] + 1) % (window.KH * window.KW)
        return y, winner

    plant(monkeypatch, kernels, "max_pool_forward", change)
    layer = built(MaxPooling2D(2), IMAGES, kernels)
    report = check(layer, distinct(IMAGES), limit=None)
    assert wrong(report) == {"input"}
    if places == "one":
        assert report.worst.index[0] == 1 and report.worst.index[3] == 1
        assert report.worst.index[1] in (4, 5) and report.worst.index[2] in (0, 1)


def test_finds_a_missing_1_over_n_in_the_loss(kernels, monkeypatch):
    plant(monkeypatch, kernels, "softmax_cross_entropy_backward", lambda dx, *_: dx * len(dx))
    name = kernels.__name__.rpartition(".")[2]
    model = model_of(name, Flatten(), Dense(K, activation="softmax"),
                     loss="sparse_categorical_crossentropy")  # fmt: skip
    assert wrong(check(model, distinct(IMAGES), [0, 1, 2])) == {
        "dense/kernel", "dense/bias", "input"
    }  # fmt: skip


def test_finds_a_missing_1_over_n_in_the_mean_squared_error(monkeypatch):
    right = MeanSquaredError.backward
    monkeypatch.setattr(MeanSquaredError, "backward", lambda self, *args: right(self, *args) * K)
    assert not check(MeanSquaredError(), distinct((N, K)), distinct((N, K), 1))


def test_finds_a_missing_1_over_n_in_average_pooling(kernels, monkeypatch):
    plant(monkeypatch, kernels, "average_pool_backward", lambda dx, dy, w: dx * w.KH * w.KW)
    layer = built(AveragePooling2D(2), IMAGES, kernels)
    assert wrong(check(layer, distinct(IMAGES))) == {"input"}


def test_finds_a_dropout_mask_drawn_anew_in_backward(kernels, monkeypatch):
    right = kernels.dropout_backward
    monkeypatch.setattr(
        kernels, "dropout_backward", lambda dy, rate, key, **kw: right(dy, rate, key ^ 1, **kw)
    )
    layer = built(Dropout(0.4), IMAGES, kernels)
    assert wrong(check(layer, distinct(IMAGES))) == {"input"}
    model = model_of("reference", Dropout(0.4), Flatten(), Dense(2))
    model.layers[1].kernels = kernels
    assert wrong(check(model, distinct(IMAGES))) == {"input"}


@pytest.mark.parametrize("name", ["image softmax", "softmax", "dense softmax"])
def test_finds_a_softmax_backward_of_zeros(name, kernels, monkeypatch):
    """A plain sum of the outputs would not: a softmax sums to 1, whatever goes in."""
    plant(monkeypatch, kernels, "softmax_backward", lambda dx, *_: 0 * dx)
    shape, make = (IMAGES, LAYERS[name]) if name in LAYERS else (ROWS, ROW_LAYERS[name])
    report = check(built(make(), shape, kernels), distinct(shape))
    assert "input" in wrong(report)


@pytest.mark.parametrize(
    "name, layer, change",
    [
        ("batch_norm", "batch norm", lambda r, dy, x, gamma, *_: (r[0] * 1.001, r[1], r[2])),
        ("batch_norm", "batch norm", lambda r, *_: (r[0], r[2], r[1])),
        ("conv2d", "conv", lambda r, *_: (r[0], r[1][::-1].copy(), r[2])),
        ("conv2d", "conv same", lambda r, *_: (np.roll(r[0], 1, axis=2), r[1], r[2])),
        ("relu", "image relu", lambda dx, dy, y: dy),
        ("tanh", "image tanh", lambda dx, dy, y: dy * (1 - y)),
        ("sigmoid", "image sigmoid", lambda dx, dy, y: dx * (1 + 1e-6)),
    ],
)
def test_finds_other_mistakes(name, layer, change, kernels, monkeypatch):
    """Among them one part in a thousand, and one in a million."""
    plant(monkeypatch, kernels, f"{name}_backward", change)
    assert not check(built(LAYERS[layer](), IMAGES, kernels), distinct(IMAGES))


# --- Corners --------------------------------------------------------------------------------------


def test_a_relu_at_zero_is_explained_not_failed(kernels):
    x = distinct(IMAGES)
    x[0, 0, 0], x[1, 2, 3, 1] = 0.0, 0.0
    report = check(built(Activation("relu"), IMAGES, kernels), x, limit=None)
    assert report and report.worst.kinks == 3
    assert "3 kinks left out" in str(report)


def test_a_tie_in_a_pool_is_explained_not_failed(kernels):
    x = distinct(IMAGES)
    x[0, :2, :2, 0] = 2.0  # four equal maxima
    report = check(built(MaxPooling2D(2), IMAGES, kernels), x, limit=None)
    assert report and report.worst.kinks == 4


def test_one_relu_of_thousands_at_zero_is_explained_not_failed(kernels):
    """The two slopes of a weight that they share differ by little more than curvature would."""
    layer = built(Dense(1, activation="relu"), (5000, 3), kernels)
    x = distinct((5000, 3))
    x[7, 0] = -(x[7, 1:] @ layer.params["kernel"][1:] + layer.params["bias"])[0]
    x[7, 0] /= layer.params["kernel"][0, 0]
    report = check(layer, x, limit=40)
    assert report and report.arrays[0].kinks == 3 and report.arrays[1].kinks == 1
    assert "1 kink left out" in str(report)


def test_a_mistake_beside_a_corner_is_not_excused(kernels, monkeypatch):
    plant(monkeypatch, kernels, "relu_backward", lambda dx, *_: 1.01 * dx)
    x = distinct(IMAGES)
    x[0, 0] = 0.0
    assert not check(built(Activation("relu"), IMAGES, kernels), x, limit=None)


def test_what_backward_gives_at_a_corner_must_lie_between_the_two_slopes(kernels, monkeypatch):
    plant(monkeypatch, kernels, "relu_backward", lambda dx, dy, y: np.where(y == 0, 3 * dy, dx))
    x = np.zeros(IMAGES)
    assert not check(built(Activation("relu"), IMAGES, kernels), x)


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
