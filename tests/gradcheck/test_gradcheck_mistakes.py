"""The gradient checker itself: planted mistakes are found, ties are not taken for mistakes.

Among them on real digits, where plain paper makes ties everywhere.
"""

import numpy as np
import pytest

from nanocnn import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    MeanSquaredError,
)
from nanocnn.data import mnist
from nanocnn.gradcheck import check
from nanocnn.kernels import KERNEL_SETS, reference
from support.gradcheck_cases import (
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
    wrong,
)

# --- Planted mistakes -----------------------------------------------------------------------------


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
def test_finds_a_wrong_argmax_in_a_pool(places, kernels, monkeypatch):
    def change(result, x, window):
        y, argmax = result[0], result[1].copy()
        if places == "every":
            argmax[...] = (argmax + 1) % (window.KH * window.KW)
        else:
            argmax[1, 2, 0, 1] = (argmax[1, 2, 0, 1] + 1) % (window.KH * window.KW)
        return y, argmax

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
    model.layers[0].kernels = kernels
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
        ("warp", "random zoom wrap", lambda dx, *_: np.roll(dx, 1, axis=2)),
        ("warp", "random erasing", lambda dx, dy, *_: dy),
        ("morphology", "random morphology", lambda dx, dy, *_: dy),
        ("morphology", "random dilation", lambda dx, *_: np.roll(dx, 1, axis=1)),
    ],
)
def test_finds_other_mistakes(name, layer, change, kernels, monkeypatch):
    """Among them one part in a thousand, and one in a million."""
    plant(monkeypatch, kernels, f"{name}_backward", change)
    assert not check(built(LAYERS[layer](), IMAGES, kernels), distinct(IMAGES))


# --- Ties -----------------------------------------------------------------------------------------


def test_a_relu_at_zero_is_no_mistake(kernels):
    x = distinct(IMAGES)
    x[0, 0, 0], x[1, 2, 3, 1] = 0.0, 0.0
    report = check(built(Activation("relu"), IMAGES, kernels), x, limit=None)
    assert report and (report.worst.ties, report.worst.undecided) == (3, 0)
    assert "right, 3 at ties" in str(report) and "at ties: 3 elements where" in str(report)


def test_a_tie_in_a_pool_is_no_mistake(kernels):
    x = distinct(IMAGES)
    x[0, :2, :2, 0] = 2.0  # four equal maxima
    report = check(built(MaxPooling2D(2), IMAGES, kernels), x, limit=None)
    assert report and report.worst.ties == 4


def test_one_relu_of_thousands_at_zero_is_no_mistake(kernels):
    """The two slopes of a weight that they share differ by little more than curvature would."""
    layer = built(Dense(1, activation="relu"), (5000, 3), kernels)
    x = distinct((5000, 3))
    x[7, 0] = -(x[7, 1:] @ layer.params["kernel"][1:] + layer.params["bias"])[0]
    x[7, 0] /= layer.params["kernel"][0, 0]
    report = check(layer, x, limit=40)
    assert report and report.arrays[0].ties == 3 and report.arrays[1].ties == 1


def test_ties_that_cancel_are_no_mistake(kernels):
    """relu(s) - relu(-s) = s has slope 1 on both sides, and backward's answer at 0 is 0."""
    model = model_of("reference", Dense(2, use_bias=False, activation="relu"),
                     Dense(1, use_bias=False), shape=(N, 1))  # fmt: skip
    for layer in model.layers:
        layer.kernels = kernels
    model.set_weights([np.array([[1.0, -1.0]]), np.array([[1.0], [-1.0]])])
    report = check(model, np.zeros((N, 1)))
    assert report and report.arrays[-1].ties == N


class Kinked(Layer):
    """Corners that the checker cannot know of: |x|, whose backward at 0 says -1."""

    def _forward(self, x, training, memory):
        memory.save(self, x)
        return np.abs(x)

    def _backward(self, dy, need_dx, memory):
        return np.where(memory.saved(self)[0] > 0, dy, -dy)


class Serrated(Layer):
    """A saw of teeth narrower than any step: it has no slope that differences could see."""

    def _forward(self, x, training, memory):
        return np.abs(np.mod(x * np.pi * 1e8, 2) - 1)

    def _backward(self, dy, need_dx, memory):
        return 0.1 * dy


def test_a_tie_in_a_custom_layer_is_no_mistake():
    x = distinct(IMAGES)
    x[0] = 0
    report = check(Kinked(), x, limit=None)
    assert report and report.worst.ties == x[0].size


def test_without_a_derivative_the_check_is_undecided_and_not_passed():
    report = check(Serrated(), distinct(IMAGES), limit=20)
    assert not report and report.worst.undecided > 15 and not report.worst.wrong
    text = str(report)
    assert "NOT DECIDED" in text and "WRONG" not in text and "try random x" in text


def test_a_mistake_beside_a_kink_is_found(kernels, monkeypatch):
    plant(monkeypatch, kernels, "relu_backward", lambda dx, *_: 1.01 * dx)
    x = distinct(IMAGES)
    x[0, 0] = 0.0
    assert not check(built(Activation("relu"), IMAGES, kernels), x, limit=None)


def test_a_mistake_is_found_where_everything_is_a_tie(kernels, monkeypatch):
    plant(monkeypatch, kernels, "relu_backward", lambda dx, dy, y: np.where(y == 0, 3 * dy, dx))
    x = np.zeros(IMAGES)
    assert not check(built(Activation("relu"), IMAGES, kernels), x)


class GuessedMask(Dropout):
    """Takes what was dropped from y == 0: wrong where x is 0, and right a little beside it."""

    def _forward(self, x, training, memory):
        self.y = super()._forward(x, training, memory).copy()
        return self.y

    def _backward(self, dy, need_dx, memory):
        return np.where(self.y == 0, 0, dy / (1 - self.rate))


def test_a_mistake_at_special_numbers_is_found_where_there_is_no_tie():
    """Dropout has no corner at 0: what is right beside it is no excuse."""
    assert check(GuessedMask(0.4), distinct(IMAGES), limit=None)
    assert wrong(check(GuessedMask(0.4), np.zeros(IMAGES), limit=None)) == {"input"}


# --- Real digits ----------------------------------------------------------------------------------

(DIGITS, LABELS), _ = mnist.sample()


def digits_model(kernels, *layers, dtype="float32"):
    model = model_of(kernels, *layers, Flatten(), Dense(8, activation="relu"),
                     Dense(10, activation="softmax"), shape=(N, 28, 28, 1), dtype=dtype,
                     loss="sparse_categorical_crossentropy")  # fmt: skip
    return model


NETWORKS = {
    "3x3": lambda: [
        Conv2D(3, 3, activation="relu"), MaxPooling2D(2),
        Conv2D(4, 3, padding="same", activation="relu"),
        MaxPooling2D(3, strides=2, padding="same"),
    ],
    "lenet": lambda: [
        Conv2D(2, 5, padding="same", activation="relu"), MaxPooling2D(2),
        Conv2D(3, 5, activation="relu"), MaxPooling2D(2),
    ],
    "pool first": lambda: [MaxPooling2D(3, strides=2, padding="same"), Conv2D(3, 3)],
    "batch norm, dropout": lambda: [
        Conv2D(3, 3), BatchNormalization(), Activation("relu"), MaxPooling2D(2), Dropout(0.3),
        Conv2D(3, 3, activation="tanh"), AveragePooling2D(2), BatchNormalization(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_is_called_wrong_on_real_digits(name, kernels):
    model = digits_model(kernels, *NETWORKS[name]())
    for start in (0, 8):
        batch = slice(start, start + 8)
        report = check(model, DIGITS[batch], LABELS[batch], limit=20, seed=start)
        assert report, f"\n{report}"
        assert not any(a.undecided for a in report.arrays)
    assert sum(a.ties for a in report.arrays) > 10 or name == "batch norm, dropout"


def missing_border(result, *_):
    dx, dweight, dbias = result
    if dx is not None:
        dx = dx.copy()
        dx[:, 0] = 0
    return dx, dweight, dbias


def one_wrong(result, *_):
    dx, dweight, dbias = result
    dweight = dweight.copy()
    dweight.flat[5] += 1e-3
    return dx, dweight, dbias


def other_cell(result, x, window):
    """The last cell where the first wins, but only where no other cell is as large."""
    y, argmax = result
    cells = reference.windows(reference.pad(x, window, -np.inf), window)
    cells = cells.reshape(*argmax.shape[:3], -1, argmax.shape[3])
    alone = (cells == y[:, :, :, None]).sum(axis=3) == 1
    last = window.KH * window.KW - 1
    return y, np.where(alone, last - argmax, argmax).astype(argmax.dtype)


MISTAKES = {
    "a thousandth too large": ("conv2d_backward", lambda r, *_: (r[0], 1.001 * r[1], r[2])),
    "dense, a thousandth": ("dense_backward", lambda r, *_: (r[0], 1.001 * r[1], r[2])),
    "one element": ("conv2d_backward", one_wrong),
    "one element of a thousand": ("dense_backward", one_wrong),
    "none for the bias": ("conv2d_backward", lambda r, *_: (r[0], r[1], 0 * r[2])),
    "none at all": ("conv2d_backward", lambda r, *_: (r[0], 0 * r[1], 0 * r[2])),
    "the border of dx": ("conv2d_backward", missing_border),
    "sign": ("dense_backward", lambda r, *_: (-r[0], r[1], r[2])),
    "relu at negative": ("relu_backward", lambda dx, dy, y: dy),
    "another cell of a pool": ("max_pool_forward", other_cell),
    "softmax and loss": ("softmax_cross_entropy_backward", lambda dx, *_: 1.001 * dx),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_on_real_digits(mistake, monkeypatch):
    plant(monkeypatch, reference, *MISTAKES[mistake])
    model = digits_model("reference", *NETWORKS["3x3"]())
    report = check(model, DIGITS[:4], LABELS[:4], limit=20)
    assert not report and "a gradient is WRONG" in str(report)


@pytest.mark.parametrize("what", range(3), ids=["dx", "dweight", "dbias"])
def test_mistakes_of_a_fused_stage_are_found_on_real_digits(what, monkeypatch):
    fast = digits_model("fast", *NETWORKS["3x3"]())
    stage = next(stage for stage in fast.execution_plan.stages if "+" in stage.name)
    plant(
        monkeypatch, fast.kernels, "conv2d_relu_pool_backward",
        lambda r, *_: tuple(1.001 * a if i == what else a for i, a in enumerate(r)),
    )  # fmt: skip
    found = wrong(check(fast, DIGITS[:8], LABELS[:8], limit=40))
    assert found == {("input", "conv2d/kernel", "conv2d/bias")[what]}, stage.name


def test_one_wrong_pixel_of_thousands_is_found_though_few_are_looked_at(monkeypatch):
    """All that are not drawn are moved at once."""

    def change(result, *_):
        result[0][3, 0, 0, 0] += 1e-4
        return result

    plant(monkeypatch, reference, "conv2d_backward", change)
    model = digits_model("reference", Conv2D(3, 3, activation="relu"), MaxPooling2D(2))
    report = check(model, DIGITS[:8], LABELS[:8], limit=10)
    assert wrong(report) == {"input"}
    assert report.arrays[-1].index == () and "the rest" in str(report)
    whole = report.arrays[-1]
    assert (whole.checked, whole.rest, whole.wrong) == (10, 8 * 784 - 10, 1)
