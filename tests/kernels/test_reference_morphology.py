"""Grey morphology of both kernel sets against loops over every pixel."""

import numpy as np
import pytest

from support import naive_morphology
from support.compare import TOLERANCE, assert_close

WAYS = "morphology_forward", "morphology_backward"
SIZES = [(9, 6), (5, 7), (1, 3), (4, 1), (1, 1), (1, 34)]
RANGES = [(-1.0, 1.0), (0.2, 0.9), (-0.7, -0.1), (1.0, 1.0), (-1.0, -1.0)]


def keys(first=0, key=0x123456789ABCDEF0):
    return np.array([key, first], np.uint64)


def images(rng, dtype, *shape):
    """Many equal neighbours, so that it matters which of them is the first."""
    return rng.integers(-3, 4, shape).astype(dtype)


@pytest.mark.parametrize("bounds", RANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_morphology_equals_a_loop_over_every_pixel(kernels, dtype, rng, bounds, channels):
    for H, W in SIZES:
        x, dy = images(rng, dtype, 2, 3, H, W, channels)
        given = *bounds, keys(2**32 - 2)
        for name, arrays in zip(WAYS, ((x,), (dy, x)), strict=True):
            y = getattr(kernels, name)(*arrays, *given)
            expected = getattr(naive_morphology, name)(*(each.astype(float) for each in arrays),
                                                       *given)  # fmt: skip
            assert y.dtype == dtype and y.shape == x.shape
            assert_close(y, expected, 2 * TOLERANCE[dtype], f"{name} {H}x{W}")


def test_a_whole_pixel_gives_the_maxima_and_the_minima_of_the_crosses(kernels, dtype, rng):
    x = images(rng, dtype, 4, 7, 5, 2)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")  # what adds no other number
    cross = np.stack([x, padded[:, 2:, 1:-1], padded[:, :-2, 1:-1], padded[:, 1:-1, 2:],
                      padded[:, 1:-1, :-2]])  # fmt: skip
    for a, best in ((1.0, cross.max(axis=0)), (-1.0, cross.min(axis=0))):
        np.testing.assert_array_equal(kernels.morphology_forward(x, a, a, keys()), best)


def test_nothing_changes_by_zero_and_where_all_pixels_are_equal(kernels, dtype, rng):
    x = rng.standard_normal((3, 5, 4, 2)).astype(dtype)
    np.testing.assert_array_equal(kernels.morphology_forward(x, 0.0, 0.0, keys()), x)
    np.testing.assert_array_equal(kernels.morphology_backward(x, x, 0.0, 0.0, keys()), x)
    for value in (-2.5, 0.0, 3.0):  # in the corners too: what lies outside does not take part
        x[...] = value
        np.testing.assert_array_equal(kernels.morphology_forward(x, -1.0, 1.0, keys()), x)


@pytest.mark.parametrize("a", [0.5, -0.5])
def test_nan_spreads_to_its_neighbours_as_by_numpy_s_maximum_and_minimum(kernels, dtype, rng, a):
    x = rng.standard_normal((2, 6, 5, 2)).astype(dtype)
    x[0, 2, 3, 1] = np.nan
    y = kernels.morphology_forward(x, a, a, keys())
    missing = np.zeros(x.shape, bool)
    missing[0, [1, 2, 3, 2, 2], [3, 3, 3, 2, 4], 1] = True
    np.testing.assert_array_equal(np.isnan(y), missing)
    dx = kernels.morphology_backward(np.where(missing, 1, 0).astype(dtype), x, a, a, keys())
    expected = np.where(missing, 0.5, 0)
    expected[0, 2, 3, 1] = 3  # all five moved to it, and half of it was there
    np.testing.assert_array_equal(dx, expected)


def test_a_gradient_goes_to_the_first_of_equal_pixels(kernels, dtype):
    """In the order: the pixel itself, above, left, right, below."""
    x, dy = np.zeros((2, 1, 3, 3, 1), dtype)
    dy[0, 1, 1] = 1
    order = [(1, 1), (0, 1), (1, 0), (1, 2), (2, 1)]
    for sign in (1, -1):
        x[...] = 0
        for place in order[::-1]:
            x[(0, *place)] = sign
            dx = kernels.morphology_backward(dy, x, 0.75 * sign, 0.75 * sign, keys())[0, ..., 0]
            expected = 0.25 * dy[0, ..., 0]
            expected[place] += 0.75
            np.testing.assert_array_equal(dx, expected)


def test_infinite_pixels_take_part_and_what_is_outside_does_not(kernels, dtype):
    x = np.full((1, 3, 2, 1), -np.inf, dtype)
    dy = np.ones_like(x)
    np.testing.assert_array_equal(kernels.morphology_backward(dy, x, 1.0, 1.0, keys()), dy)
    np.testing.assert_array_equal(kernels.morphology_backward(dy, -x, -1.0, -1.0, keys()), dy)
    x[0, 1, 1] = 0
    dx = kernels.morphology_backward(dy, x, 1.0, 1.0, keys())[0, ..., 0]
    np.testing.assert_array_equal(dx, [[1, 0], [0, 4], [1, 0]])


def test_a_sample_depends_on_its_key_and_place_alone(kernels, dtype, rng):
    x = rng.standard_normal((6, 9, 6, 1)).astype(dtype)
    for name, arrays in zip(WAYS, ((x,), (x, x)), strict=True):
        call = getattr(kernels, name)
        whole = call(*arrays, -1.0, 1.0, keys(10))
        parts = [call(*(each[start : start + 2] for each in arrays), -1.0, 1.0, keys(10 + start))
                 for start in (0, 2, 4)]  # fmt: skip
        np.testing.assert_array_equal(whole, np.concatenate(parts))
        assert (whole != call(*arrays, -1.0, 1.0, keys(11))).any()
        assert (whole != call(*arrays, -1.0, 1.0, keys(10, 5))).any()
        none = [each[:0] for each in arrays]
        assert call(*none, -1.0, 1.0, keys()).shape == (0, 9, 6, 1)
