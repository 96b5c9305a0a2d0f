"""A drawing becomes a digit as a photo does."""

from time import perf_counter

import numpy as np
import pytest
from PIL import Image

from nanocnn import presets
from nanocnn.common.errors import DatasetError
from nanocnn.data.photo import fit_drawing, read_digit
from support.explored import TESTS, ask, drawn, session_of


def enlarged(digit, side=280):
    """A test digit as it would be drawn: large, and not in the middle."""
    big = Image.fromarray(digit).resize((side // 2,) * 2, Image.Resampling.BICUBIC)
    sheet = np.zeros((side, side), np.uint8)
    sheet[5 : 5 + side // 2, 9 : 9 + side // 2] = np.asarray(big)
    return sheet


def likeness(a, b):
    """Correlation of two digits, the best of all shifts by a pixel: that much is rounding."""
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return max(np.corrcoef(np.roll(a, each, (0, 1)).ravel(), b.ravel())[0, 1] for each in shifts)


@pytest.mark.parametrize("which", range(0, 200, 20))
def test_a_drawing_is_read_as_the_photo_of_it(which):
    sheet = enlarged(TESTS[0][which])
    of_drawing, of_photo = fit_drawing(sheet), read_digit(sheet)
    assert likeness(of_drawing, of_photo) > 0.95  # a photo's paper is taken off
    rows, columns = (np.flatnonzero(of_drawing.any(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    mass = of_drawing.sum(1).astype(float) @ np.arange(28) / of_drawing.sum()
    assert abs(mass - 14) <= 1


def test_the_place_and_the_size_of_a_drawing_do_not_matter():
    sheet = enlarged(TESTS[0][0])
    moved = np.roll(sheet, (90, 70), (0, 1))
    assert np.array_equal(fit_drawing(sheet), fit_drawing(moved))


def test_a_drawing_of_several_pieces_is_kept_whole():
    five = np.zeros((100, 100), np.uint8)
    five[20:80, 20:30] = five[20:80, 70:80] = 255  # two strokes, which a photo would refuse
    found = fit_drawing(five)
    assert (found[14] > 128).sum() >= 4
    assert found[14, 14] == 0


def test_a_blank_drawing_is_a_blank_digit():
    assert not fit_drawing(np.zeros((280, 280), np.uint8)).any()
    assert not fit_drawing(np.full((9, 9), 20, np.uint8)).any()  # too faint for ink


@pytest.mark.parametrize("shape", [(1, 1), (1, 280), (280, 1), (3, 200), (280, 280)])
def test_any_ink_becomes_a_digit(shape):
    found = fit_drawing(np.full(shape, 255, np.uint8))
    assert found.shape == (28, 28) and found.dtype == np.uint8 and found.max() == 255


@pytest.mark.parametrize("wrong", [None, 7, np.zeros((28, 28)), np.zeros(9, np.uint8)])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(DatasetError, match="ink="):
        fit_drawing(wrong)


def test_from_drawing_to_activations_takes_less_than_15_milliseconds():
    model = presets.build("lenet")
    asked = [{"layer": layer.name, "what": "y"} for layer in model.layers]
    body = drawn(enlarged(TESTS[0][0]), arrays=asked)
    with session_of(model) as session:
        times = []
        for _ in range(30):
            start = perf_counter()
            ask(session, "digit", body)
            times.append(perf_counter() - start)
    assert min(times) < 0.015
