"""Activations with constants, gelu, zero padding and global pooling of both sets against loops."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from support.loops import close, loops, normal, seeds

CONSTANTS = [  # slope, threshold, max_value
    (0.25, 0.0, np.inf), (0.0, 0.5, np.inf), (0.0, 0.0, 0.75), (0.125, 0.25, 1.0), (2.0, 0.0, 0.0),
]  # fmt: skip
SHAPES = [(1, 1), (3, 7), (2, 3, 5, 4), (1, 17, 19, 3)]


def slopes(operation, x, step, *constants):
    """The derivative at each x, by differences of the naive forward function."""
    after, before = (loops(operation, x + s, *constants) for s in (step, -step))
    return (after - before) / (2 * step)


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_leaky_relu(kernels, dtype, constants, shape):
    x, dy = normal(3, dtype, shape, shape)
    y = loops("leaky_relu_forward", x, *constants)
    close(kernels.leaky_relu_forward(x, *constants), y, dtype, "y")
    dx = dy * slopes("leaky_relu_forward", x.astype("float64"), 1e-9, *constants)
    actual = kernels.leaky_relu_backward(dy, x, *constants)
    assert np.abs(actual - dx).max() < 1e-5  # of differences


def test_leaky_relu_at_its_kinks(kernels, dtype):
    """The lower slope at the threshold; none at the largest value."""
    x = np.array([[0.5, 0.25, 2.0, np.nan]], dtype)
    dx = kernels.leaky_relu_backward(np.ones_like(x), x, 0.125, 0.5, 2.0)
    assert dx[0, :3].tolist() == [0.125, 0.125, 0]
    y = kernels.leaky_relu_forward(x, 0.125, 0.5, 2.0)
    np.testing.assert_array_equal(y, np.array([[0, -0.03125, 2, np.nan]], dtype))
    infinite = np.array([[-np.inf, np.inf]], dtype)
    assert kernels.leaky_relu_forward(infinite, 0.0, 0.0, 6.0).tolist() == [[0, 6]]


@pytest.mark.parametrize("shape", SHAPES)
def test_gelu(kernels, dtype, shape):
    x, dy = normal(4, dtype, shape, shape)
    close(kernels.gelu_forward(x), loops("gelu_forward", x), dtype, "y")
    dx = dy * slopes("gelu_forward", x.astype("float64"), 1e-6)
    assert np.abs(kernels.gelu_backward(dy, x) - dx).max() < 1e-5 if dtype == "float32" else 1e-9


def test_gelu_and_elu_of_huge_and_missing_numbers(kernels, dtype):
    x = np.array([[-1e30, -0.0, 0, 1e30, np.inf, np.nan]] * 5, dtype)
    for name, least in (("gelu", 0), ("elu", -1)):
        y = getattr(kernels, f"{name}_forward")(x)
        np.testing.assert_array_equal(y, np.array([[least, 0, 0, 1e30, np.inf, np.nan]] * 5, dtype))


@given(*[st.integers(0, 3)] * 4, st.integers(1, 3), st.integers(1, 9), seeds)
@settings(max_examples=30)
def test_zero_padding(kernels, dtype, top, bottom, left, right, N, C, seed):
    x, dy = normal(seed, dtype, (N, 4, 5, C), (N, 4 + top + bottom, 5 + left + right, C))
    padding = (top, bottom), (left, right)
    y = np.zeros(dy.shape, dtype)
    for n, h, w, c in np.ndindex(x.shape):
        y[n, h + top, w + left, c] = x[n, h, w, c]
    np.testing.assert_array_equal(kernels.zero_pad_forward(x, padding), y)
    dx = kernels.zero_pad_backward(dy, padding)
    assert dx.shape == x.shape
    for n, h, w, c in np.ndindex(x.shape):
        assert dx[n, h, w, c] == dy[n, h + top, w + left, c]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 40), seeds)
@settings(max_examples=30)
def test_global_max(kernels, dtype, N, size, C, seed):
    """Of few different numbers: equal maxima share the gradient."""
    x = np.random.default_rng(seed).integers(-3, 0, (N, size, size, C)).astype(dtype)
    (dy,) = normal(seed, dtype, (N, C))
    y, dx = np.zeros((N, C), dtype), np.zeros(x.shape)
    for n, c in np.ndindex(N, C):
        cells = list(np.ndindex(size, size))
        y[n, c] = max(x[(n, *cell, c)] for cell in cells)
        best = [cell for cell in cells if x[(n, *cell, c)] == y[n, c]]
        for cell in best:
            dx[(n, *cell, c)] = dy[n, c] / len(best)
    np.testing.assert_array_equal(kernels.global_max_forward(x), y)
    close(kernels.global_max_backward(dy, x, y), dx, dtype, "dx")


def test_global_max_of_nan_and_infinity(kernels, dtype):
    x = np.full((3, 4, 5, 17), -np.inf, dtype)
    x[0, 1, 2, 3], x[1, 3, 4] = np.nan, np.inf
    y = kernels.global_max_forward(x)
    np.testing.assert_array_equal(y, x.max(axis=(1, 2)))
