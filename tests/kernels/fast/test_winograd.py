"""Winograd and im2col: transformed kernels, kept weights, a sample alone and in a batch."""

import numpy as np
import pytest

from nanocnn.jit import capture
from nanocnn.jit.program import programs
from nanocnn.kernels.fast.conv import (
    conv2d as conv,
    im2col,
    winograd,
    winograd_transform as transform,
)
from nanocnn.kernels.fast.conv.pack import panels
from nanocnn.kernels.geometry import sliding_window

POINTS = np.array([0.0, 1, -1, 2, -2])
SCALES = np.array([4.0, -6, -6, 24, 24])


def evaluated(weight):
    """G weight G' in float64: (36, C, F), of weight (K,K,C,F)."""
    K = len(weight)
    G = np.vstack([POINTS[:, None] ** np.arange(K) / SCALES[:, None], np.eye(K)[-1:]])
    return np.einsum("ih,jw,hwcf->ijcf", G, G, weight.astype("d")).reshape(36, *weight.shape[2:])


def unpacked(packed, C, F):
    """(36, C, F) from panels (36*C, width)."""
    found = np.empty((36, C, F), packed.dtype)
    for f, width in panels(F, packed.dtype):
        panel = packed[36 * C * f :][: 36 * C * width].reshape(36, C, width)
        found[:, :, f : f + width] = panel[:, :, : F - f]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("K", "C", "F"), [(3, 64, 33), (5, 20, 50), (5, 1, 7), (3, 17, 12)])
def test_kernels_are_transformed_and_packed(K, C, F, transposed, dtype, set_threads):
    weight = np.random.default_rng(0).normal(size=(K, K, C, F)).astype(dtype)
    used = weight[::-1, ::-1].swapaxes(2, 3) if transposed else weight
    expected = evaluated(used)
    results = []
    for threads in (1, 3):
        set_threads(threads)
        found = unpacked(transform.transformed_weights(weight, transposed), *used.shape[2:])
        np.testing.assert_allclose(found, expected, atol=4 * np.finfo(dtype).eps * 4)
        results.append(found.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_are_transformed_only_if_the_weights_have_changed(
    monkeypatch, set_threads, threads
):
    set_threads(threads)
    calls, real = [], transform._transform
    monkeypatch.setattr(transform, "_transform", lambda *args: calls.append(1) or real(*args))
    rng = np.random.default_rng(0)
    window = sliding_window((9, 9), (3, 3), (1, 1), "same")
    x = rng.normal(size=(2, 9, 9, 40)).astype("f")
    weight = rng.normal(size=(3, 3, 40, 50)).astype("f")

    y, want = np.empty((2, 9, 9, 50), "f"), np.empty((2, 9, 9, 50), "f")
    with capture.capture(keeps=True) as captured:
        conv.conv2d_forward(x, weight, None, window, out=y, algorithm="winograd")
    (program,) = programs([captured])

    def pass_again(expected_calls):
        calls.clear()
        program.replay()
        assert len(calls) == expected_calls
        conv.conv2d_forward(x, weight, None, window, out=want, algorithm="winograd")
        assert y.tobytes() == want.tobytes()

    pass_again(1)
    pass_again(0)
    for i in (0, weight.size // 2, weight.size - 1):
        weight.reshape(-1)[i] += 1
        pass_again(1)
        pass_again(0)
    weight[1, 1, 7, 7] = np.nan  # never equal
    pass_again(1)
    pass_again(1)
    weight[...] = 0
    pass_again(1)
    pass_again(0)


def test_new_buffers_hold_what_weights_of_zeros_give():
    with capture.capture(keeps=True) as captured:
        packed = transform.transformed_weights(np.zeros((3, 3, 12, 16), "f"), False)
    (program,) = programs([captured])
    program.replay()
    assert not packed.any()


def test_no_pass_keeps_its_weights_unless_it_says_so():
    assert not capture.keeps_weights()
    with capture.capture():
        assert not capture.keeps_weights()
    with capture.capture(keeps=True):
        assert capture.keeps_weights()


LAYERS = [  # H, W, C, F, K, padding, strides, dilation
    (14, 14, 20, 50, 5, "same", 1, 1),
    (26, 21, 32, 64, 3, "valid", 1, 1),
    (7, 9, 64, 17, 3, "same", 1, 1),
    (13, 12, 5, 20, 3, "same", 2, 1),
    (12, 13, 3, 7, 3, "same", 1, 2),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_sample_has_the_same_bits_alone_and_in_any_batch(layer, dtype, set_threads):
    H, W, C, F, K, padding, strides, dilation = layer
    window = sliding_window((H, W), (K, K), (strides,) * 2, padding, (dilation,) * 2)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(11, H, W, C)).astype(dtype)
    weight = rng.normal(size=(K, K, C, F)).astype(dtype)
    bias = rng.normal(size=F).astype(dtype)
    dy = rng.normal(size=(11, window.OH, window.OW, F)).astype(dtype)
    algorithms = ("im2col", "winograd") if winograd.supports(window) else ("im2col",)

    def results(samples, algorithm):
        y = conv.conv2d_forward(x[samples], weight, bias, window, relu=True, algorithm=algorithm)
        given = dy[samples], x[samples], weight, window
        dx = conv.conv2d_backward(*given, algorithm=algorithm, relu_output=y)[0]
        return y, dx

    for algorithm in algorithms:
        set_threads(1)
        whole = results(slice(0, 11), algorithm)
        for threads in (1, 2, 3):
            set_threads(threads)
            for samples in (slice(0, 11), slice(4, 5), slice(10, 11), slice(2, 5), slice(3, 11)):
                for some, all_ in zip(results(samples, algorithm), whole, strict=True):
                    assert some.tobytes() == all_[samples].tobytes()


def test_the_choice_does_not_depend_on_the_batch():
    for H, W, C, F, K, padding, strides, dilation in LAYERS:
        window = sliding_window((H, W), (K, K), (strides,) * 2, padding, (dilation,) * 2)
        assert len({conv.choose(window, C, F, N) for N in (1, 2, 16, 128, 1000)}) == 1


def test_small_and_large_units_of_patches_give_the_same_bits(monkeypatch):
    """One image is cut between threads, many images between units."""
    rng = np.random.default_rng(1)
    window = sliding_window((17, 10), (3, 3), (1, 1), "same")
    pool = sliding_window((17, 10), (2, 2), (2, 2))
    x = rng.normal(size=(5, 17, 10, 20)).astype("f")
    weight = rng.normal(size=(3, 3, 20, 33)).astype("f")
    results = []
    for patch_bytes in (1, 1 << 14, 1 << 17, 1 << 24):
        monkeypatch.setattr(winograd, "PATCH_BYTES", patch_bytes)
        y, argmax = conv.conv2d_relu_pool_forward(
            x, weight, None, window, pool, algorithm="winograd"
        )
        dx, *_ = conv.conv2d_relu_pool_backward(
            y, x, weight, argmax, window, pool, algorithm="winograd"
        )
        results.append((y.tobytes(), argmax.tobytes(), dx.tobytes()))
    assert len(set(results)) == 1


def test_groups_of_samples_of_the_matrix_give_the_same_bits(monkeypatch):
    rng = np.random.default_rng(2)
    window = sliding_window((9, 9), (3, 3), (2, 2), "same")
    x, weight = rng.normal(size=(7, 9, 9, 6)), rng.normal(size=(3, 3, 6, 20))
    results = []
    for group in (1, 1 << 14, 1 << 24):
        monkeypatch.setattr(im2col, "GROUP", group)
        y = conv.conv2d_forward(x, weight, None, window, algorithm="im2col")
        dx, dweight, dbias = conv.conv2d_backward(y, x, weight, window, algorithm="im2col")
        results.append((y.tobytes(), dx.tobytes()))
        np.testing.assert_allclose(dweight, conv.conv2d_backward(y, x, weight, window)[1])
        np.testing.assert_allclose(dbias, y.sum((0, 1, 2)))
    assert len(set(results)) == 1


@pytest.mark.parametrize("algorithm", ["winograd", "im2col"])
def test_an_empty_batch(algorithm):
    window = sliding_window((9, 9), (3, 3), (1, 1), "same")
    x, weight = np.zeros((0, 9, 9, 16), "f"), np.ones((3, 3, 16, 20), "f")
    y = conv.conv2d_forward(x, weight, None, window, algorithm=algorithm)
    dx, dweight, dbias = conv.conv2d_backward(y, x, weight, window, algorithm=algorithm)
    assert y.shape == (0, 9, 9, 20) and dx.shape == x.shape
    assert not dweight.any() and not dbias.any()
