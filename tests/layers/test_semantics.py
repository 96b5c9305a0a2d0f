"""Optimizers, schedules, losses and initial weights against published numbers and formulas."""

import numpy as np
import pytest

import nanocnn
from nanocnn import initializers
from nanocnn.kernels import get_kernels
from nanocnn.kernels.memory import Memory
from support import naive
from support.compare import TOLERANCE

# --- Optimizers: one weight, w = 1; the values are Keras's (and PyTorch's, where it says so)

GRADIENTS = (1.0, 0.1, 0.1, -0.2, 0.05)
RISING = (0.1, 0.2, 0.3, 0.4, 0.5)
FADING = (1.0, 0.0, 0.0, -0.01, 0.0)


def last_weight(optimizer, gradients, kernels, dtype="float64"):
    params = {"w": np.ones(1, dtype)}
    for gradient in gradients:
        optimizer.apply(params, {"w": np.full(1, gradient, dtype)}, kernels)
    return params["w"][0]


@pytest.mark.parametrize("name, options, gradients, expected", [
    ("Adam", {}, GRADIENTS, 0.996869862),
    ("Adam", {"epsilon": 0.1}, GRADIENTS, 0.999242425),
    ("Adam", {"epsilon": 0.1, "form": "pytorch"}, GRADIENTS, 0.997273579),
    ("Adam", {}, FADING, 0.997039855),
    ("Adam", {"amsgrad": True}, FADING, 0.99704206),
    ("RMSprop", {}, GRADIENTS, 0.996684611),
    ("RMSprop", {"epsilon": 0.1}, GRADIENTS, 0.997653604),
    ("RMSprop", {"centered": True}, RISING, 0.984976411),
    ("RMSprop", {"momentum": 0.9}, RISING, 0.963438094),
    ("RMSprop", {"momentum": 0.9, "centered": True}, RISING, 0.959386528),
])  # fmt: skip
def test_optimizers_reach_known_weights(kernels, name, options, gradients, expected):
    weight = last_weight(getattr(nanocnn, name)(**options), gradients, kernels)
    assert weight == pytest.approx(expected, abs=1e-7)  # they were read off in float32


@pytest.mark.parametrize("name, options, arguments", [
    ("SGD", {}, {"learning_rate": 0.01}),
    ("SGD", {"momentum": 0.9}, {"learning_rate": 0.01, "momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True},
     {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True}),
    ("RMSprop", {}, {"learning_rate": 0.001}),
    ("RMSprop", {"form": "pytorch"}, {"learning_rate": 0.001, "pytorch": True}),
    ("Adam", {}, {"learning_rate": 0.001}),
    ("Adam", {"form": "pytorch", "amsgrad": True},
     {"learning_rate": 0.001, "amsgrad": True, "pytorch": True}),
    ("AdamW", {"weight_decay": 0.0}, {"learning_rate": 0.001}),
])  # fmt: skip
def test_optimizers_follow_the_formula_for_fifty_steps(kernels, dtype, name, options, arguments):
    gradients = np.random.default_rng(1).standard_normal(50).astype(dtype).tolist()
    weight = last_weight(getattr(nanocnn, name)(**options), gradients, kernels, dtype)
    path = getattr(naive, name.lower().rstrip("w"))(1.0, gradients, **arguments)
    assert weight == pytest.approx(path[-1], rel=TOLERANCE[dtype])


def test_one_clipping_at_most():
    with pytest.raises(ValueError, match=r"clipnorm=1\.0.*at most one"):
        nanocnn.Adam(clipnorm=1.0, clipvalue=0.5)


def test_clipping_leaves_small_gradients_as_they_are(kernels):
    for clip in ("clipnorm", "clipvalue", "global_clipnorm"):
        optimizer = nanocnn.SGD(1.0, **{clip: 0.5})
        assert last_weight(optimizer, [0.25], kernels) == 0.75


# --- Schedules


@pytest.mark.parametrize("schedule, values", [
    (nanocnn.ExponentialDecay(0.1, 10, 0.5),
     {0: 0.1, 5: 0.0707107, 10: 0.05, 11: 0.0466517, 15: 0.0353553, 50: 0.003125, 100: 9.766e-5}),
    (nanocnn.ExponentialDecay(0.1, 10, 0.5, staircase=True), {0: 0.1, 9: 0.1, 10: 0.05, 15: 0.05}),
    (nanocnn.CosineDecay(0.1, 100, alpha=0.1),
     {0: 0.1, 5: 0.099446, 10: 0.0977975, 11: 0.0973396, 15: 0.0950953, 50: 0.055, 100: 0.01}),
    (nanocnn.CosineDecay(0.0, 100, warmup_target=0.1, warmup_steps=10),
     {0: 0, 5: 0.05, 10: 0.1, 11: 0.0999753, 15: 0.0993844, 50: 0.0654508, 100: 0.0024472}),
    (nanocnn.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1]),
     {0: 1, 10: 1, 11: 0.5, 20: 0.5, 21: 0.1, 100: 0.1}),
    (nanocnn.PolynomialDecay(0.1, 100, 0.01, power=2),
     {0: 0.1, 5: 0.091225, 10: 0.0829, 100: 0.01, 150: 0.01}),
    (nanocnn.InverseTimeDecay(0.1, 10, 0.5), {0: 0.1, 5: 0.08, 10: 0.0666667}),
])  # fmt: skip
def test_schedules_have_known_values(schedule, values):
    rates = {step: schedule(step) for step in values}
    assert rates == pytest.approx(values, rel=1e-4, abs=1e-12)


def test_the_schedule_decides_each_step():
    optimizer = nanocnn.SGD(nanocnn.PiecewiseConstantDecay([1], [1.0, 0.125]))
    assert last_weight(optimizer, [0.5, 0.5, 0.5, 0.5], get_kernels("reference")) == 1 - 1 - 0.125


# --- Losses


def test_cross_entropy_of_certain_and_wrong():
    """The probability 0 counts as 1e-7."""
    assert nanocnn.CategoricalCrossentropy()([[1, 0]], [[0.0, 1.0]]) == pytest.approx(16.118095)


@pytest.mark.parametrize("smoothing, expected", [
    (0.0, [0.0512933, 2.3025851]),
    (0.1, [0.6850014, 2.2332704]),
])  # fmt: skip
def test_cross_entropy_of_known_probabilities(smoothing, expected):
    labels, p = np.array([1, 2]), np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    dense = nanocnn.CategoricalCrossentropy(label_smoothing=smoothing)
    sparse = nanocnn.SparseCategoricalCrossentropy(label_smoothing=smoothing)
    for i, value in enumerate(expected):
        assert dense(np.eye(3)[labels[i : i + 1]], p[i : i + 1]) == pytest.approx(value, rel=1e-6)
        assert sparse(labels[i : i + 1], p[i : i + 1]) == pytest.approx(value, rel=1e-6)
    assert dense(np.eye(3)[labels], p) == pytest.approx(np.mean(expected), rel=1e-6)
    doubled = nanocnn.SparseCategoricalCrossentropy()(labels, 2 * p)  # they are normalised first
    assert doubled == pytest.approx(np.mean([0.0512933, 2.3025851]), rel=1e-6)


def test_cross_entropy_of_positive_numbers_has_the_gradient_of_its_normalisation():
    """p = q / sum(q): a softmax in front would hide a mistake there, so here is none."""
    rng = np.random.default_rng(8)
    q, direction, weight = rng.uniform(0.2, 1, (3, 4)), rng.standard_normal((3, 4)), rng.random(3)
    loss, kernels, memory = nanocnn.CategoricalCrossentropy(), get_kernels("reference"), Memory()
    target = np.eye(4)[[0, 3, 1]]

    def value(t):
        return loss.forward(q + t * direction, target, kernels, memory, False)[0] @ weight

    slope = (value(1e-6) - value(-1e-6)) / 2e-6
    value(0)
    analytic = (loss.backward(weight, kernels, memory) * direction).sum()
    assert analytic == pytest.approx(slope, rel=1e-8)


def test_sample_weights_divide_by_the_number_of_samples():
    loss = nanocnn.MeanSquaredError()
    assert loss([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[2.0, 0.5]) == (2 * 1 + 0.5 * 4) / 2


@pytest.mark.parametrize("labels", [[0, -1], [0, 3]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(
        ValueError, match=rf"y_true\[1\] is {labels[1]}, expected a class from 0 to 2"
    ):
        nanocnn.SparseCategoricalCrossentropy()(labels, np.full((2, 3), 1 / 3))


# --- Batch normalization with its averages: they are constants, so the output is linear in x


def test_batch_normalization_backward_when_not_training(kernels):
    rng = np.random.default_rng(4)
    layer = nanocnn.BatchNormalization(epsilon=0.25)
    layer.build((3,), dtype="float64", kernels=kernels)
    layer.params["gamma"][:] = gamma = np.array([0.5, 1.0, 2.0])
    layer.state["moving_mean"][:] = mean = np.array([1.0, 2.0, 3.0])
    layer.state["moving_variance"][:] = [0.75, 2.0, 0.0]
    deviation = np.array([1.0, 1.5, 0.5])  # sqrt(variance + .25)
    x, dy = rng.standard_normal((2, 5, 3))
    np.testing.assert_allclose(layer.forward(x), gamma * (x - mean) / deviation, rtol=1e-12)
    np.testing.assert_allclose(layer.backward(dy), dy * gamma / deviation, rtol=1e-12)
    dgamma = (dy * (x - mean) / deviation).sum(axis=0)
    np.testing.assert_allclose(layer.grads["gamma"], dgamma, rtol=1e-12)
    np.testing.assert_allclose(layer.grads["beta"], dy.sum(axis=0), rtol=1e-12)


# --- Initial weights

SHAPES = [(3, 5, 20, 40), (300, 40)]


def fans(shape):
    """(inputs of an output, outputs of an input)."""
    positions = shape[0] * shape[1] if len(shape) == 4 else 1
    return positions * shape[-2], positions * shape[-1]


def expected_std(name, shape):
    fan_in, fan_out = fans(shape)
    return {
        "glorot": np.sqrt(2 / (fan_in + fan_out)),
        "he": np.sqrt(2 / fan_in),
        "lecun": np.sqrt(1 / fan_in),
    }[name]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["glorot", "he", "lecun"])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_initial_weights_have_their_range_and_spread(shape, name, kind):
    rng = np.random.default_rng(0)
    w = initializers.initialize(f"{name}_{kind}", shape, rng, "float64")
    std = expected_std(name, shape)
    # A normal cut off at 2 has a standard deviation of .8796: Keras widens it by that.
    limit = std * (np.sqrt(3) if kind == "uniform" else 2 / 0.87962566103423978)
    assert 0.99 * limit < np.abs(w).max() <= limit
    assert w.std() == pytest.approx(std, rel=0.02)
    assert abs(w.mean()) < 5 * std / np.sqrt(w.size)
    # The shape of the distribution, not its width alone: the share within half the limit.
    share = 0.5 if kind == "uniform" else 0.6826894921 / 0.9544997361
    assert (np.abs(w) < limit / 2).mean() == pytest.approx(share, abs=5 * np.sqrt(0.25 / w.size))


@pytest.mark.parametrize("shape", [(300, 200), (40_000,)], ids=["kernel", "bias"])
@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_initial_weights_of_a_spread_that_does_not_depend_on_the_shape(name, shape):
    w = initializers.initialize(name, shape, np.random.default_rng(0), "float64")
    assert w.std() == pytest.approx(0.05 if name == "normal" else 0.05 / np.sqrt(3), rel=0.02)
    assert (np.abs(w).max() > 0.15) if name == "normal" else (0.0499 < np.abs(w).max() <= 0.05)
    long = initializers.initialize(f"random_{name}", shape, np.random.default_rng(0), "float64")
    assert w.tobytes() == long.tobytes()


def test_a_bias_has_as_many_inputs_as_units():
    layer = nanocnn.Dense(4000, bias_initializer="he_uniform")
    layer.build((2,))
    assert 0.99 * np.sqrt(6 / 4000) < np.abs(layer.params["bias"]).max() <= np.sqrt(6 / 4000)


def test_a_spread_that_is_not_there_is_refused():
    spec = {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.05, "seed": None}}
    layer = nanocnn.Dense(4, kernel_initializer=spec)
    assert layer.get_config()["kernel_initializer"] == {"class_name": "RandomNormal", "config": {}}
    spec["config"]["stddev"] = 0.1
    with pytest.raises(ValueError, match=r"^kernel_initializer: stddev=0\.1, expected 0\.05"):
        nanocnn.Dense(4, kernel_initializer=spec)


def test_zeros_ones_and_the_defaults():
    layer = nanocnn.Dense(4, kernel_initializer="ones", bias_initializer="ones")
    layer.build((3,))
    assert (layer.params["kernel"] == 1).all() and (layer.params["bias"] == 1).all()
    layer = nanocnn.Conv2D(40, (3, 5))
    layer.build((9, 9, 20), rng=1)
    assert (layer.params["bias"] == 0).all()
    limit = np.sqrt(6 / sum(fans((3, 5, 20, 40))))
    assert 0.99 * limit < np.abs(layer.params["kernel"]).max() <= limit


def test_float32_and_float64_start_from_the_same_weights():
    for name in ("glorot_uniform", "he_normal"):
        wide, narrow = (
            initializers.initialize(name, (7, 5), np.random.default_rng(3), dtype)
            for dtype in ("float64", "float32")
        )
        assert narrow.dtype == np.float32
        np.testing.assert_array_equal(wide.astype("float32"), narrow)
