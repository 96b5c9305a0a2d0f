"""Kernels for few channels: every tile, borders of strips and bands, and values that spread."""

import numpy as np
import pytest

from nanocnn.kernels import reference
from nanocnn.kernels.fast.conv import conv2d as conv, pack, planar, planar_dweight
from nanocnn.kernels.geometry import sliding_window
from support.compare import assert_close

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
NAMES = "dx", "dweight", "dbias"
# H, W, C, F, kernel, padding: one filter to several vectors of them, one channel to a full row
SHAPES = [
    (28, 28, 1, 6, (5, 5), "valid"),
    (12, 12, 6, 16, (5, 5), "valid"),
    (7, 19, 2, 1, (3, 2), "same"),
    (13, 8, 3, 2, (1, 4), "valid"),
    (9, 11, 4, 20, (2, 3), "same"),
    (10, 9, 8, 70, (3, 3), "same"),
    (40, 37, 1, 3, (7, 7), "same"),
    (6, 5, 5, 50, (1, 1), "valid"),
    (8, 8, 7, 9, (4, 1), "same"),
]


def layer(H, W, C, F, size, padding, dtype, N=3):
    """(window, pool, x, weight, bias, dy of the pool, the reference's y and argmax)."""
    rng = np.random.default_rng(H * W + F)
    window = sliding_window((H, W), size, (1, 1), padding)
    pool = sliding_window((window.OH, window.OW), (2, 2), (2, 2))
    x, weight, bias = (
        rng.normal(size=shape).astype(dtype) for shape in ((N, H, W, C), (*size, C, F), (F,))
    )
    rectified = np.maximum(reference.conv2d_forward(x, weight, bias, window), 0)
    y, argmax = reference.max_pool_forward(rectified, pool)
    argmax = np.where(y > 0, argmax, 4).astype(np.uint8)
    return window, pool, x, weight, bias, rng.normal(size=y.shape).astype(dtype), y, argmax


def gradients(dy, x, weight, argmax, window, pool):
    """The reference's dx, dweight, dbias of the fused layer."""
    spread = reference.max_pool_backward(dy, np.where(argmax == 4, 9, argmax), pool)
    return reference.conv2d_backward(spread, x, weight, window)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_algorithm_equals_the_reference(shape, dtype):
    window, pool, x, weight, bias, dy, want, argmax = layer(*shape, dtype)
    y, found = conv.conv2d_relu_pool_forward(x, weight, bias, window, pool, algorithm="planar")
    assert_close(y, want, TOLERANCE[dtype], "y")
    assert (found[want > 1e-3] == argmax[want > 1e-3]).mean() > 0.99
    expected = gradients(dy, x, weight, argmax, window, pool)
    for algorithm in (None, "direct", "planar", "sparse", "scatter"):
        got = conv.conv2d_relu_pool_backward(
            dy, x, weight, argmax, window, pool, algorithm=algorithm
        )
        for name, a, b in zip(NAMES, got, expected, strict=True):
            assert_close(a, b, TOLERANCE[dtype], f"{name} by {algorithm}")


@pytest.mark.parametrize("shape", SHAPES[:6])
def test_a_sample_has_the_same_bits_in_any_batch_and_in_any_strips(shape, monkeypatch):
    """For one image the work is cut into strips of rows; large images are computed in bands."""
    window, pool, x, weight, bias, dy, _, argmax = layer(*shape, "float32", N=5)

    def results(chosen):
        each = x[chosen], dy[chosen], argmax[chosen]
        y = conv.conv2d_forward(each[0], weight, bias, window)
        found = [y, conv.conv2d_backward(y, each[0], weight, window)[0]]
        for algorithm in (None, "direct", "planar"):
            pooled = conv.conv2d_relu_pool_forward(
                each[0], weight, bias, window, pool, algorithm=algorithm
            )
            found += pooled
        for algorithm in (None, "planar", "scatter"):
            given = each[1], each[0], weight, each[2], window, pool
            found.append(conv.conv2d_relu_pool_backward(*given, algorithm=algorithm)[0])
        return found

    together = results(slice(None))
    for work, size in ((1, 1), (1 << 40, 1 << 40), (1 << 12, 1 << 12)):
        monkeypatch.setattr(pack, "PART_WORK", work)
        monkeypatch.setattr(planar, "CACHE_BYTES", size)
        for n in range(len(x)):
            for a, b in zip(together, results(slice(n, n + 1)), strict=True):
                assert a[n : n + 1].tobytes() == b.tobytes()


def test_bands_of_gradients_are_summed(monkeypatch):
    window, pool, x, weight, _, dy, _, argmax = layer(*SHAPES[6], "float64")
    monkeypatch.setattr(planar_dweight, "CACHE_BYTES", 1)
    given = dy, x, weight, argmax, window, pool
    got = conv.conv2d_relu_pool_backward(*given, algorithm="planar")
    for name, a, b in zip(NAMES, got, gradients(*given), strict=True):
        assert_close(a, b, 1e-12, name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "weight", "dy"])
@pytest.mark.parametrize("algorithm", [None, "planar", "sparse", "scatter"])
def test_what_is_not_finite_is_as_in_the_reference(algorithm, where, value):
    """0 * inf is NaN: what skips zeros leaves such layers to the direct kernel."""
    for shape in (SHAPES[0], SHAPES[4]):
        window, pool, x, weight, bias, dy, _, argmax = layer(*shape, "float32")
        for array, place in ((x, (1, 4, 3, 0)), (weight, (1, 1, 0, 0)), (dy, (2, 1, 1, 0))):
            if array is {"x": x, "weight": weight, "dy": dy}[where]:
                array[place] = value
        with np.errstate(all="ignore"):
            expected = gradients(dy, x, weight, argmax, window, pool)
            got = conv.conv2d_relu_pool_backward(
                dy, x, weight, argmax, window, pool, algorithm=algorithm
            )
            y, found = conv.conv2d_relu_pool_forward(
                x, weight, bias, window, pool, algorithm="planar"
            )
            rectified = np.maximum(reference.conv2d_forward(x, weight, bias, window), 0)
            want, _ = reference.max_pool_forward(rectified, pool)
        assert_close(y, want, 1e-5, "y")
        assert (found[np.isnan(want)] == 4).all()
        for name, a, b in zip(NAMES, got, expected, strict=True):
            if name == "dx" and where == "weight":  # direct multiplies zeros of padding, too
                assert not np.isfinite(a[~np.isfinite(b)]).any()
            else:
                assert_close(a, b, 1e-5, f"{name} by {algorithm}")


def test_parts_are_enough_for_many_threads():
    """A batch of 128 in 64 parts; one image in two where that is worth a hand-over."""
    for rows, work in ((12, 24 * 24 * 25 * 6), (7, 14 * 14 * 25 * 20 * 50)):
        parts, strips = pack.split_work(128, rows, work)
        assert strips == 1 and (parts == 64 or 128 * work / parts <= 2 * pack.PART_WORK)
    parts, strips = pack.split_work(1, 7, 14 * 14 * 25 * 20 * 50)
    assert 2 <= parts <= strips <= 7
    assert pack.split_work(0, 7, 1000) == (1, 1)
