"""The reference kernels: what every operation computes, in plain NumPy. Read from top to bottom.

Each operation stands forward first, its backward directly below, with the derivation above the
backward. Nothing here is tuned; `kernels/fast` has the same names in the same order and is tested
against this file, and this file against loops (`tests/naive.py`).

Notation
    dy = dL/dy is the gradient that arrives from above, dx, dweight, dbias the ones that leave;
    each has the shape of the array it is the gradient of.
    N batch        C input channels    OH OW  output height and width
    H input height F filters           D      inputs of a dense layer
    W input width  KH KW window        U      units of a dense layer      K  classes
    Images are (N,H,W,C), convolution kernels (KH,KW,C,F), dense kernels (D,U).

One rule gives every backward pass below. If y depends on x through y_j = f_j(x), then
    dx_i = sum over j of dy_j * (d y_j / d x_i):
each output hands its gradient back to every input it used, times how strongly it used it.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..common.arrays import Array
from .geometry import Window

fuses = writes_into = chooses = False  # what a kernel set can do: see kernels/__init__.py
calls_blas, CAPTURABLE = True, frozenset[Any]()


# --- The sliding window: what convolution and pooling share ---------------------------------------
def pad(x: Array, window: Window, value: float) -> Array:
    """Surround each image with the window's padding: (N,H,W,C) -> (N,HP,WP,C)."""
    rows, columns = (window.top, window.bottom), (window.left, window.right)
    return np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)


def windows(padded: Array, window: Window) -> Array:
    """Every place the window stops at: a view (N,OH,OW,KH,KW,C) of (N,HP,WP,C), nothing copied.

    view[n,oh,ow,kh,kw,c] = padded[n, oh*SH + kh*DH, ow*SW + kw*DW, c].
    """
    N, _, _, C = padded.shape
    _, _, KH, KW, SH, SW, DH, DW, *_, OH, OW = window
    n, h, w, c = padded.strides
    strides = (n, h * SH, w * SW, h * DH, w * DW, c)
    return as_strided(padded, (N, OH, OW, KH, KW, C), strides)


def im2col(x: Array, window: Window, value: float = 0.0) -> Array:
    """Lay every window out as a row: (N,H,W,C) -> (N*OH*OW, KH*KW*C). Padding holds `value`."""
    cells = windows(pad(x, window, value), window)  # (N,OH,OW,KH,KW,C)
    return cells.reshape(-1, window.KH * window.KW * x.shape[3])


# im2col copies pixel x[h,w] into every window that covers it, so by the rule at the top the
# pixel's gradient is the sum of the gradients of its copies. `+=`, never `=`: windows overlap.
def col2im(dcols: Array, N: int, C: int, window: Window) -> Array:
    """The transpose of im2col: sum the rows back into images, (N*OH*OW, KH*KW*C) -> (N,H,W,C)."""
    H, W, KH, KW, SH, SW, DH, DW, top, bottom, left, right, OH, OW = window
    dcells = dcols.reshape(N, OH, OW, KH, KW, C)
    dpadded = np.zeros((N, H + top + bottom, W + left + right, C), dcols.dtype)
    for kh in range(KH):
        for kw in range(KW):
            rows = slice(kh * DH, kh * DH + (OH - 1) * SH + 1, SH)  # where cell (kh,kw) of
            columns = slice(kw * DW, kw * DW + (OW - 1) * SW + 1, SW)  # every window lies
            dpadded[:, rows, columns] += dcells[:, :, :, kh, kw]
    return dpadded[:, top : top + H, left : left + W]


# --- Convolution ----------------------------------------------------------------------------------
def conv2d_forward(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """y[n,oh,ow,f] = sum over kh,kw,c of x[n, oh*SH+kh*DH, ow*SW+kw*DW, c] * weight[kh,kw,c,f] + b.

    x (N,H,W,C), weight (KH,KW,C,F), bias (F,) or None -> y (N,OH,OW,F). The kernel is not flipped
    (a correlation), as everywhere in deep learning.
    """
    F = weight.shape[3]
    cols = im2col(x, window)  # (N*OH*OW, KH*KW*C)
    y = cols @ weight.reshape(-1, F)  # (N*OH*OW, F)
    y = y if bias is None else y + bias
    return y.reshape(len(x), window.OH, window.OW, F)


# With im2col a convolution is the matrix product Y = cols @ Wm + b, and so its backward is a dense
# layer's: each weight was used once in every row, each row once for every filter.
#     dWm   = cols^T @ dY              dweight[kh,kw,c,f] = sum over windows of pixel * dy
#     db    = sum of dY's rows         b was added to every row
#     dcols = dY @ Wm^T                and col2im brings the copies of each pixel together
def conv2d_backward(
    dy: Array, x: Array, weight: Array, window: Window, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dy (N,OH,OW,F) -> dx (N,H,W,C) or None, dweight (KH,KW,C,F), dbias (F,)."""
    N, _, _, C = x.shape
    F = weight.shape[3]
    dY = dy.reshape(-1, F)  # (N*OH*OW, F)
    cols = im2col(x, window)  # (N*OH*OW, KH*KW*C)
    dweight = (cols.T @ dY).reshape(weight.shape)  # (KH,KW,C,F)
    dbias = dY.sum(axis=0)  # (F,)
    if not need_dx:
        return None, dweight, dbias
    dcols = dY @ weight.reshape(-1, F).T  # (N*OH*OW, KH*KW*C)
    dx = col2im(dcols, N, C, window)  # (N,H,W,C)
    return dx, dweight, dbias


# --- Pooling --------------------------------------------------------------------------------------
def max_pool_forward(x: Array, window: Window) -> tuple[Array, Array]:
    """The largest value of each window, and which cell held it.

    x (N,H,W,C) -> y (N,OH,OW,C), winner (N,OH,OW,C): kh*KW + kw of the first maximum, row by row
    (a NaN is the maximum). Padding counts as -inf. Source: PyTorch's MaxPoolKernel.cpp.
    """
    N, _, _, C = x.shape
    cells = windows(pad(x, window, -np.inf), window)  # (N,OH,OW,KH,KW,C)
    cells = cells.reshape(N, window.OH, window.OW, -1, C)  # (N,OH,OW,KH*KW,C)
    argmax = cells.argmax(axis=3)[:, :, :, None]  # (N,OH,OW,1,C)
    y = np.take_along_axis(cells, argmax, axis=3)[:, :, :, 0]
    code = np.uint8 if window.KH * window.KW <= 255 else np.int32
    return y, argmax[:, :, :, 0].astype(code)


# y is a copy of the winning cell: dy goes to that cell and to no other. A cell that wins in
# several overlapping windows gets the sum.
def max_pool_backward(dy: Array, argmax: Array, window: Window) -> Array:
    """dy, winner (N,OH,OW,C) -> dx (N,H,W,C)."""
    N, *_, C = dy.shape
    cell = np.arange(window.KH * window.KW)[:, None]  # (KH*KW, 1)
    won = argmax[:, :, :, None] == cell  # (N,OH,OW,KH*KW,C)
    dcells = np.where(won, dy[:, :, :, None], 0)
    return col2im(dcells, N, C, window)


def average_pool_forward(x: Array, window: Window) -> Array:
    """The mean of each window's real cells: padding is not counted. x (N,H,W,C) -> (N,OH,OW,C)."""
    return windows(pad(x, window, 0.0), window).sum(axis=(3, 4)) / real_cells(window, x.dtype)


# Each of the n real cells contributed 1/n of itself.
def average_pool_backward(dy: Array, window: Window) -> Array:
    """dy (N,OH,OW,C) -> dx (N,H,W,C)."""
    N, OH, OW, C = dy.shape
    share = (dy / real_cells(window, dy.dtype))[:, :, :, None, None]  # (N,OH,OW,1,1,C)
    return col2im(np.broadcast_to(share, (N, OH, OW, window.KH, window.KW, C)), N, C, window)


def real_cells(window: Window, dtype: Any) -> Array:
    """How many cells of each window lie inside the image: (1,OH,OW,1)."""
    inside = pad(np.ones((1, window.H, window.W, 1), dtype), window, 0.0)
    return windows(inside, window).sum(axis=(3, 4))


# --- Dense ----------------------------------------------------------------------------------------
def dense_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """y = x @ weight + bias. x (N,D), weight (D,U), bias (U,) or None -> y (N,U)."""
    y = x @ weight
    return y if bias is None else y + bias


# y[n,u] = sum over d of x[n,d] * weight[d,u] + b[u], so
#     dweight[d,u] = sum over n of x[n,d] * dy[n,u]      = (x^T @ dy)[d,u]
#     dx[n,d]      = sum over u of dy[n,u] * weight[d,u] = (dy @ weight^T)[n,d]
def dense_backward(
    dy: Array, x: Array, weight: Array, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dy (N,U) -> dx (N,D) or None, dweight (D,U), dbias (U,)."""
    dweight = x.T @ dy  # (D,U)
    dbias = dy.sum(axis=0)  # (U,)
    dx = dy @ weight.T if need_dx else None  # (N,D)
    return dx, dweight, dbias


# --- Activations ----------------------------------------------------------------------------------
# Each is y = f(x) element by element (softmax: row by row), and each derivative can be written with
# y alone, so y is all that needs to be kept.
def relu_forward(x: Array) -> Array:
    """y = max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


def relu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0 (0 at the kink itself)."""
    return np.where(y > 0, dy, 0)


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + exp(-x)), written with exp of negative numbers only, so that none overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """dx = dy * y * (1 - y)."""
    return dy * y * (1 - y)


def tanh_forward(x: Array) -> Array:
    """y = tanh(x)."""
    return np.tanh(x)


def tanh_backward(dy: Array, y: Array) -> Array:
    """dx = dy * (1 - y^2)."""
    return dy * (1 - y * y)


def softmax_forward(x: Array) -> Array:
    """y_k = exp(x_k) / sum over j of exp(x_j), over the last axis.

    The maximum is taken off first: it cancels, and exp then never overflows.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# dy_j/dx_k = y_j * ((j == k) - y_k), so dx_k = y_k * (dy_k - sum over j of dy_j * y_j).
def softmax_backward(dy: Array, y: Array) -> Array:
    """dx = y * (dy - sum(dy * y)) over the last axis."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


# --- Dropout --------------------------------------------------------------------------------------
def dropout_mask(size: int, rate: float, key: int) -> Array:
    """Which of `size` elements are kept: (size,) bool, each with probability 1 - rate.

    The i-th answer is a hash of (key, i) and of nothing else. So forward and backward agree without
    storing the mask, and both kernel sets agree whatever number of threads they use.
    The hash is lowbias32 (C. Wellons, "Prospecting for Hash Functions", 2018), applied twice.
    """
    h = np.arange(size, dtype=np.uint32) ^ np.uint32(key & 0xFFFFFFFF)
    for last in (np.uint32(key >> 32), np.uint32(0)):
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x7FEB352D)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x846CA68B)
        h ^= h >> np.uint32(16)
        h ^= last
    return h.astype(np.uint64) < np.uint64((1 - rate) * 2**32)


def dropout_forward(x: Array, rate: float, key: int) -> Array:
    """y = x / (1 - rate) where kept, else 0: on average y is x. key: 0 <= key < 2**64."""
    kept = dropout_mask(x.size, rate, key).reshape(x.shape)
    scale = 1 / (1 - rate) if rate < 1 else 0
    return np.where(kept, x * scale, 0)


# y is x times a constant (1/(1-rate) or 0), so dx is dy times the same constant.
dropout_backward = dropout_forward


# --- Batch normalization --------------------------------------------------------------------------
def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """y = gamma * xhat + beta, xhat = (x - mean) / sqrt(variance + epsilon), channel by channel.

    x (..., C); mean and variance (C,) over all axes but the last; the variance is the biased one.
    Returns y, mean, variance. Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon), mean, variance


# Let s = 1/sqrt(variance + epsilon), M values a channel, and g = dy * gamma = dL/dxhat. x reaches
# xhat by three paths: itself (g*s), through the mean, and through the variance. With
# dxhat/dmean = -s and dxhat/dvariance = -xhat*s^2/2, and dvariance/dx = 2*(x-mean)/M, they sum to
#     dx = s * (g - mean(g) - xhat * mean(g * xhat))
def batch_norm_backward(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,)."""
    axes = tuple(range(x.ndim - 1))
    M = x.size // x.shape[-1]
    s = 1 / np.sqrt(variance + epsilon)
    xhat = (x - mean) * s
    dbeta, dgamma = dy.sum(axis=axes), (dy * xhat).sum(axis=axes)
    dx = gamma * s * (dy - (dbeta + xhat * dgamma) / M)
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> Array:
    """The same y with a mean and variance that are given: those the training averaged."""
    s = 1 / np.sqrt(variance + epsilon)
    return gamma * ((x - mean) * s) + beta


# --- Softmax and cross-entropy --------------------------------------------------------------------
def softmax_cross_entropy_forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """L_n = -sum over k of target[n,k] * log softmax(logits)[n,k].

    logits, target (N,K) -> losses (N,), probabilities (N,K). log softmax is x - max - log(sum of
    exp(x - max)): finite for any finite logit, 1e4 too, where log(softmax(x)) would be log(0).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    losses = -np.where(target != 0, target * (shifted - np.log(total)), 0).sum(axis=1)
    return losses.astype(logits.dtype, copy=False), e / total


# L = -sum_k t_k * (x_k - log sum_j exp(x_j)), and d log-sum-exp / dx_k = p_k, so
#     dx_k = p_k * sum(t) - t_k          (p - t when the target sums to one)
# This is why the two are one operation: apart, it is -t/p times p, and p may be 0.
def softmax_cross_entropy_backward(probabilities: Array, target: Array, weight: Array) -> Array:
    """dlogits (N,K) = (p * sum(t) - t) * weight, weight (N,): the sample's weight over N."""
    return (probabilities * target.sum(axis=1, keepdims=True) - target) * weight[:, None]


# --- Optimizers -----------------------------------------------------------------------------------
# One step for one parameter, in place. All arrays have the parameter's shape and dtype, which the
# numbers take on when they meet them.
def sgd_update(
    param: Array, grad: Array, velocity: Array | None, learning_rate: float, momentum: float,
    nesterov: bool, rate_inside: bool = True,
) -> None:  # fmt: skip
    """velocity = momentum*velocity - learning_rate*grad; param += velocity.

    Nesterov: param += momentum*velocity - learning_rate*grad, as if looking one step ahead.
    With `rate_inside` False (PyTorch) velocity is free of the learning rate, which is applied last:
    the same as long as the rate is constant.
    """
    if velocity is None:
        param -= learning_rate * grad
        return
    inside, outside = (learning_rate, 1) if rate_inside else (1, learning_rate)
    velocity *= momentum
    velocity -= inside * grad
    param += outside * (momentum * velocity - inside * grad if nesterov else velocity)


def rmsprop_update(
    param: Array, grad: Array, v: Array, average: Array | None, buffer: Array | None,
    learning_rate: float, rho: float, momentum: float, epsilon: float, epsilon_inside: bool,
) -> None:  # fmt: skip
    """v = rho*v + (1-rho)*grad^2; param -= learning_rate * grad / sqrt(v + epsilon).

    With `average` (centred) its square is taken off v; with `buffer` the step goes through
    momentum. `epsilon_inside` is Keras's rule: epsilon inside the root and the learning rate inside
    the buffer; PyTorch has both outside.
    """
    inside, outside = (learning_rate, 1) if epsilon_inside else (1, learning_rate)
    rest = 1 - param.dtype.type(rho)  # in the dtype, for both kernel sets to round alike
    v += (grad * grad - v) * rest
    spread = v
    if average is not None:
        average += (grad - average) * rest
        spread = v - average * average
    root = np.sqrt(spread + epsilon) if epsilon_inside else np.sqrt(spread) + epsilon
    step = inside * grad / root
    if buffer is not None:
        buffer *= momentum
        buffer += step
        step = buffer
    param -= outside * step


def adam_update(
    param: Array, grad: Array, m: Array, v: Array, vmax: Array | None,
    step_size: float, beta1: float, beta2: float, epsilon: float, v_scale: float,
) -> None:  # fmt: skip
    """m, v: running means of grad, grad^2; param -= step_size * m / (sqrt(v)*v_scale + epsilon).

    The caller puts the bias corrections into step_size and v_scale, where Keras (v_scale = 1) and
    PyTorch differ; with `vmax` (AMSGrad) the largest v so far is used. Source: Kingma & Ba 2015.
    """
    m += (grad - m) * (1 - param.dtype.type(beta1))
    v += (grad * grad - v) * (1 - param.dtype.type(beta2))
    if vmax is not None:
        np.maximum(vmax, v, out=vmax)
    param -= step_size * m / (np.sqrt(v if vmax is None else vmax) * v_scale + epsilon)
