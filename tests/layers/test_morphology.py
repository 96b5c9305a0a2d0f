"""RandomMorphology: what it draws, what it does to a stroke, and where it does nothing."""

import numpy as np
import pytest

from nanocnn import (
    Conv2D,
    Dense,
    Flatten,
    Input,
    RandomMorphology,
    RandomRotation,
    RandomZoom,
    Sequential,
    ShapeError,
)
from nanocnn.kernels import get_kernels
from nanocnn.models.stages import Augmentation
from support.small_models import BOTH_SETS


def built(factor, shape=(9, 8, 2), seed=0, kernels="fast"):
    layer = RandomMorphology(factor)
    layer.build(shape, rng=seed, dtype="float64", kernels=get_kernels(kernels))
    return layer


def stroke(first, last, H=7, W=16):
    """A vertical stroke from `first` to `last`, in pixels: each pixel the share that it covers."""
    edges = np.clip(np.arange(W + 1), first, last)
    return np.broadcast_to(np.diff(edges)[:, None], (1, H, W, 1)).copy()


@BOTH_SETS
@pytest.mark.parametrize("a", [-1.0, -0.4, 0.0, 0.3, 1.0])
def test_a_straight_stroke_grows_by_the_factor_in_pixels_on_each_side(kernels, a):
    """As the average over the area of each pixel shows it."""
    layer = built((a, a), (7, 16, 1), kernels=kernels)
    found = layer.forward(stroke(5, 9), training=True)
    np.testing.assert_allclose(found, stroke(5 - a, 9 + a), rtol=0, atol=1e-12)
    layer = built((a, a), (16, 7, 1), kernels=kernels)
    turned = layer.forward(stroke(5, 9).transpose(0, 2, 1, 3), training=True)
    np.testing.assert_allclose(turned, found.transpose(0, 2, 1, 3), rtol=0, atol=1e-12)
    dark = built((a, a), (7, 16, 1), kernels=kernels).forward(1 - stroke(5, 9), training=True)
    np.testing.assert_allclose(dark, 1 - stroke(5 + a, 9 - a), rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor, low, high", [
    (0.5, -0.5, 0.5), (-0.5, -0.5, 0.5), ((-0.2, 0.9), -0.2, 0.9), ((0.8, 0.1), 0.1, 0.8),
])  # fmt: skip
def test_amounts_are_uniform(factor, low, high):
    x = np.repeat(stroke(5, 9, H=1), 10_000, axis=0)
    y = built(factor, (1, 16, 1)).forward(x, training=True)[..., 0].sum(axis=(1, 2))
    shares = (np.sort((y - 4) / 2) - low) / (high - low)
    assert shares.min() > -1e-9 and shares.max() < 1 + 1e-9
    assert abs(shares - np.arange(10_000) / 10_000).max() < 0.02  # Kolmogorov's test


@BOTH_SETS
def test_samples_passes_and_layers_differ(kernels, rng):
    x = np.repeat(rng.random((1, 9, 8, 2)), 6, axis=0)
    first, second = (built(0.9, seed=seed, kernels=kernels) for seed in (0, 1))
    images = [*first.forward(x, training=True), *first.forward(x, training=True),
              *second.forward(x, training=True), x[0]]  # fmt: skip
    assert len({image.tobytes() for image in images}) == len(images)
    again = built(0.9, kernels=kernels).forward(x, training=True)
    np.testing.assert_array_equal(again, images[:6])


@BOTH_SETS
def test_a_layer_by_itself(kernels, rng):
    """Nothing happens in inference and when not active; numbers as floats; config."""
    layer, x = built((0.5, 1.0), kernels=kernels), rng.random((5, 9, 8, 2))
    for active, training in ((True, False), (False, True)):
        layer.active = active
        assert layer.draws == int(active)
        np.testing.assert_array_equal(layer.forward(x, training=training), x)
        np.testing.assert_array_equal(layer.backward(x), x)
    layer.active = True
    y, dx = layer.forward(x, training=True), layer.backward(x)
    assert (y >= x).all() and (y > x).any() and dx.shape == x.shape and (dx != x).any()
    assert dx.sum() == pytest.approx(x.sum())  # each gradient goes somewhere
    whole = (100 * x).astype(int)
    layer.rng = np.random.default_rng(0)
    found = layer.forward(whole, training=True)
    layer.rng = np.random.default_rng(0)
    np.testing.assert_array_equal(found, layer.forward(whole.astype(float), training=True))
    copy = RandomMorphology.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config() and list(copy.factor) == [0.5, 1.0]
    with pytest.raises(ShapeError, match="expected images"):
        copy.build((4, 4))


@pytest.mark.parametrize("factor", [1.5, (-2, 0), (0, 1, 2), "0.5", None, True, float("nan")])
def test_wrong_factors_are_refused(factor):
    with pytest.raises(ValueError, match=r"RandomMorphology: factor=.*expected .*from -1 to 1"):
        RandomMorphology(factor)


@BOTH_SETS
def test_it_is_composed_with_no_other_layer(kernels):
    """The layers before and after it run as one, each in their own stage."""
    layers = [RandomRotation(0.1), RandomZoom(0.1), RandomMorphology(0.5), RandomMorphology(0.2),
              RandomRotation(0.1), RandomZoom(0.1)]  # fmt: skip
    model = Sequential([Input((9, 8, 1)), *layers, Flatten(), Dense(2)], kernels=kernels)
    model.compile("sgd", "mse")
    stages = model.execution_plan.stages[:4]
    assert [len(stage.layers) for stage in stages] == [2, 1, 1, 2]
    assert [isinstance(stage, Augmentation) for stage in stages] == [True, False, False, True]
    assert "RandomMorphology" in model.plan()


@BOTH_SETS
def test_a_trace_shows_its_formula_and_what_it_saved(kernels, rng):
    model = Sequential(
        [Input((9, 8, 1)), Conv2D(2, 3), RandomMorphology(0.5), Flatten(), Dense(2)],
        kernels=kernels, seed=0,
    )  # fmt: skip
    model.compile("sgd", "mse")
    trace = model.trace(rng.random((2, 9, 8, 1)), rng.random((2, 2)), training=True)
    step = trace["random_morphology"]
    assert step.formula.startswith("y = x + a * (max - x) for a >= 0")
    assert step.saved.keys() == {"x", "key"} and (step.y != step.x).any()
    np.testing.assert_array_equal(step.saved["x"], step.x)
    assert "morphology_backward, reference_random.py" in str(trace)
    assert "dx = dy * (1 - |a|)" in str(trace)
