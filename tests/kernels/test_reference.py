"""Convolution and pooling of both kernel sets against loops, over shapes that hypothesis draws.

The loops are in support/naive.py.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanocnn.kernels import OPERATIONS, get_kernels
from nanocnn.kernels.geometry import sliding_window
from support.compare import TOLERANCE, assert_close
from support.loops import close, loops, normal, seeds, small


@st.composite
def sliding(draw, largest=3, dilated=True):
    """(size, kernel, strides, padding, dilation) of a window that fits into its image."""
    up_to = lambda high: draw(st.tuples(*[st.integers(1, high)] * 2))  # noqa: E731
    kernel, strides, dilation = up_to(largest), up_to(3), up_to(3) if dilated else (1, 1)
    padding = draw(st.sampled_from(["valid", "same"]))
    extra = up_to(8)
    if padding == "same":
        return extra, kernel, strides, padding, dilation
    size = tuple((k - 1) * d + e for k, d, e in zip(kernel, dilation, extra, strict=True))
    return size, kernel, strides, padding, dilation


def window_of(slide):
    return sliding_window(*slide)


def test_each_set_has_every_operation(kernels):
    assert [name for name in OPERATIONS if not callable(getattr(kernels, name, None))] == []


# --- Convolution


@given(sliding(), small, small, st.integers(1, 3), st.booleans(), seeds)
@settings(max_examples=100)
@example(((6, 7), (3, 4), (2, 1), "same", (1, 1)), 2, 3, 2, True, 0)
@example(((7, 5), (3, 2), (1, 1), "same", (2, 3)), 1, 4, 1, True, 0)
@example(((3, 9), (3, 3), (1, 1), "valid", (1, 1)), 1, 1, 1, False, 0)
def test_conv2d(kernels, dtype, slide, C, F, N, biased, seed):
    size, kernel, *rest = slide
    x, weight, bias = normal(seed, dtype, (N, *size, C), (*kernel, C, F), F)
    bias = bias if biased else None
    y = loops("conv2d_forward", x, weight, bias, *rest)
    close(kernels.conv2d_forward(x, weight, bias, window_of(slide)), y, dtype, "y")
    (dy,) = normal(seed + 1, dtype, y.shape)
    expected = loops("conv2d_backward", dy, x, weight, *rest)
    results = kernels.conv2d_backward(dy, x, weight, window_of(slide))
    for name, result, value in zip(["dx", "dweight", "dbias"], results, expected, strict=True):
        close(result, value, dtype, name)
    no_dx, *others = kernels.conv2d_backward(dy, x, weight, window_of(slide), need_dx=False)
    assert no_dx is None
    for name, result, value in zip(["dweight", "dbias"], others, expected[1:], strict=True):
        close(result, value, dtype, name)


@pytest.mark.parametrize("n, k, s, expected", [
    (6, 3, 2, [6, 12, 11]),
    (7, 4, 1, [6, 10, 14, 18, 22, 18, 13]),
])  # fmt: skip
def test_same_padding_puts_the_odd_cell_last(kernels, n, k, s, expected):
    """Values from Keras: PyTorch's padding=k//2 gives others."""
    x = np.arange(1.0, n + 1).reshape(1, n, 1, 1)
    window = sliding_window((n, 1), (k, 1), (s, 1), "same")
    y = kernels.conv2d_forward(x, np.ones((k, 1, 1, 1)), None, window)
    assert y.ravel().tolist() == expected


def test_conv2d_keeps_nan_and_inf_where_they_belong(kernels, dtype):
    """A pixel that is NaN or inf reaches the outputs whose window holds it, and no other."""
    x, weight = normal(3, dtype, (2, 9, 8, 2), (3, 3, 2, 5))
    for bad in (np.nan, np.inf, -np.inf):
        poisoned = x.copy()
        poisoned[1, 4, 3, 1] = bad
        for padding in ("valid", "same"):
            window = sliding_window((9, 8), (3, 3), (1, 1), padding)
            with np.errstate(invalid="ignore"):
                y = kernels.conv2d_forward(poisoned, weight, None, window)
            expected = loops("conv2d_forward", poisoned, weight, None, (1, 1), padding, (1, 1))
            close(y, expected, dtype, "y")


@pytest.mark.parametrize("size, kernel, strides, padding, C, F", [
    ((28, 28), (5, 5), (1, 1), "same", 1, 20),
    ((14, 14), (5, 5), (1, 1), "same", 20, 50),
    ((26, 26), (3, 3), (1, 1), "valid", 32, 64),
    ((13, 11), (3, 3), (1, 1), "same", 17, 33),
    ((12, 15), (4, 3), (2, 3), "same", 9, 24),
    ((9, 9), (1, 1), (1, 1), "valid", 40, 7),
    ((5, 5), (5, 5), (1, 1), "valid", 3, 65),
])  # fmt: skip
def test_fast_conv2d_is_the_reference_at_real_sizes(dtype, size, kernel, strides, padding, C, F):
    """Too large for loops; here is where blocks, vectors and their remainders all come in."""
    window = sliding_window(size, kernel, strides, padding)
    x, weight, bias = normal(4, dtype, (5, *size, C), (*kernel, C, F), F)
    (dy,) = normal(5, dtype, (5, window.OH, window.OW, F))
    fast, reference = get_kernels("fast"), get_kernels("reference")
    assert_close(
        fast.conv2d_forward(x, weight, bias, window),
        reference.conv2d_forward(x, weight, bias, window),
        TOLERANCE[dtype],
    )
    results = fast.conv2d_backward(dy, x, weight, window)
    expected = reference.conv2d_backward(dy, x, weight, window)
    for name, result, value in zip(["dx", "dweight", "dbias"], results, expected, strict=True):
        assert_close(result, value, TOLERANCE[dtype], name)


# --- Pooling


def tied(seed, dtype, shape):
    """Few different numbers, so that windows hold ties; negative ones, so that a pad of 0 shows."""
    return np.random.default_rng(seed).integers(-3, 0, shape).astype(dtype)


@given(sliding(largest=4, dilated=False), st.integers(1, 9), st.integers(1, 3), seeds)
@settings(max_examples=50)
@example(((28, 27), (2, 2), (2, 2), "valid", (1, 1)), 3, 1, 0)
@example(((7, 6), (3, 2), (1, 1), "same", (1, 1)), 2, 2, 0)
def test_max_pool(kernels, dtype, slide, C, N, seed):
    size, kernel, strides, padding, _ = slide
    x = tied(seed, dtype, (N, *size, C))
    y, argmax = loops("max_pool_forward", x, kernel, strides, padding)
    actual, actual_argmax = kernels.max_pool_forward(x, window_of(slide))
    assert actual.dtype == dtype and actual_argmax.dtype == np.uint8
    np.testing.assert_array_equal(actual, y)
    np.testing.assert_array_equal(actual_argmax, argmax)
    (dy,) = normal(seed, dtype, y.shape)
    dx = kernels.max_pool_backward(dy, actual_argmax, window_of(slide))
    close(dx, loops("max_pool_backward", dy, argmax, size, kernel, strides, padding), dtype, "dx")


def test_max_pool_window_of_more_than_255_cells(kernels, dtype):
    (x,) = normal(0, dtype, (2, 20, 19, 3))
    window = sliding_window((20, 19), (17, 16), (2, 3), "same")
    y, argmax = loops("max_pool_forward", x, (17, 16), (2, 3), "same")
    actual, actual_argmax = kernels.max_pool_forward(x, window)
    assert actual_argmax.dtype == np.int32
    np.testing.assert_array_equal(actual, y)
    np.testing.assert_array_equal(actual_argmax, argmax)
    (dy,) = normal(1, dtype, y.shape)
    dx = kernels.max_pool_backward(dy, actual_argmax, window)
    expected = loops("max_pool_backward", dy, argmax, (20, 19), (17, 16), (2, 3), "same")
    close(dx, expected, dtype)


def test_max_pool_ties_in_overlapping_windows_as_in_tensorflow(kernels):
    window = sliding_window((4, 4), (3, 3))
    y, argmax = kernels.max_pool_forward(np.ones((1, 4, 4, 1)), window)
    dx = kernels.max_pool_backward(np.ones_like(y), argmax, window)
    assert dx[0, :, :, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("C", [1, 5, 16, 21])
@pytest.mark.parametrize("slide", [
    ((7, 6), (2, 2), (2, 2), "same", (1, 1)),
    ((6, 6), (2, 2), (2, 2), "valid", (1, 1)),
    ((7, 6), (3, 3), (2, 2), "same", (1, 1)),
])  # fmt: skip
def test_max_pool_of_nan_and_inf(kernels, dtype, slide, C):
    """NaN wins (the first one). Which cell wins a window of nothing but -inf, pads too, is open."""
    size, kernel, strides, padding, _ = slide
    rng = np.random.default_rng(1)
    values = np.array([np.nan, -np.inf, -np.inf, -np.inf, -np.inf, np.inf, 1.0])
    x = rng.choice(values, (6, *size, C)).astype(dtype)
    x[0] = -np.inf
    y, argmax = loops("max_pool_forward", x, kernel, strides, padding)
    actual, actual_argmax = kernels.max_pool_forward(x, window_of(slide))
    np.testing.assert_array_equal(actual, y)
    decided = y != -np.inf
    np.testing.assert_array_equal(actual_argmax[decided], argmax[decided])


@given(sliding(largest=4, dilated=False), st.integers(1, 9), st.integers(1, 3), seeds)
@settings(max_examples=40)
def test_average_pool(kernels, dtype, slide, C, N, seed):
    size, kernel, strides, padding, _ = slide
    (x,) = normal(seed, dtype, (N, *size, C))
    y = loops("average_pool_forward", x, kernel, strides, padding)
    close(kernels.average_pool_forward(x, window_of(slide)), y, dtype, "y")
    (dy,) = normal(seed + 1, dtype, y.shape)
    dx = loops("average_pool_backward", dy, size, kernel, strides, padding)
    close(kernels.average_pool_backward(dy, window_of(slide)), dx, dtype, "dx")
