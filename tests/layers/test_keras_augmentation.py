"""Augmentation layers with fixed amounts against Keras on TensorFlow: the same images.

A factor (a, a) draws exactly a. Where places are drawn at random, what all draws share is compared.
"""

import numpy as np
import pytest

import nanocnn
from nanocnn.kernels import get_kernels

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FIXED = [
    *(("RandomTranslation", {"height_factor": (a, a), "width_factor": (b, b)})
      for a, b in ((0.13, -0.21), (-0.5, 0.25), (0.9, -0.8), (1.0, 0.0))),
    *(("RandomRotation", {"factor": (a, a)}) for a in (0.03, -0.11, 0.25, 0.6, -1.0)),
    *(("RandomZoom", {"height_factor": (a, a)}) for a in (0.2, -0.3, 0.9)),
    *(("RandomZoom", {"height_factor": (a, a), "width_factor": (b, b)})
      for a, b in ((0.2, -0.3), (-0.4, 0.7), (1.0, -0.9))),
]  # fmt: skip
SHEARS = [(0.2, 0.0), (0.0, 0.3), (0.4, 0.25), (0.0, 1.0)]
SIZES = [(9, 12, 1), (8, 7, 3)]


def augmented(layer, x):
    layer.build(x.shape[1:], kernels=get_kernels("reference"), rng=1)
    return layer.forward(x, training=True)


def both(keras, kind, x, **options):
    theirs = getattr(keras.layers, kind)(**options)(x, training=True)
    return augmented(getattr(nanocnn, kind)(**options), x), np.asarray(theirs)


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect"])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("kind, options", FIXED)
def test_a_fixed_amount_gives_the_images_of_keras(keras, rng, kind, options, shape, fill_mode):
    x = rng.random((2, *shape), np.float32)
    ours, theirs = both(keras, kind, x, fill_mode=fill_mode, fill_value=0.4, **options)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(ours - x).max() > 0.1 or options.get("factor") == (-1.0, -1.0)


@pytest.mark.parametrize("kind, options", [*FIXED[:2], *FIXED[4:8], *FIXED[9:]])
def test_wrap_is_that_of_keras_where_all_four_pixels_are_in_the_image(keras, rng, kind, options):
    """TensorFlow clamps between the last pixel of a row and the first; here they are mixed."""
    x = rng.random((2, 9, 12, 1), np.float32)
    blank = getattr(nanocnn, kind)(fill_mode="constant", **options)
    inside = augmented(blank, np.ones_like(x)) == 1
    ours, theirs = both(keras, kind, x, fill_mode="wrap", **options)
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-5)
    assert inside.any()


def test_wrap_by_whole_pixels_is_that_of_keras_and_of_roll(keras, rng):
    x = rng.random((2, 8, 8, 1), np.float32)
    amounts = {"height_factor": (0.25, 0.25), "width_factor": (-0.375, -0.375)}
    ours, theirs = both(keras, "RandomTranslation", x, fill_mode="wrap", **amounts)
    np.testing.assert_allclose(ours, np.roll(x, (2, -3), axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect"])
@pytest.mark.parametrize("x_factor, y_factor", SHEARS)
def test_a_shear_is_that_of_keras_with_one_sign_or_the_other(
    keras, rng, x_factor, y_factor, fill_mode
):
    image = rng.random((9, 12, 1), np.float32)
    x = np.repeat(image[None], 32, axis=0)
    options = {"x_factor": (x_factor,) * 2, "y_factor": (y_factor,) * 2, "fill_mode": fill_mode}
    ours, theirs = both(keras, "RandomShear", x, **options)
    for batch in (ours, theirs):
        kinds = np.unique(batch.round(4), axis=0)
        assert len(kinds) == 2, "each of the two signs, and no other image"
    for image in theirs:
        assert np.abs(ours - image).max(axis=(1, 2, 3)).min() < 1e-5


def test_the_signs_of_a_shear_by_numbers_are_independent_as_in_keras(keras):
    """A number f is drawn from -f to f, so that x and y have either sign; a pair has one sign."""
    y, x = np.mgrid[:16, :16].astype(np.float32)
    for factor, kinds in ((0.2, 4), ((0.1, 0.2), 2)):
        for layers in (nanocnn.layers, keras.layers):
            layer = layers.RandomShear(factor, factor, fill_mode="nearest")
            images = np.repeat(np.stack((x, y), axis=-1)[None], 200, axis=0)
            if layers is nanocnn.layers:
                moved = augmented(layer, images)
            else:
                moved = np.asarray(layer(images, training=True))
            signs = np.sign((moved - images)[:, 7, 7])  # of the shift to the right, and down
            assert len(np.unique(signs, axis=0)) == kinds


def test_an_erasure_has_the_size_of_that_of_keras(keras, rng):
    x = rng.random((64, 16, 8, 2), np.float32)
    for scale, height, width in ((0.25, 8, 4), (1.0, 16, 8)):
        options = {"factor": (1.0, 1.0), "scale": (scale, scale), "fill_value": 7.0}
        for y in both(keras, "RandomErasing", x, **options):
            erased = (y == 7).all(axis=-1)
            assert (y[~erased] == x[~erased]).all()
            assert (erased.any(axis=2).sum(axis=1) == height).all()
            assert (erased.any(axis=1).sum(axis=1) == width).all()
            assert (erased.sum(axis=(1, 2)) == height * width).all()


def test_a_part_of_a_pixel_is_erased_or_not_as_in_keras(keras, rng):
    x = rng.random((400, 10, 10, 1), np.float32)
    options = {"factor": (1.0, 1.0), "scale": (0.3, 0.3), "fill_value": 7.0}
    found = [np.unique((y == 7).any(axis=2).sum(axis=1)[:, 0], return_counts=True)
             for y in both(keras, "RandomErasing", x, **options)]  # fmt: skip
    assert found[0][0].tolist() == found[1][0].tolist() == [5, 6]  # of 10 * sqrt(0.3) = 5.48 rows
    assert abs(found[0][1][0] - found[1][1][0]) < 80


@pytest.mark.parametrize("factor", [0.0, (0.0, 0.0)])
def test_an_erasure_that_never_happens(keras, rng, factor):
    x = rng.random((8, 6, 6, 1), np.float32)
    ours, theirs = both(keras, "RandomErasing", x, factor=factor, fill_value=7.0)
    assert (ours == x).all() and (theirs == x).all()


@pytest.mark.parametrize("kind, options", [*FIXED[:1], *FIXED[4:5], *FIXED[9:10],
                                           ("RandomShear", {"x_factor": 0.3})])  # fmt: skip
def test_the_amounts_that_are_drawn_are_spread_as_in_keras(keras, kind, options):
    """The mean and the spread of what happens to one bright pixel, of 4000 draws."""
    x = np.zeros((4000, 9, 9, 1), np.float32)
    x[:, 2, 6] = 1
    options = {k: v if kind == "RandomShear" else (-0.2, 0.3) for k, v in options.items()}
    ours, theirs = both(keras, kind, x, fill_mode="constant", **options)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), atol=0.03)
