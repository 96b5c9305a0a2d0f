"""Losses, batches and measures of both kernel sets: against loops, NumPy, and differences."""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanocnn.kernels import reference
from support.loops import close, loops, normal, seeds

EPSILON = 1e-7
ELEMENT_LOSSES = (
    "sigmoid_cross_entropy", "binary_cross_entropy", "mean_squared_error", "mean_absolute_error",
)  # fmt: skip
LOSSES = ("softmax_cross_entropy", "categorical_cross_entropy", *ELEMENT_LOSSES)


def clips(loss):
    return (EPSILON,) if loss[:3] in ("cat", "bin") else ()


def losses_of(kernels, loss, x, target):
    """The losses, and what the backward takes in place of x."""
    result = getattr(kernels, f"{loss}_forward")(x, target, *clips(loss))
    return result if isinstance(result, tuple) else (result, x)


def draw(loss, seed, dtype, *shape):
    """Predictions, targets and weights."""
    rng = np.random.default_rng(seed)
    x = rng.random(shape) * 0.98 + 0.01 if clips(loss) else rng.standard_normal(shape) * 3
    arrays = x, rng.random(shape), rng.standard_normal(shape[0])
    return [each.astype(dtype) for each in arrays]


@pytest.mark.parametrize("loss", LOSSES[1:])
@given(st.integers(1, 6), st.integers(1, 40), seeds)
@settings(max_examples=15)
@example(3, 16, 0)
@example(2, 33, 0)
def test_losses(kernels, dtype, loss, N, K, seed):
    x, target, _ = draw(loss, seed, dtype, N, K)
    expected = loops(f"{loss}_forward", x, target, *clips(loss))
    result = getattr(kernels, f"{loss}_forward")(x, target, *clips(loss))
    if not isinstance(result, tuple):
        result, expected = (result,), (expected,)
    for one, value in zip(result, expected, strict=True):
        close(one, value, dtype)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(4, 1), (3, 7), (2, 37), (2, 3, 5)])
def test_gradients_are_those_of_the_losses(kernels, loss, shape):
    if loss not in ELEMENT_LOSSES and len(shape) > 2:
        return
    x, target, weight = draw(loss, 7, "float64", *shape)
    _, saved = losses_of(kernels, loss, x, target)
    dx = getattr(kernels, f"{loss}_backward")(saved, target, weight, *clips(loss))
    assert dx.dtype == x.dtype
    step = 1e-5
    for place in np.ndindex(shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        above, below = (losses_of(kernels, loss, each, target)[0] for each in moved)
        difference = ((above - below) * weight).sum() / (2 * step)
        assert dx[place] == pytest.approx(difference, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_gradients_are_those_of_the_reference(kernels, dtype, loss):
    x, target, weight = draw(loss, 8, dtype, 9, 45)
    _, saved = losses_of(reference, loss, x, target)
    dx = getattr(kernels, f"{loss}_backward")(saved, target, weight, *clips(loss))
    wide = [each.astype("float64") for each in (saved, target, weight)]
    close(dx, getattr(reference, f"{loss}_backward")(*wide, *clips(loss)), dtype)


def test_extreme_predictions(kernels, dtype):
    """Logits that overflow an exponential, probabilities of 0 and 1, NaN and infinity."""
    one = np.ones((1, 3), dtype)
    x, target = np.array([[-1e4, 1e4, 0]], dtype), np.array([[1, 0, 1]], dtype)
    losses, p = kernels.sigmoid_cross_entropy_forward(x, target)
    assert losses == pytest.approx((2e4 + np.log(2)) / 3, rel=1e-6)
    np.testing.assert_array_equal(p, [[0, 1, 0.5]])
    p = np.array([[0, 1, 0.5]], dtype)
    losses = kernels.binary_cross_entropy_forward(p, target, EPSILON)
    high = 1 - np.asarray(1 - EPSILON, dtype)  # what 1 - epsilon rounds to
    assert losses == pytest.approx(-(np.log(EPSILON) + np.log(high) + np.log(0.5)) / 3, rel=1e-5)
    dx = kernels.binary_cross_entropy_backward(p, target, one[0, :1], EPSILON)
    np.testing.assert_allclose(dx, [[0, 0, -2 / 3]], rtol=1e-6)
    dx = kernels.categorical_cross_entropy_backward(one * p, target, one[0, :1], EPSILON)
    np.testing.assert_allclose(dx, [[4 / 3, 4 / 3, -2]], atol=2)  # finite
    for name in ("sigmoid_cross_entropy", "binary_cross_entropy", "mean_squared_error"):
        for bad in (np.nan, np.inf):
            x = np.full((2, 3), 0.5, dtype)
            x[0, 1] = bad
            with np.errstate(invalid="ignore"):
                losses = losses_of(kernels, name, x, np.zeros_like(x))[0]
            assert np.isfinite(losses).tolist() == [name[:3] == "bin" and bad == np.inf, True]


# --- Batches and measures


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "int64", "bool"])
def test_take(kernels, dtype, kind, rng):
    x = rng.integers(0, 256, (50, 7, 5, 3)).astype(kind)
    index = rng.integers(0, 50, 20)
    for rows in (x, x[:, 0, 0, 0], x[::2, :, ::2]):
        where = index % len(rows)
        out = np.full((20, *rows.shape[1:]), np.nan, dtype)
        assert kernels.take_rows(rows, where, out) is out
        np.testing.assert_array_equal(out, rows[where].astype(dtype))
        assert kernels.take_images(rows, where, out) is out
        scaled = np.divide(rows[where], 255, dtype=dtype) if kind == "uint8" else rows[where]
        assert out.tobytes() == scaled.astype(dtype).tobytes()


def test_one_hot_and_smoothing(kernels, dtype, rng):
    labels, index = rng.integers(0, 7, 30), rng.integers(0, 30, 12)
    target = kernels.one_hot(labels, index, 1.0, 0.0, np.full((12, 7), np.nan, dtype))
    np.testing.assert_array_equal(target, np.eye(7)[labels[index]])
    soft, kind = rng.random((12, 7)).astype(dtype), np.dtype(dtype).type
    expected = soft * kind(0.9)
    expected += kind(0.1 / 7)
    assert kernels.smooth(soft, 0.9, 0.1 / 7, np.empty_like(soft)).tobytes() == expected.tobytes()
    kernels.smooth(soft, 0.9, 0.1 / 7, soft)
    assert soft.tobytes() == expected.tobytes()


def test_shares_and_the_mean_loss(kernels, dtype, rng):
    weight, index = rng.random(50).astype(dtype), rng.integers(0, 50, 33)
    each = np.dtype(dtype).type(1 / 33)
    shares = kernels.shares(weight, index, 1 / 33, np.empty(33, dtype))
    assert shares.tobytes() == (weight[index] * each).tobytes()
    assert (kernels.shares(None, index, 1 / 33, np.empty(33, dtype)) == each).all()
    (losses,) = normal(3, dtype, 33)
    mean, finite = kernels.mean_loss(losses, shares, np.empty(2))
    assert finite == 1
    assert mean == pytest.approx((losses.astype(float) * shares).sum(), rel=1e-14)
    for bad in (np.nan, np.inf, -np.inf):
        losses[7] = bad
        mean, finite = kernels.mean_loss(losses, shares, np.empty(2))
        assert finite == 0 and np.array_equal(mean, bad, equal_nan=True)


@pytest.mark.parametrize("K", [1, 2, 10, 16, 17, 100])
@pytest.mark.parametrize("N", [1, 7, 3000])
def test_count_correct(kernels, dtype, N, K, rng):
    choices = [np.nan, np.inf, -np.inf, 0, -0.0, 0.3, 0.5, 1]
    for count in (4, 8):
        target, prediction = rng.choice(choices[-count:], (2, N, K)).astype(dtype)
        for threshold in (0.5, 0.3, 0.0):
            counted = kernels.count_correct(target, prediction, threshold, np.empty(1))
            expected = reference.count_correct(target, prediction, threshold, np.empty(1))
            assert counted == expected
    images = prediction.reshape(N, 1, 1, K)
    assert kernels.count_correct(images, images, 0.5, np.empty(1)) in (N, counted)


@pytest.mark.parametrize("size", [1, 15, 100, 40_000])
def test_largest(kernels, dtype, size, rng):
    (x,) = normal(size, dtype, size)
    assert kernels.largest(x, np.empty(1)) == np.abs(x).max()
    x[size // 2] = -np.inf
    assert kernels.largest(x, np.empty(1)) == np.inf
    x[0] = -np.nan
    assert np.isnan(kernels.largest(x, np.empty(1)))
    assert kernels.largest(np.zeros((2, 3), dtype), np.empty(1)) == 0


# --- Batch normalization


def test_moving_averages_skip_what_is_not_finite(kernels, dtype):
    moving_mean, moving_variance, mean, variance = np.random.default_rng(0).random((4, 37))
    arrays = [each.astype(dtype) for each in (moving_mean, moving_variance, mean, variance)]
    keep = np.dtype(dtype).type(0.9)
    expected = [arrays[i] * keep + (1 - keep) * arrays[i + 2] for i in (0, 1)]
    kernels.batch_norm_update(*arrays, 0.9)
    before = arrays[0].tobytes() + arrays[1].tobytes()
    for moving, value in zip(arrays, expected, strict=False):
        np.testing.assert_allclose(moving, value, rtol=1e-6 if dtype == "float32" else 1e-15)
    for i in (2, 3):
        for bad in (np.nan, np.inf):
            wrong = [each.copy() for each in arrays]
            wrong[i][36] = bad
            kernels.batch_norm_update(*wrong, 0.9)
            assert wrong[0].tobytes() + wrong[1].tobytes() == before


def test_batch_norm_of_an_image_is_the_same_in_any_batch(kernels, dtype):
    for C in (1, 3, 20, 65, 200):
        x, gamma, beta, mean = normal(C, dtype, (9, 5, 3, C), C, C, C)
        variance = mean * mean + 1
        batch = kernels.batch_norm_inference(x, gamma, beta, mean, variance, 1e-3)
        for n in range(9):
            alone = kernels.batch_norm_inference(x[n : n + 1], gamma, beta, mean, variance, 1e-3)
            assert alone.tobytes() == batch[n : n + 1].tobytes()


def test_frozen_batch_norm_is_linear(kernels, dtype):
    dy, x, gamma, mean = normal(1, dtype, (50, 37), (50, 37), 37, 37)
    variance = mean * mean + 1
    frozen = kernels.batch_norm_backward(dy, x, gamma, mean, variance, 1e-3, frozen=True)
    close(frozen[0], dy * (gamma / np.sqrt(variance.astype("float64") + 1e-3)), dtype)
    trained = kernels.batch_norm_backward(dy, x, gamma, mean, variance, 1e-3)
    for one, other in zip(frozen[1:], trained[1:], strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("offset", [0, 1e4])
def test_variance_about_a_large_mean(kernels, offset):
    (x,) = normal(5, "float64", (100_000, 3))
    x += offset
    one = np.ones(3)
    _, mean, variance = kernels.batch_norm_forward(x, one, one, 1e-3)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(variance, x.var(axis=0), rtol=1e-11)


def test_batches_and_measures_have_the_same_bits_for_any_number_of_threads(
    kernels, dtype, rng, set_threads
):
    x, index = rng.integers(0, 256, (400, 900), dtype=np.uint8), rng.integers(0, 400, 300)
    labels = rng.integers(0, 50, 400)
    target, prediction = normal(4, dtype, (5000, 10), (5000, 10))
    bits = set()
    for count in (1, 2, 1, 2):
        set_threads(count)
        results = [
            kernels.take_images(x, index, np.empty((300, 900), dtype)),
            kernels.take_rows(x, index, np.empty((300, 900), dtype)),
            kernels.one_hot(labels, index, 1.0, 0.0, np.empty((300, 50), dtype)),
            kernels.smooth(target, 0.9, 0.01, np.empty_like(target)),
            kernels.count_correct(target, prediction, 0.5, np.empty(1)),
            kernels.largest(target, np.empty(1)),
            kernels.mean_loss(target[:, 0].copy(), prediction[:, 0].copy(), np.empty(2)),
        ]
        bits.add(b"".join(each.tobytes() for each in results))
    assert len(bits) == 1
