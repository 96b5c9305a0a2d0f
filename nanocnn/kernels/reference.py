"""The reference kernels: the mathematics of every operation in plain NumPy. Read top to bottom.

Activations are in `reference_activations.py`, dropout and image transforms in
`reference_random.py`, losses in `reference_losses.py`, optimizers and L2 penalties in
`reference_training.py`.
Each forward function is followed by the derivation of its gradient and by its backward function.
Nothing is optimized: `kernels/fast` has functions of the same names and is tested against this
file, and this file is tested against plain loops (`tests/support/naive.py`).

Notation
    dy = dL/dy, the gradient of the loss with respect to the output y, is passed to backward, which
    returns dx, dweight and dbias. Each has the shape of the array it is the gradient of.
    N batch        C input channels    OH OW  output height and width
    H input height F filters           D      inputs of a dense layer
    W input width  KH KW window        U      units of a dense layer      K  classes
    Images are (N,H,W,C), convolution kernels (KH,KW,C,F), dense kernels (D,U).

The chain rule gives every backward pass below. If y depends on x through y_j = f_j(x), then
    dx_i = sum over j of dy_j * (d y_j / d x_i):
the gradient of an input sums over all outputs that the input contributes to.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..common.arrays import Array
from .geometry import Window
from .reference_activations import *  # noqa: F403  (the whole set has its names here)
from .reference_losses import *  # noqa: F403
from .reference_random import *  # noqa: F403
from .reference_training import *  # noqa: F403

fuses = writes_into = chooses = False  # what a kernel set can do: see kernels/__init__.py
calls_blas, CAPTURABLE = True, dict[str, Any]()


# --- Dense ----------------------------------------------------------------------------------------
def dense_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """y = x @ weight + bias. x (N,D), weight (D,U), bias (U,) or None -> y (N,U)."""
    y = x @ weight
    return y if bias is None else y + bias


# y[n,u] = sum over d of x[n,d] * weight[d,u] + b[u], so
#     dweight[d,u] = sum over n of x[n,d] * dy[n,u]      = (x^T @ dy)[d,u]
#     dbias[u]     = sum over n of dy[n,u]
#     dx[n,d]      = sum over u of dy[n,u] * weight[d,u] = (dy @ weight^T)[n,d]
def dense_backward(
    dy: Array, x: Array, weight: Array, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dy (N,U) -> dx (N,D) or None, dweight (D,U), dbias (U,)."""
    dweight = x.T @ dy  # (D,U)
    dbias = dy.sum(axis=0)  # (U,)
    dx = dy @ weight.T if need_dx else None  # (N,D)
    return dx, dweight, dbias


# --- The sliding window of convolution and pooling ------------------------------------------------
def pad(x: Array, window: Window, value: float) -> Array:
    """Pad each image as `window` says: (N,H,W,C) -> (N,HP,WP,C)."""
    rows, columns = (window.top, window.bottom), (window.left, window.right)
    return np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)


def windows(padded: Array, window: Window) -> Array:
    """Every position of the window, as a view (N,OH,OW,KH,KW,C) of (N,HP,WP,C) without a copy.

    view[n,oh,ow,kh,kw,c] = padded[n, oh*SH + kh*DH, ow*SW + kw*DW, c].
    """
    N, _, _, C = padded.shape
    _, _, KH, KW, SH, SW, DH, DW, *_, OH, OW = window
    n, h, w, c = padded.strides
    strides = (n, h * SH, w * SW, h * DH, w * DW, c)
    return as_strided(padded, (N, OH, OW, KH, KW, C), strides)


def im2col(x: Array, window: Window, value: float = 0.0) -> Array:
    """One row per window: (N,H,W,C) -> (N*OH*OW, KH*KW*C). The padding has the given value."""
    cells = windows(pad(x, window, value), window)  # (N,OH,OW,KH,KW,C)
    return cells.reshape(-1, window.KH * window.KW * x.shape[3])


# im2col copies pixel x[h,w] into every window that covers it, so the gradient of the pixel is the
# sum of the gradients of its copies. Windows overlap: hence `+=`, not `=`.
def col2im(dcols: Array, N: int, C: int, window: Window) -> Array:
    """The transpose of im2col: sum rows into images, (N*OH*OW, KH*KW*C) -> (N,H,W,C)."""
    H, W, KH, KW, SH, SW, DH, DW, top, bottom, left, right, OH, OW = window
    dcells = dcols.reshape(N, OH, OW, KH, KW, C)
    dpadded = np.zeros((N, H + top + bottom, W + left + right, C), dcols.dtype)
    for kh, kw in np.ndindex(KH, KW):  # the pixels under cell (kh,kw) of each window
        rows = slice(kh * DH, kh * DH + (OH - 1) * SH + 1, SH)
        columns = slice(kw * DW, kw * DW + (OW - 1) * SW + 1, SW)
        dpadded[:, rows, columns] += dcells[:, :, :, kh, kw]
    return dpadded[:, top : top + H, left : left + W]


# --- Convolution ----------------------------------------------------------------------------------
def conv2d_forward(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """y[n,oh,ow,f] = sum over kh,kw,c of x[n, oh*SH+kh*DH, ow*SW+kw*DW, c] * weight[kh,kw,c,f] + b.

    x (N,H,W,C), weight (KH,KW,C,F), bias (F,) or None -> y (N,OH,OW,F). Strictly a correlation: as
    in every deep-learning library, the kernel is not flipped.
    """
    F = weight.shape[3]
    y = dense_forward(im2col(x, window), weight.reshape(-1, F), bias)  # (N*OH*OW, F)
    return y.reshape(len(x), window.OH, window.OW, F)


# With cols = im2col(x) and Wm = weight as a matrix (KH*KW*C, F), Y = cols @ Wm + b: a dense layer.
#     dWm   = cols^T @ dY              dweight[kh,kw,c,f] = sum over windows of pixel * dy
#     dbias = sum of the rows of dY    b is added to every row
#     dcols = dY @ Wm^T                col2im then sums over the copies of each pixel
def conv2d_backward(
    dy: Array, x: Array, weight: Array, window: Window, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dy (N,OH,OW,F) -> dx (N,H,W,C) or None, dweight (KH,KW,C,F), dbias (F,)."""
    F = weight.shape[3]
    dY = dy.reshape(-1, F)  # (N*OH*OW, F)
    cols = im2col(x, window)  # (N*OH*OW, KH*KW*C)
    dweight = (cols.T @ dY).reshape(weight.shape)  # (KH,KW,C,F)
    dbias = dY.sum(axis=0)  # (F,)
    if not need_dx:
        return None, dweight, dbias
    dcols = dY @ weight.reshape(-1, F).T  # (N*OH*OW, KH*KW*C)
    dx = col2im(dcols, len(x), x.shape[3], window)  # (N,H,W,C)
    return dx, dweight, dbias


# --- Pooling --------------------------------------------------------------------------------------
def max_pool_forward(x: Array, window: Window) -> tuple[Array, Array]:
    """The maximum of each window and its position.

    x (N,H,W,C) -> y (N,OH,OW,C), argmax (N,OH,OW,C): kh*KW + kw of the first maximum in row-major
    order. NaN counts as the maximum, padding as -inf. Source: PyTorch's MaxPoolKernel.cpp.
    """
    cells = windows(pad(x, window, -np.inf), window)  # (N,OH,OW,KH,KW,C)
    cells = cells.reshape(*cells.shape[:3], -1, x.shape[3])  # (N,OH,OW,KH*KW,C)
    argmax = cells.argmax(axis=3)[:, :, :, None]  # (N,OH,OW,1,C)
    y = np.take_along_axis(cells, argmax, axis=3)[:, :, :, 0]
    dtype = np.uint8 if window.KH * window.KW <= 255 else np.int32
    return y, argmax[:, :, :, 0].astype(dtype)


# y is a copy of the cell at argmax: dy goes to that cell alone. A cell that is the maximum of
# several overlapping windows receives the sum.
def max_pool_backward(dy: Array, argmax: Array, window: Window) -> Array:
    """dy, argmax (N,OH,OW,C) -> dx (N,H,W,C)."""
    cell = np.arange(window.KH * window.KW)[:, None]  # (KH*KW, 1)
    is_max = argmax[:, :, :, None] == cell  # (N,OH,OW,KH*KW,C)
    dcells = np.where(is_max, dy[:, :, :, None], 0)
    return col2im(dcells, len(dy), dy.shape[3], window)


def average_pool_forward(x: Array, window: Window) -> Array:
    """The mean of each window, padding excluded. x (N,H,W,C) -> y (N,OH,OW,C)."""
    return windows(pad(x, window, 0.0), window).sum(axis=(3, 4)) / count_cells(window, x.dtype)


# Each of the n cells of a window contributes 1/n of its value.
def average_pool_backward(dy: Array, window: Window) -> Array:
    """dy (N,OH,OW,C) -> dx (N,H,W,C)."""
    N, OH, OW, C = dy.shape
    dcell = (dy / count_cells(window, dy.dtype))[:, :, :, None, None]  # (N,OH,OW,1,1,C)
    return col2im(np.broadcast_to(dcell, (N, OH, OW, window.KH, window.KW, C)), N, C, window)


def count_cells(window: Window, dtype: Any) -> Array:
    """The number of cells of each window that lie inside the image: (1,OH,OW,1)."""
    inside = pad(np.ones((1, window.H, window.W, 1), dtype), window, 0.0)
    return windows(inside, window).sum(axis=(3, 4))


def global_max_forward(x: Array) -> Array:
    """The maximum of each channel. x (N,H,W,C) -> y (N,C). NaN counts as the maximum."""
    return x.max(axis=(1, 2))


# Here equal pixels share the gradient: Keras's global pooling is a maximum over axes, no window.
def global_max_backward(dy: Array, x: Array, y: Array) -> Array:
    """dy, y (N,C) -> dx (N,H,W,C)."""
    is_max = x == y[:, None, None]  # (N,H,W,C)
    share = dy / is_max.sum(axis=(1, 2), dtype=dy.dtype)  # (N,C)
    return np.where(is_max, share[:, None, None], 0)


# --- Zero padding ---------------------------------------------------------------------------------
def zero_pad_forward(x: Array, padding: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """Zeros around images, x (N,H,W,C) -> y (N,HP,WP,C); padding ((top, bottom), (left, right))."""
    return np.pad(x, ((0, 0), *padding, (0, 0)))


# The zeros do not depend on x: only the gradients of the pixels count.
def zero_pad_backward(dy: Array, padding: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """dy (N,HP,WP,C) -> dx (N,H,W,C): without the padding."""
    (top, bottom), (left, right) = padding
    _, HP, WP, _ = dy.shape
    return dy[:, top : HP - bottom, left : WP - right]


# --- Batch normalization --------------------------------------------------------------------------
def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """y = gamma * xhat + beta with xhat = (x - mean) / sqrt(variance + epsilon), per channel.

    x (..., C) -> y (..., C), mean (C,), variance (C,): over all axes but the last; the variance is
    the biased one. gamma, beta (C,). Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon), mean, variance


# Let s = 1/sqrt(variance + epsilon), M values per channel, and g = dy * gamma = dL/dxhat. xhat
# depends on x directly (g*s), through the mean and through the variance. With dxhat/dmean = -s,
# dxhat/dvariance = -xhat*s^2/2 and dvariance/dx = 2*(x-mean)/M, the three terms sum to
#     dx = s * (g - mean(g) - xhat * mean(g * xhat))
def batch_norm_backward(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, epsilon: float,
    frozen: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,).

    `frozen`: mean and variance are constants, not those of x; then dx is gamma * s * dy.
    """
    axes = tuple(range(x.ndim - 1))
    M = x.size // x.shape[-1]
    s = 1 / np.sqrt(variance + epsilon)
    xhat = (x - mean) * s
    dbeta, dgamma = dy.sum(axis=axes), (dy * xhat).sum(axis=axes)
    dx = gamma * s * (dy if frozen else dy - (dbeta + xhat * dgamma) / M)
    return dx, dgamma, dbeta


def batch_norm_update(
    moving_mean: Array, moving_variance: Array, mean: Array, variance: Array, momentum: float
) -> None:
    """moving = momentum * moving + (1-momentum) * batch's, in place; not if any is NaN or inf."""
    keep = mean.dtype.type(momentum)
    if np.isfinite(mean).all() and np.isfinite(variance).all():
        for moving, value in ((moving_mean, mean), (moving_variance, variance)):
            moving *= keep
            moving += (1 - keep) * value


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> Array:
    """The same y for a given mean and variance: the moving averages of the training."""
    s = 1 / np.sqrt(variance + epsilon)
    return gamma * ((x - mean) * s) + beta


# --- Batches that are computed in shards: see models/shards.py ------------------------------------
def add(x: Array, y: Array) -> Array:
    """y += x, in place."""
    y += x
    return y


# Batch normalization over all shards, in two halves.
def batch_norm_statistics(x: Array, out: Array | None = None) -> Array:
    """x (..., C) -> (2, C), float64: mean and biased variance over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    moments = x.mean(axis=axes, dtype=np.float64), x.var(axis=axes, dtype=np.float64)
    return np.stack(moments, out=out)


def batch_norm_sums(dy: Array, x: Array, mean: Array, out: Array | None = None) -> Array:
    """dy, x (..., C), mean (C,) -> (2, C), float64: the sums of dy and of dy * (x - mean)."""
    axes = tuple(range(x.ndim - 1))
    products = np.multiply(dy, x - mean, dtype=np.float64)
    return np.stack([dy.sum(axis=axes, dtype=np.float64), products.sum(axis=axes)], out=out)


def batch_norm_gradient(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, epsilon: float, sums: Array,
    means: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,): see `batch_norm_backward`.

    `sums` (2, C) are `batch_norm_sums` of this shard, `means` those of all shards, divided by the
    number of their values per channel.
    """
    s = 1 / np.sqrt(variance + epsilon, dtype=np.float64)
    slope = (means[1] * s * s).astype(x.dtype)
    dx = (gamma * s).astype(x.dtype) * (dy - means[0].astype(x.dtype) - (x - mean) * slope)
    return dx, (sums[1] * s).astype(x.dtype), sums[0].astype(x.dtype)
