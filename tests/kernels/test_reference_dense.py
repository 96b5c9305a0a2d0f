"""Dense, activations, dropout, batch normalization and cross-entropy of both sets against loops."""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from support import naive
from support.loops import close, loops, normal, seeds

# --- Dense, activations, dropout


@given(st.integers(1, 7), st.integers(1, 19), st.integers(1, 19), st.booleans(), seeds)
@settings(max_examples=40)
def test_dense(kernels, dtype, N, D, U, biased, seed):
    x, weight, bias, dy = normal(seed, dtype, (N, D), (D, U), U, (N, U))
    bias = bias if biased else None
    y = kernels.dense_forward(x, weight, bias)
    close(y, loops("dense_forward", x, weight, bias), dtype, "y")
    expected = loops("dense_backward", dy, x, weight)
    results = kernels.dense_backward(dy, x, weight)
    for name, result, value in zip(["dx", "dweight", "dbias"], results, expected, strict=True):
        close(result, value, dtype, name)
    no_dx, dweight, _ = kernels.dense_backward(dy, x, weight, need_dx=False)
    assert no_dx is None
    close(dweight, expected[1], dtype, "dweight")


@pytest.mark.parametrize("name", sorted(naive.ACTIVATIONS))
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 3, 5, 4), (1, 17, 19, 3)])
def test_activations(kernels, dtype, name, shape):
    x, dy = normal(5, dtype, shape, shape)
    x.flat[0] = 0
    y = getattr(kernels, f"{name}_forward")(x)
    close(y, loops("activation_forward", name, x), dtype, "y")
    dx = getattr(kernels, f"{name}_backward")(dy, y)
    close(dx, loops("activation_backward", name, dy, y), dtype, "dx")


@pytest.mark.parametrize("name, expected", [
    ("relu", [0, 0, 0, 1e30, np.inf, np.nan]),
    ("sigmoid", [0, 0, 0.5, 1, 1, np.nan]),
    ("tanh", [-1, -1, 0, 1, 1, np.nan]),
])  # fmt: skip
def test_activations_of_huge_and_missing_numbers(kernels, dtype, name, expected):
    x = np.array([[-np.inf, -1e30, 0, 1e30, np.inf, np.nan]] * 5, dtype)
    y = getattr(kernels, f"{name}_forward")(x)
    np.testing.assert_array_equal(y, np.array([expected] * 5, dtype))


@given(st.integers(1, 5), st.integers(1, 20), st.sampled_from([1, 30, 1e4]), seeds)
@settings(max_examples=30)
def test_softmax(kernels, dtype, N, K, size, seed):
    x, dy = normal(seed, dtype, (N, K), (N, K))
    x *= np.asarray(size, dtype)
    y = kernels.softmax_forward(x)
    close(y, loops("softmax_forward", x), dtype, "y")
    dx = kernels.softmax_backward(dy, y)
    close(dx, loops("softmax_backward", dy, y), dtype, "dx")


@given(st.integers(0, 50), st.sampled_from([0, 0.1, 0.5, 0.999, 1]), st.integers(0, 2**64 - 1))
@settings(max_examples=50)
@example(1000, 0.5, 2**64 - 1)
def test_dropout(kernels, dtype, count, rate, key):
    """The mask is a function of key and index; backward uses the same one."""
    mask = naive.dropout_mask(count, rate, key) if rate < 1 else np.zeros(count)
    x = np.arange(1, count + 1, dtype=dtype)
    close(kernels.dropout_forward(x, rate, key), x * mask, dtype, "y")
    close(kernels.dropout_backward(x, rate, key), x * mask, dtype, "dx")


def test_dropout_keeps_the_right_share(kernels):
    """A mask is no use if it is biased or if neighbouring keys or elements are alike."""
    shape, tolerance = (250, 400), 5 * np.sqrt(0.25 / 1e5)
    first, second = (kernels.dropout_forward(np.ones(shape), 0.3, key) > 0 for key in (7, 8))
    assert abs(first.mean() - 0.7) < tolerance
    assert abs((first & second).mean() - 0.49) < tolerance
    assert abs((first[:, 1:] & first[:, :-1]).mean() - 0.49) < tolerance


# --- Batch normalization


@given(st.integers(1, 8), st.integers(1, 19), st.sampled_from([1e-3, 1e-5]), seeds)
@settings(max_examples=40)
def test_batch_norm(kernels, dtype, M, C, epsilon, seed):
    x, dy, gamma, beta = normal(seed, dtype, (2 * M, C), (2 * M, C), C, C)
    expected = loops("batch_norm_forward", x, gamma, beta, epsilon)
    results = kernels.batch_norm_forward(x, gamma, beta, epsilon)
    for name, result, value in zip(["y", "mean", "variance"], results, expected, strict=True):
        close(result, value, dtype, name)
    # A tiny variance magnifies rounding; the formula is what is compared, so that is divided out.
    scale = max(1.0, 1 / (expected[2].min() + epsilon))
    mean, variance = results[1:]
    backward = loops("batch_norm_backward", dy, x, gamma, *expected[1:], epsilon)
    actual = kernels.batch_norm_backward(dy, x, gamma, mean, variance, epsilon)
    for name, result, value in zip(["dx", "dgamma", "dbeta"], actual, backward, strict=True):
        close((result / scale).astype(dtype), value / scale, dtype, name)
    y = kernels.batch_norm_inference(x, gamma, beta, mean, variance, epsilon)
    close(y, expected[0], dtype, "inference")


def test_batch_norm_of_images_takes_channels_last(kernels, dtype):
    x, gamma, beta, dy = normal(2, dtype, (3, 4, 5, 7), 7, 7, (3, 4, 5, 7))
    rows, drows = x.reshape(60, 7), dy.reshape(60, 7)
    y, mean, variance = kernels.batch_norm_forward(x, gamma, beta, 1e-3)
    expected = loops("batch_norm_forward", rows, gamma, beta, 1e-3)
    close(y, expected[0].reshape(x.shape), dtype, "y")
    dx, dgamma, dbeta = kernels.batch_norm_backward(dy, x, gamma, mean, variance, 1e-3)
    backward = loops("batch_norm_backward", drows, rows, gamma, *expected[1:], 1e-3)
    close(dx, backward[0].reshape(x.shape), dtype, "dx")
    close(dgamma, backward[1], dtype, "dgamma")
    close(dbeta, backward[2], dtype, "dbeta")


# --- Softmax cross-entropy


@given(st.integers(1, 6), st.integers(1, 20), st.sampled_from([1, 50, 1e4]), seeds)
@settings(max_examples=40)
def test_softmax_cross_entropy(kernels, dtype, N, K, size, seed):
    """Targets of any kind: they need not sum to one."""
    logits, weight = normal(seed, dtype, (N, K), N)
    logits *= np.asarray(size, dtype)
    target = np.random.default_rng(seed).random((N, K)).astype(dtype)
    target[0] = np.eye(K)[0]
    losses, p = kernels.softmax_cross_entropy_forward(logits, target)
    expected = loops("softmax_cross_entropy_forward", logits, target)
    close(losses, expected[0], dtype, "losses")
    close(p, expected[1], dtype, "probabilities")
    dlogits = kernels.softmax_cross_entropy_backward(p, target, weight)
    naive_dlogits = loops("softmax_cross_entropy_backward", expected[1], target, weight)
    close(dlogits, naive_dlogits, dtype, "dlogits")


@pytest.mark.parametrize("K", [2, 10, 1000])
def test_cross_entropy_of_logits_of_10000(kernels, dtype, K):
    logits = np.zeros((2, K), dtype)
    logits[:, 1] = 1e4
    losses, p = kernels.softmax_cross_entropy_forward(logits, np.eye(K, dtype=dtype)[:2])
    assert losses.tolist() == [1e4, 0]
    assert np.isfinite(p).all()


def test_cross_entropy_of_nan_is_nan(kernels, dtype):
    logits = np.zeros((2, 10), dtype)
    logits[0, 3] = np.nan
    with np.errstate(invalid="ignore"):
        losses, p = kernels.softmax_cross_entropy_forward(logits, np.eye(10, dtype=dtype)[:2])
    assert np.isnan(losses).tolist() == [True, False]
    assert np.isnan(p[0]).all() and np.isfinite(p[1]).all()
