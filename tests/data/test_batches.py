"""Minibatches: every example once an epoch, one scaling rule, no float copy of a data set."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanocnn.common.errors import NonFiniteError, ShapeError
from nanocnn.data.batches import as_images, batches, split, take

IMAGE = (4, 3, 1)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9))
def test_every_example_comes_once_an_epoch(count: int, size: int, seed: int) -> None:
    everything = np.arange(count)
    in_order = [everything[index] for index in batches(count, size)]
    np.testing.assert_array_equal(np.concatenate(in_order), everything)
    shuffled = list(batches(count, size, np.random.default_rng(seed)))
    assert [len(b) for b in shuffled] == [len(b) for b in in_order]
    assert {len(b) for b in in_order[:-1]} <= {size} and 1 <= len(in_order[-1]) <= size
    np.testing.assert_array_equal(np.sort(np.concatenate(shuffled)), everything)
    again = list(batches(count, size, np.random.default_rng(seed)))
    assert all(map(np.array_equal, shuffled, again))


def test_each_epoch_is_shuffled_anew() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(batches(100, 8, rng))) for _ in range(2))
    assert not np.array_equal(first, np.arange(100)) and not np.array_equal(first, second)


@pytest.mark.parametrize("size", [0, -1, 2.0, "32", None, True])
def test_bad_sizes_are_refused_at_once(size: object) -> None:
    with pytest.raises(ValueError, match=r"batch_size=.*, expected an integer of at least 1"):
        batches(10, size)  # type: ignore[arg-type]


def test_no_examples_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="number of examples"):
        batches(0, 32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uint8_is_divided_by_255_batch_by_batch(dtype: str) -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(64, 4, 3)
    x = as_images(pixels, IMAGE, dtype)
    assert x.dtype == np.uint8 and x.shape == (64, *IMAGE) and np.shares_memory(x, pixels)
    expected = pixels[..., np.newaxis].astype(dtype) / 255
    for index in (slice(3, 9), np.array([5, 0, 63])):
        out = np.empty((len(expected[index]), *IMAGE), dtype)
        for batch in (take(x, index, dtype), take(x, index, dtype, out)):
            assert batch.dtype == dtype
            np.testing.assert_array_equal(batch, expected[index])
        assert take(x, index, dtype, out) is out


FLOATS = ["f2", "f4", ">f4", "f8", "?"]
WHOLE = ["i1", "u2", ">i2", "i4", "u4", "i8", "u8"]


@pytest.mark.parametrize(
    ("given_dtype", "scale_uint8"),
    [*((kind, True) for kind in FLOATS), *((kind, False) for kind in (*FLOATS, "u1", *WHOLE))],
)
def test_floats_and_without_scaling_all_numbers_are_as_they_are(
    given_dtype: str, scale_uint8: bool
) -> None:
    values = np.array([0, 1, 100, 1] * 6).reshape(2, 4, 3).astype(given_dtype)
    x = as_images(values, IMAGE, "float32", scale_uint8=scale_uint8)
    assert x.dtype == np.float32 and x.dtype.isnative
    np.testing.assert_array_equal(x[..., 0], values.astype(np.float64))
    out = np.empty_like(x)
    for index in (slice(0, 2), np.array([0, 1])):
        np.testing.assert_array_equal(take(x, index, "float32"), x)
        np.testing.assert_array_equal(take(x, index, "float32", out), x)
    assert np.shares_memory(take(x, slice(0, 1), "float32"), x)


@pytest.mark.parametrize("given_dtype", WHOLE)
def test_other_whole_numbers_are_refused_with_both_ways_out(given_dtype: str) -> None:
    name = np.dtype(given_dtype).name
    message = rf'integers of type {name}.*x.astype\("uint8"\) for pix.*x.astype\("float32"\)'
    with pytest.raises(ValueError, match=message):
        as_images(np.ones((2, 4, 3), given_dtype), IMAGE, "float32")


def test_shapes_that_fit() -> None:
    assert as_images(np.zeros((5, 4, 3)), (4, 3, 1), "float32").shape == (5, 4, 3, 1)
    assert as_images(np.zeros((5, 4, 3, 2)), (4, 3, 2), "float32").shape == (5, 4, 3, 2)
    assert as_images([[1.0, 2.0]], (2,), "float32").shape == (1, 2)
    assert as_images(np.zeros((5, 1)), (1,), "float32").shape == (5, 1)
    transposed = np.arange(60.0).reshape(3, 4, 5).T
    np.testing.assert_array_equal(as_images(transposed, (4, 3), "float64"), transposed)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3), r"expected \(N, 4, 3, 1\), got \(4, 3\)"),
        ((4, 3, 1), r"got \(4, 3, 1\) \(one image\? pass x\[np.newaxis\]\)"),
        ((4, 3), r"got \(4, 3\) \(one image\? pass x\[np.newaxis\]\)"),
        ((12,), r"got \(12,\) \(one image\? pass x.reshape\(-1, 4, 3, 1\)\)"),
        ((5, 12), r"got \(5, 12\) \(images in another layout\? pass x.reshape\(-1, 4, 3, 1\)\)"),
        ((5, 1, 4, 3), r"\(channels first\? pass x.transpose\(0, 2, 3, 1\)\)"),
        ((3, 4), r"got \(3, 4\)$"),
        ((5, 3, 4), r"x_test: expected \(N, 4, 3, 1\), got \(5, 3, 4\)$"),
        ((5, 4, 3, 3), "got"),
        ((5, 4, 3, 1, 1), "got"),
        ((), "got"),
        ((0, 4, 3), "expected 1 image or more, got none"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    for dtype in (np.uint8, np.float32):
        with pytest.raises(ShapeError, match=message):
            as_images(np.zeros(shape, dtype), IMAGE, "float32", name="x_test")


def test_input_that_is_not_numeric_is_refused() -> None:
    for dtype in (object, "U1", "S1", "complex64", "datetime64[s]", [("a", "f4")]):
        with pytest.raises(ValueError, match="x: expected an array of numbers, got dtype"):
            as_images(np.zeros((2, 4, 3), dtype), IMAGE, "float32")
    with pytest.raises(ShapeError, match="images of one shape"):
        as_images([[1, 2], [3]], (2,), "float32")
    with pytest.raises(ValueError, match="got dtype object"):
        as_images(None, (2,), "float32")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_pixel_that_is_not_finite_is_named(bad: float) -> None:
    x = np.zeros((3000, 4, 3))
    x[2500, 3, 1] = x[2700, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=rf"got {bad} at index \(2500, 3, 1, 0\)"):
        as_images(x, IMAGE, "float32")


def test_too_large_for_the_model_is_not_finite() -> None:
    x = np.full((1, 4, 3), 1e300)
    as_images(x, IMAGE, "float64")
    with pytest.raises(NonFiniteError, match=r"got 1e\+300 .*\(as float32: inf\)"):
        as_images(x, IMAGE, "float32")


def test_no_float_copy_of_a_data_set() -> None:
    pixels = np.zeros((20000, 28, 28), np.uint8)
    floats = np.zeros((5000, 28, 28), np.float32)
    tracemalloc.start()
    try:
        x = as_images(pixels, (28, 28, 1), "float32")
        take(x, slice(0, 128), "float32")
        as_images(floats, (28, 28, 1), "float32")
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def test_validation_split_is_that_of_keras() -> None:
    x, y = np.arange(10), list("abcdefghij")
    (x_train, y_train, none), (x_val, y_val, nothing) = split(0.25, x, y, None)
    assert x_train.tolist() == [0, 1, 2, 3, 4, 5, 6] and x_val.tolist() == [7, 8, 9]
    assert "".join(y_train) == "abcdefg" and "".join(y_val) == "hij" and none is nothing is None
    assert len(split(0.1, np.zeros(60000))[0][0]) == 54000
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split(fraction, x)
    with pytest.raises(ValueError, match="leaves 0 for training and 1 for validation"):
        split(0.5, np.zeros(1))
    with pytest.raises(ShapeError, match=r"equal length, got \[9, 10\]"):
        split(0.5, np.zeros(10), np.zeros(9))
