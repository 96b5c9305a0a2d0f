"""Random image transforms of both kernel sets against loops over every pixel."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanocnn.kernels import transforms as formulas
from support import naive_warp
from support.compare import TOLERANCE, assert_close
from support.transforms import SIZES, TOGETHER, keys_for, rows

FILL_VALUE = 0.25


@pytest.mark.parametrize("mode", formulas.FILL_MODES)
@pytest.mark.parametrize("letters", TOGETHER)
def test_warp_equals_a_loop_over_every_pixel(kernels, dtype, rng, letters, mode):
    for H, W in SIZES[1:]:
        x, dy = rng.standard_normal((2, 3, H, W, 2)).astype(dtype)
        given = rows(letters), keys_for(letters, first=2**32 - 1), mode, FILL_VALUE
        for name, array in (("warp_forward", x), ("warp_backward", dy)):
            found = getattr(kernels, name)(array, *given)
            expected = getattr(naive_warp, name)(array.astype(float), *given)
            assert found.dtype == dtype and found.shape == array.shape
            assert_close(found, expected, 4 * TOLERANCE[dtype], f"{name} {H}x{W}")


def test_these_transforms_move_something_and_stay_in_sight(kernels, dtype, rng):
    """Else the comparisons above would compare an image with itself, or nothing with nothing."""
    x = rng.standard_normal((3, 9, 6, 1)).astype(dtype)
    for letters in TOGETHER:
        y = kernels.warp_forward(x, rows(letters), keys_for(letters), "constant", FILL_VALUE)
        assert (y != x).mean() > 0.05 and (y != FILL_VALUE).mean() > 0.2, letters


@pytest.mark.parametrize("mode", formulas.FILL_MODES)
def test_places_far_from_the_image(kernels, dtype, rng, mode):
    """A translation by several images' sizes, which the layers do not allow."""
    x = rng.standard_normal((4, 5, 3, 1)).astype(dtype)
    given = np.array([[formulas.TRANSLATION, -4.0, 4, -4, 4, 0]]), keys_for("t"), mode, FILL_VALUE
    for name in ("warp_forward", "warp_backward"):
        expected = getattr(naive_warp, name)(x.astype(float), *given)
        assert_close(getattr(kernels, name)(x, *given), expected, 10 * TOLERANCE[dtype], name)


STILL = [
    (formulas.TRANSLATION, 0, 0, 0, 0, 0), (formulas.ROTATION, 0, 0, 0, 0, 0),
    (formulas.ROTATION, 1, 1, 0, 0, 0), (formulas.ZOOM, 0, 0, 0, 0, 0),
    (formulas.SHEAR, 0, 0, 0, 0, 0), (formulas.ELASTIC, 0, 0, 0, 0, 7),
    (formulas.ERASING, 0, 0, 0, 1, 9),
]  # fmt: skip


@pytest.mark.parametrize("mode", formulas.FILL_MODES)
def test_transforms_by_nothing_return_every_number_as_it_was(kernels, dtype, rng, mode):
    for H, W in SIZES:
        x = rng.standard_normal((3, H, W, 2)).astype(dtype)
        for several in ([row] for row in STILL), [STILL]:
            for transforms in several:
                keys = keys_for(transforms)
                for name in ("warp_forward", "warp_backward"):
                    y = getattr(kernels, name)(x, np.array(transforms, float), keys, mode, 0.5)
                    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("mode", formulas.FILL_MODES)
def test_quarter_turns_and_whole_steps_move_pixels_without_mixing_them(kernels, dtype, rng, mode):
    x = rng.standard_normal((2, 6, 6, 1)).astype(dtype)
    turn = lambda share: np.array([[formulas.ROTATION, share, share, 0, 0, 0]])  # noqa: E731
    for quarters in (1, 2, 3):
        y = kernels.warp_forward(x, turn(quarters / 4), keys_for("r"), mode, 0)
        assert_close(y, np.rot90(x, quarters, (1, 2)), TOLERANCE[dtype])  # counterclockwise
    down = np.array([[formulas.TRANSLATION, 0.5, 0.5, 0, 0, 0]])
    y = kernels.warp_forward(x, down, keys_for("t"), mode, 7)
    np.testing.assert_array_equal(y[:, 3:], x[:, :3])
    upper = {"constant": np.full_like(x[:, :3], 7), "nearest": x[:, [0, 0, 0]],
             "reflect": x[:, [2, 1, 0]], "wrap": x[:, 3:]}[mode]  # fmt: skip
    np.testing.assert_array_equal(y[:, :3], upper)


@pytest.mark.parametrize("letters", ["t", "trZs", "e"])
@pytest.mark.parametrize("mode", formulas.FILL_MODES)
def test_nan_touches_only_the_pixels_that_are_mixed_of_it(kernels, dtype, rng, letters, mode):
    x, dy = rng.standard_normal((2, 2, 9, 6, 2)).astype(dtype)
    given = rows(letters), keys_for(letters), mode, FILL_VALUE
    mixtures = naive_warp.mixture(0, *given[:2], 9, 6, mode)
    place = next(cell[:2] for cells in mixtures.values() for cell in cells if cell[0] is not None)
    x[0, *place, 1] = dy[0, 4, 3, 1] = np.nan
    y, dx = kernels.warp_forward(x, *given), kernels.warp_backward(dy, *given)
    for i, j in np.ndindex(9, 6):
        mixed = any(cell[:2] == place for cell in mixtures[i, j])
        assert np.isnan(y[0, i, j]).tolist() == [False, mixed]
        mixed = any(cell[:2] == (i, j) for cell in mixtures[4, 3])
        assert np.isnan(dx[0, i, j]).tolist() == [False, mixed]
    assert np.isnan(y[0]).any() and np.isfinite(y[1]).all() and np.isfinite(dx[1]).all()


def test_a_sample_depends_on_its_key_and_place_alone(kernels, dtype, rng):
    letters = "trzsex"
    x = rng.standard_normal((6, 9, 6, 1)).astype(dtype)
    for name in ("warp_forward", "warp_backward"):
        call = getattr(kernels, name)
        whole = call(x, rows(letters), keys_for(letters, 10), "reflect", 0.0)
        parts = [
            call(x[start : start + 2], rows(letters), keys_for(letters, 10 + start), "reflect", 0.0)
            for start in (0, 2, 4)
        ]
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert kernels.warp_forward(x[:0], rows("t"), keys_for("t"), "wrap", 0.0).shape == (0, 9, 6, 1)


@given(st.floats(-3, 3))
@settings(max_examples=200)
def test_the_cosine_and_the_sine(turns):
    """As kernels/README.md says: to 2e-13."""
    found = formulas.cos_sin(turns)
    angle = 2 * np.pi * (turns - round(turns))
    np.testing.assert_allclose(found, (np.cos(angle), np.sin(angle)), rtol=0, atol=2e-13)


def test_maps_compose_as_matrices_do(rng):
    outer, inner = rng.normal(size=(2, 6))
    square = lambda m: np.vstack([m.reshape(2, 3), (0, 0, 1)])  # noqa: E731
    composed = np.array(formulas.compose(tuple(outer), tuple(inner)))
    np.testing.assert_allclose(square(composed), square(outer) @ square(inner), rtol=1e-14)


@pytest.mark.parametrize("cells", [1, 2, 4, 64])
def test_splines_are_shares_that_follow_their_knots(cells):
    """The weights of a pixel add up to 1, and knots in a line put the pixels in that line."""
    for n in (1, 2, 9, 28):
        basis = formulas.spline(cells, n, np.float64)
        assert basis.shape == (cells + 3, n) and basis.min() >= 0
        np.testing.assert_allclose(basis.sum(axis=0), 1, rtol=1e-14)
        line = (np.arange(cells + 3) - 1) @ basis
        np.testing.assert_allclose(line, np.arange(n) * cells / max(n - 1, 1), atol=1e-13)
        for k, pixel in np.ndindex(basis.shape):
            place = pixel * cells / max(n - 1, 1)
            assert basis[k, pixel] == pytest.approx(naive_warp.bump(place - (k - 1)), abs=1e-14)
