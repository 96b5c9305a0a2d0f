"""Both kernel sets against loops (`naive.py`), over shapes that hypothesis draws."""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanocnn.kernels import OPERATIONS, get_kernels
from nanocnn.kernels.geometry import sliding_window
from support import naive
from support.compare import TOLERANCE, assert_close

seeds = st.integers(0, 2**32 - 1)
small = st.integers(1, 5)


def close(actual, expected, dtype, what=""):
    """Within the contract's tolerance, relative to the largest number or to the inputs' size, 1."""
    assert actual.dtype == dtype, f"{what} is {actual.dtype}, its input {dtype}"
    actual, expected = np.append(actual, 1.0), np.append(expected, 1.0)
    assert_close(actual, expected, TOLERANCE[dtype], what)


def loops(operation, *arguments):
    """The naive operation of that name; its arrays are widened first, so that it rounds nowhere."""
    widen = lambda a: a.astype("float64") if isinstance(a, np.ndarray) else a  # noqa: E731
    return getattr(naive, operation)(*map(widen, arguments))


def normal(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


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


# --- Optimizer updates: the kernels of one step, over a path of ten


def path(update, gradients, dtype, *states):
    """Ten steps of a vector, each element its own scalar problem."""
    w = np.ones(gradients.shape[1], dtype)
    slots = [np.zeros_like(w) if used else None for used in states]
    steps = []
    for t, g in enumerate(gradients, 1):
        update(t, w, g.copy(), *slots)
        steps.append(w.copy())
    return np.array(steps)


def drawn_gradients(dtype):
    gradients = np.random.default_rng(9).standard_normal((10, 37)) / 4
    gradients[3, ::5] = 0
    return gradients.astype(dtype)


def expected_path(function, gradients, **options):
    columns = [function(1.0, column.astype("float64"), **options) for column in gradients.T]
    return np.array(columns).T


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_update(kernels, dtype, momentum, nesterov):
    if nesterov and not momentum:
        return
    gradients = drawn_gradients(dtype)

    def update(_, w, g, velocity):
        kernels.sgd_update(w, g, velocity, 0.05, momentum, nesterov)

    options = {"learning_rate": 0.05, "momentum": momentum, "nesterov": nesterov}
    expected = expected_path(naive.sgd, gradients, **options)
    close(path(update, gradients, dtype, momentum > 0), expected, dtype)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("inside", [True, False], ids=["keras", "pytorch"])
def test_rmsprop_update(kernels, dtype, momentum, centered, inside):
    gradients = drawn_gradients(dtype)

    def update(_, w, g, v, average, buffer):
        kernels.rmsprop_update(w, g, v, average, buffer, 0.01, 0.8, momentum, 1e-3, inside)

    options = {"rho": 0.8, "momentum": momentum, "epsilon": 1e-3, "centered": centered}
    expected = expected_path(
        naive.rmsprop, gradients, learning_rate=0.01, pytorch=not inside, **options
    )
    close(path(update, gradients, dtype, True, centered, momentum > 0), expected, dtype)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("form", ["keras", "pytorch"])
def test_adam_update(kernels, dtype, amsgrad, form):
    gradients, b1, b2 = drawn_gradients(dtype), 0.9, 0.999

    def update(t, w, g, m, v, vmax):
        root = np.sqrt(1 - b2**t)
        step, v_scale = 0.01 / (1 - b1**t), 1 / root
        if form == "keras":
            step, v_scale = step * root, 1.0
        kernels.adam_update(w, g, m, v, vmax, step, b1, b2, 1e-4, v_scale)

    options = {"beta1": b1, "beta2": b2, "epsilon": 1e-4, "amsgrad": amsgrad}
    expected = expected_path(
        naive.adam, gradients, learning_rate=0.01, pytorch=form == "pytorch", **options
    )
    close(path(update, gradients, dtype, True, True, amsgrad), expected, dtype)
