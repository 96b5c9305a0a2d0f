"""Windows that reach far beyond the image: the same numbers as those that do not, little memory."""

import numpy as np
import pytest

from nanocnn import AveragePooling2D, Conv2D, MaxPooling2D
from nanocnn.kernels import get_kernels
from nanocnn.kernels.geometry import sliding_window
from support.small_models import BOTH_SETS


def padded_by_hand(x, kernel, d):
    """A convolution with padding "same" and stride 1, from its definition."""
    N, H, W, _ = x.shape
    K = len(kernel)
    before = (K - 1) * d // 2
    y = np.zeros((N, H, W, kernel.shape[-1]))
    for kh in range(K):
        for kw in range(K):
            for h in range(max(0, before - kh * d), min(H, H + before - kh * d)):
                for w in range(max(0, before - kw * d), min(W, W + before - kw * d)):
                    at = x[:, h + kh * d - before, w + kw * d - before]
                    y[:, h, w] += at @ kernel[kh, kw]
    return y


@BOTH_SETS
@pytest.mark.parametrize("dilation", [1, 5, 9, 10, 11, 12, 13, 20_000])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_dilation_beyond_the_image(kernels, size, dilation):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 5, 3))
    layer = Conv2D(2, size, padding="same", dilation_rate=dilation)
    layer.build((6, 5, 3), dtype="float64", kernels=get_kernels(kernels))
    kernel = layer.params["kernel"]
    np.testing.assert_allclose(layer.forward(x), padded_by_hand(x, kernel, dilation), atol=1e-12)
    dy = rng.normal(size=(2, 6, 5, 2))
    dx = layer.backward(dy)
    product = (padded_by_hand(x, kernel, dilation) * dy).sum()  # linear in x and in the kernel
    assert (dx * x).sum() == pytest.approx(product)
    assert (layer.grads["kernel"] * kernel).sum() == pytest.approx(product)
    assert layer.get_config()["dilation_rate"] == [dilation] * 2


@BOTH_SETS
@pytest.mark.parametrize("strides", [1, 2, 6, None])
@pytest.mark.parametrize("kind", [MaxPooling2D, AveragePooling2D])
def test_a_pool_beyond_the_image(kernels, kind, strides):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    layer = kind(20_000, strides, "same")
    layer.build((6, 5, 3), dtype="float64", kernels=get_kernels(kernels))
    y = layer.forward(x)
    whole = x.max(axis=(1, 2)) if kind is MaxPooling2D else x.mean(axis=(1, 2))
    np.testing.assert_allclose(y, np.broadcast_to(whole[:, None, None], y.shape), atol=1e-12)
    assert (layer.backward(np.ones_like(y))).sum() == pytest.approx(y.size)
    assert y.shape[1:] == (6, 5, 3) if strides == 1 else y.shape[1] <= 3


@pytest.mark.parametrize("kernel", [2, 3, 7])
def test_padding_is_bounded_by_image_and_kernel(kernel):
    window = sliding_window((6, 5), (kernel, kernel), (1, 1), "same", (10**9, 10**9))
    assert window.top + window.bottom <= 12 * kernel and window.left + window.right <= 10 * kernel
