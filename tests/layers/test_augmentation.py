"""Layers for augmentation: what they draw, what they leave alone, and which of them run as one."""

import numpy as np
import pytest

from nanocnn import (
    Conv2D,
    Dense,
    Flatten,
    Input,
    RandomElastic,
    RandomErasing,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    Sequential,
    ShapeError,
)
from nanocnn.kernels import get_kernels
from nanocnn.kernels.memory import Memory
from nanocnn.models.stages import Augmentation
from support.small_models import BOTH_SETS

MAKERS = {
    "translation": lambda **options: RandomTranslation(0.2, (-0.1, 0.3), **options),
    "rotation": lambda **options: RandomRotation((-0.05, 0.1), **options),
    "zoom": lambda **options: RandomZoom((-0.3, 0.2), **options),
    "zoom of both": lambda **options: RandomZoom((-0.3, 0.2), (-0.2, 0.1), **options),
    "shear": lambda **options: RandomShear((0.1, 0.3), 0.2, **options),
    "elastic": lambda **options: RandomElastic(0.1, cells=3, **options),
    "erasing": lambda **options: RandomErasing((0.2, 0.9), (0.1, 0.4), 0.5, **options),
}
GEOMETRIC = MAKERS.keys() - {"erasing"}
H, W = 21, 17


def built(layer, shape=(H, W, 2), seed=0, kernels="fast"):
    layer.build(shape, rng=seed, dtype="float64", kernels=get_kernels(kernels))
    return layer


def ramps(N):
    """(N,H,W,2) images whose pixels are their places, from the middle: sampling is exact."""
    rows, columns = np.mgrid[:H, :W].astype(float)
    places = np.stack((rows - (H - 1) / 2, columns - (W - 1) / 2), axis=-1)
    return np.repeat(places[None], N, axis=0)


def shown(layer, N=10_000):
    """The place in the input, from the middle, that each pixel shows; NaN if outside."""
    layer.fill_mode, layer.fill_value = "constant", 1e300
    y = built(layer).forward(ramps(N), training=True)
    return np.where(abs(y).max(axis=-1, keepdims=True) < 1e3, y, np.nan)


def is_uniform(values, low, high):
    """Mean, extremes, and the largest distance of the distribution (Kolmogorov's test)."""
    N = len(values)
    assert N == 10_000 and low - 1e-12 <= values.min() and values.max() <= high + 1e-12
    assert values.min() < low + 1e-3 * (high - low) and values.max() > high - 1e-3 * (high - low)
    shares = (np.sort(values) - low) / (high - low)
    return abs(shares.mean() - 0.5) < 0.012 and abs(shares - np.arange(N) / N).max() < 0.02


def are_independent(*drawn):
    return abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 0.04


MIDDLE = (slice(None), H // 2, W // 2)
BESIDE = (slice(None), H // 2, W // 2 + 4)


def test_translations_are_uniform():
    places = shown(MAKERS["translation"]())
    y, x = -places[MIDDLE].T / ((H,), (W,))
    assert is_uniform(y, -0.2, 0.2) and is_uniform(x, -0.1, 0.3) and are_independent(y, x)


def test_rotations_are_uniform_and_counterclockwise():
    y, x = shown(MAKERS["rotation"]())[BESIDE].T
    # A turn by a quarter counterclockwise shows, to the right of the middle, what lay below it.
    assert is_uniform(np.arctan2(-y, x) / (-2 * np.pi), -0.05, 0.1)
    np.testing.assert_allclose(np.hypot(y, x), 4)


@pytest.mark.parametrize("both", [False, True])
def test_zooms_are_uniform(both):
    places = shown(MAKERS["zoom of both" if both else "zoom"]())
    y, x = places[:, H // 2 + 3, W // 2 + 4].T / ((3,), (4,)) - 1
    assert is_uniform(y, -0.3, 0.2)
    if both:
        assert is_uniform(x, -0.2, 0.1) and are_independent(y, x)
    else:
        np.testing.assert_allclose(x, y, atol=1e-12)


def test_shears_are_uniform_and_go_either_way():
    places = shown(MAKERS["shear"]())
    down, right = places[:, H // 2 + 1, W // 2] - places[MIDDLE], places[BESIDE] - places[MIDDLE]
    x, y = down[:, 1], right[:, 0] / 4
    assert is_uniform(abs(x), 0.1, 0.3) and is_uniform(abs(y), 0, 0.2)
    assert abs((x > 0).mean() - 0.5) < 0.02  # a factor that is a pair: its sign is drawn
    assert abs(((x > 0) == (y > 0)).mean() - 0.5) < 0.02  # a number: it has its own sign, too
    # The corner at the top left stays where it is: (x, y) from it is (x + a y, y + b x).
    corner = np.array([-(H - 1) / 2, -(W - 1) / 2])
    expected = corner + np.stack((H // 2 + y * (W // 2), W // 2 + x * (H // 2)), axis=1)
    np.testing.assert_allclose(places[MIDDLE], expected, atol=1e-12)


def test_elastic_displacements_are_bounded_smooth_and_centred():
    moved = shown(MAKERS["elastic"]()) - ramps(1)
    limit = 0.1 * np.array([H, W])
    assert (np.nanmax(abs(moved), axis=(0, 1, 2)) < limit).all()
    middle = moved[MIDDLE]
    assert (abs(middle.mean(axis=0)) < 0.02 * limit).all()
    # The middle is half way between two knots, whose shares are 1/48, 23/48, 23/48, 1/48 each way.
    spread = limit / np.sqrt(3) * (2 * (1 / 48**2 + 23**2 / 48**2))
    np.testing.assert_allclose(middle.std(axis=0), spread, rtol=0.03)
    assert np.nanmax(abs(np.diff(moved, axis=2))) < 0.5  # pixels, and no more beside each other


def test_erasures_have_the_chance_the_area_and_the_value_that_are_given():
    x = np.ones((10_000, 40, 30, 1))
    y = built(MAKERS["erasing"](), (40, 30, 1)).forward(x, training=True)[..., 0]
    assert set(np.unique(y)) == {0.5, 1.0}
    erased = y == 0.5
    assert abs(erased.any(axis=(1, 2)).mean() - 0.55) < 0.02  # of a chance from 0.2 to 0.9
    found = erased[erased.any(axis=(1, 2))]
    height, width = found.any(axis=2).sum(axis=1), found.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(found.sum(axis=(1, 2)), height * width)  # one rectangle
    for share, n in ((height / 40, 40), (width / 30, 30)):
        assert share.min() >= 0.1**0.5 - 1 / n and share.max() <= 0.4**0.5 + 1 / n
        assert abs((share**2).mean() - 0.25) < 0.01  # the root of a uniform share, in pixels
    assert are_independent(height, width)
    # Anywhere, but for pixels whose upper and left edges are the image's, as in Keras.
    assert found.any(axis=0)[1:, 1:].all()


@BOTH_SETS
@pytest.mark.parametrize("name", MAKERS)
def test_samples_passes_and_layers_differ(name, kernels, rng):
    make = lambda: MAKERS[name]() if name != "erasing" else RandomErasing((1, 1), 0.5)  # noqa: E731
    x = np.repeat(rng.random((1, H, W, 2)), 6, axis=0)
    first, second = (built(make(), seed=seed, kernels=kernels) for seed in (0, 1))
    images = [*first.forward(x, training=True), *first.forward(x, training=True),
              *second.forward(x, training=True), x[0]]  # fmt: skip
    assert len({image.tobytes() for image in images}) == len(images)
    again = built(make(), kernels=kernels).forward(x, training=True)
    np.testing.assert_array_equal(again, images[:6])


@BOTH_SETS
@pytest.mark.parametrize("name", MAKERS)
def test_a_layer_by_itself(name, kernels, rng):
    """Nothing happens in inference; backward goes with the last forward pass; numbers as floats."""
    layer, x = built(MAKERS[name](), kernels=kernels), rng.random((5, H, W, 2))
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    y, dx = layer.forward(x, training=True), layer.backward(x)
    assert dx.shape == x.shape and not np.array_equal(dx, x)
    # Linear but for what is filled: <dy, A x> - <dy, A 0> = <A' dy, x> for dy = x.
    layer.rng = np.random.default_rng(0)
    none = layer.forward(np.zeros_like(x), training=True)
    assert (x * (y - none)).sum() == pytest.approx((dx * x).sum(), rel=1e-12)
    whole = np.arange(x.size).reshape(x.shape)
    layer.rng = np.random.default_rng(0)
    found = layer.forward(whole, training=True)
    layer.rng = np.random.default_rng(0)
    np.testing.assert_array_equal(found, layer.forward(whole.astype(float), training=True))
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config() and copy.row() == layer.row()
    with pytest.raises(ShapeError, match="expected images"):
        type(layer).from_config(layer.get_config()).build((4, 4))


# --- In a model


def stages(*layers, kernels="fast", shape=(H, W, 2)):
    """The lengths of a model's stages for augmentation, and its plan."""
    model = Sequential([Input(shape), *layers, Flatten(), Dense(2)], dtype="float64", seed=0,
                       kernels=kernels)  # fmt: skip
    model.compile("sgd", "mse")
    found = model.execution_plan.stages
    return [len(stage.layers) for stage in found if isinstance(stage, Augmentation)], model


@pytest.mark.parametrize("names, fills, lengths", [
    (["translation", "rotation", "zoom", "shear", "elastic", "erasing"], "wwwww-", [6]),
    (["rotation", "rotation", "zoom of both"], "rrr", [3]),
    (["rotation", "zoom", "shear"], "rrw", [2, 1]),
    (["rotation", "zoom", "shear"], "rwr", [1, 1, 1]),
    (["elastic", "rotation", "elastic", "zoom"], "cccc", [2, 2]),
    (["erasing", "rotation"], "-r", [1, 1]),
    (["rotation", "erasing", "erasing", "rotation"], "r--r", [2, 1, 1]),
])  # fmt: skip
def test_neighbours_run_as_one_if_one_sampling_can_do_it(names, fills, lengths):
    modes = {"w": "wrap", "r": "reflect", "c": "constant"}
    layers = [
        MAKERS[name](**({"fill_mode": modes[fill]} if fill in modes else {}))
        for name, fill in zip(names, fills, strict=True)
    ]
    assert stages(*layers)[0] == lengths


def test_other_fill_values_and_layers_between_do_not_run_as_one():
    make = MAKERS["rotation"]
    assert stages(make(fill_value=1.0), make(fill_value=2.0))[0] == [1, 1]
    assert stages(make(), Conv2D(2, 3), make())[0] == [1, 1]

    class Own(RandomRotation):
        def forward(self, x, training=False):
            return x

    assert stages(make(), Own(0.1), make())[0] == [1, 1]


@BOTH_SETS
def test_a_fill_mode_that_is_changed_after_compile_is_seen(kernels):
    layers = [MAKERS["rotation"](), MAKERS["zoom"]()]
    _, model = stages(*layers, kernels=kernels)
    for name, value in (("fill_mode", "wrap"), ("fill_value", 3.0)):
        assert len(model.execution_plan.stages[0].layers) == 2
        before = getattr(layers[1], name)
        setattr(layers[1], name, value)
        assert len(model.execution_plan.stages[0].layers) == 1
        setattr(layers[1], name, before)


@BOTH_SETS
def test_composed_layers_are_one_map(kernels):
    """Of ramps, on which sampling is exact: one layer after the other shows the same places."""
    names = "rotation", "zoom", "translation", "shear"
    layers = [MAKERS[name](fill_mode="constant", fill_value=1e300) for name in names]
    lengths, model = stages(*layers, kernels=kernels)
    assert lengths == [4]
    one_by_one, before = ramps(40), model.rng.bit_generator.state
    composed = model.execution_plan.stages[0].forward(one_by_one, True, Memory())
    model.rng.bit_generator.state = before
    for layer in model.layers[:4]:
        one_by_one = layer.forward(one_by_one, training=True)
    seen = (abs(composed) < 1e3) & (abs(one_by_one) < 1e3)
    assert seen.mean() > 0.4
    np.testing.assert_allclose(composed[seen], one_by_one[seen], rtol=0, atol=1e-11)


@BOTH_SETS
def test_a_fixed_rotation_zoom_and_translation_are_composed_as_by_hand(kernels):
    layers = [RandomRotation((0.05, 0.05)), RandomZoom((-0.2, -0.2), (-0.1, -0.1)),
              RandomTranslation((0.1, 0.1), (-0.2, -0.2))]  # fmt: skip
    _, model = stages(*layers, kernels=kernels)
    found = model.execution_plan.stages[0].forward(ramps(2), True, Memory())
    place = ramps(1)[0, 6:-6, 6:-6]
    place = place - (0.1 * H, -0.2 * W)  # what is last is undone first
    place = place * (0.8, 0.9)
    cosine, sine = np.cos(np.pi / 10), np.sin(np.pi / 10)
    place = place @ np.array([[cosine, sine], [-sine, cosine]]).T
    np.testing.assert_allclose(found[:, 6:-6, 6:-6], [place, place], rtol=0, atol=1e-11)
