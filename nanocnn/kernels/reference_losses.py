"""The reference kernels around the layers: batches, losses, and what is measured of a batch.

Part of `reference`, which explains the notation. A loss function returns one value per sample;
`weight` (N,) is what each contributes to the loss L = sum over n of weight[n] * loss[n].
"""

import numpy as np

from ..common.arrays import Array


# --- Batches --------------------------------------------------------------------------------------
# The arrays of a data set have a row per sample, and `index` (N,) int64 says which are the batch's.
def take_images(x: Array, index: Array, out: Array) -> Array:
    """out (N, ...) = x[index] in its dtype; uint8 is divided by 255."""
    if x.dtype == np.uint8:
        return np.divide(x[index], 255, out=out, dtype=out.dtype)
    return take_rows(x, index, out)


def take_rows(x: Array, index: Array, out: Array) -> Array:
    """out (N, ...) = x[index] in its dtype."""
    out[...] = x[index]
    return out


def one_hot(labels: Array, index: Array, on: float, off: float, out: Array) -> Array:
    """out (N,K): `on` in column labels[index[n]] of row n, `off` elsewhere; labels are int64."""
    out[...] = off
    out[np.arange(len(index)), labels[index]] = on
    return out


def smooth(x: Array, scale: float, shift: float, out: Array) -> Array:
    """out = x * scale + shift, each operation rounded: label smoothing."""
    np.multiply(x, x.dtype.type(scale), out=out)
    out += x.dtype.type(shift)
    return out


def shares(weight: Array | None, index: Array, each: float, out: Array) -> Array:
    """out (N,) = weight[index] * each: a sample's share in the mean; without `weight` it is 1."""
    out[...] = each if weight is None else weight[index] * weight.dtype.type(each)
    return out


# --- What is measured of a batch ------------------------------------------------------------------
def mean_loss(losses: Array, shares: Array, out: Array) -> Array:
    """out (2,) float64: the sum of losses * shares, and 1 if it is finite, else 0."""
    out[0] = (losses.astype(np.float64) * shares).sum()
    out[1] = np.isfinite(out[0])
    return out


def count_correct(target: Array, prediction: Array, threshold: float, out: Array) -> Array:
    """out (1,) float64: the rows (..., K) where both have their (first) maximum in the same column.

    For K = 1 those where prediction > threshold equals target > 0.5. NaN counts as the maximum.
    """
    if target.shape[-1] == 1:
        out[0] = ((prediction > threshold) == (target > 0.5)).sum()
    else:
        out[0] = (prediction.argmax(axis=-1) == target.argmax(axis=-1)).sum()
    return out


def largest(x: Array, out: Array) -> Array:
    """out (1,) float64: the largest absolute value in x; NaN if any number is NaN."""
    out[0] = np.abs(x).max()
    return out


# --- Softmax and cross-entropy --------------------------------------------------------------------
def softmax_cross_entropy_forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """L_n = -sum over k of target[n,k] * log softmax(logits)[n,k].

    logits, target (N,K) -> losses (N,), probabilities (N,K). log softmax is computed as
    x - max - log(sum(exp(x - max))), which stays finite where log(softmax(x)) would be log(0).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    losses = -np.where(target != 0, target * (shifted - np.log(total)), 0).sum(axis=1)
    return losses.astype(logits.dtype, copy=False), e / total


# L = -sum_k t_k * (x_k - log sum_j exp(x_j)), and d log-sum-exp / dx_k = p_k, so
#     dx_k = p_k * sum(t) - t_k          (p - t when the target sums to one)
# As two operations it would be -t/p times p, which fails where p is 0.
def softmax_cross_entropy_backward(probabilities: Array, target: Array, weight: Array) -> Array:
    """dlogits (N,K) = (p * sum(t) - t) * weight. weight (N,): each sample's weight / N."""
    return (probabilities * target.sum(axis=1, keepdims=True) - target) * weight[:, None]


# Of probabilities, which need not sum to one: p = q / S with S = sum(q). They are clipped to
# [epsilon, 1 - epsilon], so that the logarithm is finite.
def categorical_cross_entropy_forward(q: Array, target: Array, epsilon: float) -> Array:
    """q, target (..., K) -> losses (...) = -sum over k of target_k * log(p_k)."""
    p = q / q.sum(axis=-1, keepdims=True)
    return -(target * np.log(np.clip(p, epsilon, 1 - epsilon))).sum(axis=-1)


# With g = dL/dp = -t/p, and 0 where p was clipped:
#     dL/dq_i = (g_i - sum_j g_j p_j) / S
def categorical_cross_entropy_backward(
    q: Array, target: Array, weight: Array, epsilon: float
) -> Array:
    """q, target (N,K) -> dq (N,K)."""
    total = q.sum(axis=-1, keepdims=True)
    p = q / total
    inside = (p >= epsilon) & (p <= 1 - epsilon)
    g = np.where(inside, -target / np.where(inside, p, 1), 0) * weight[:, None]
    return (g - (g * p).sum(axis=-1, keepdims=True)) / total


# --- Losses that are the mean over the elements of a sample ---------------------------------------
# x (N, ...) -> losses (N,), so each element's gradient is divided by their number.
def _mean_of_sample(values: Array) -> Array:
    return values.reshape(len(values), -1).mean(axis=1)


def _element_weights(weight: Array, x: Array) -> Array:
    """Each sample's weight divided by its number of elements, to broadcast against x (N, ...)."""
    share = weight * weight.dtype.type(len(x) / max(x.size, 1))
    return share.reshape(-1, *[1] * (x.ndim - 1))


def sigmoid_cross_entropy_forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """log(1 + exp(z)) - t*z, which does not overflow as computed here.

    logits, target (N, ...) -> losses (N,), probabilities (N, ...) = sigmoid(logits).
    """
    e = np.exp(-np.abs(logits))
    losses = np.maximum(logits, 0) - target * logits + np.log1p(e)
    return _mean_of_sample(losses), np.where(logits >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_cross_entropy_backward(probabilities: Array, target: Array, weight: Array) -> Array:
    """dlogits (N, ...) = p - t, weighted."""
    return (probabilities - target) * _element_weights(weight, target)


def binary_cross_entropy_forward(p: Array, target: Array, epsilon: float) -> Array:
    """-t*log(p) - (1-t)*log(1-p), with p clipped to [epsilon, 1 - epsilon]."""
    q = np.clip(p, epsilon, 1 - epsilon)
    return _mean_of_sample(-(target * np.log(q) + (1 - target) * np.log(1 - q)))


# dL/dp = (1-t)/(1-p) - t/p = (p - t) / (p * (1-p)), and 0 where p was clipped
def binary_cross_entropy_backward(p: Array, target: Array, weight: Array, epsilon: float) -> Array:
    """dp (N, ...) = (p - t) / (p * (1-p)), weighted."""
    inside = (p >= epsilon) & (p <= 1 - epsilon)
    dp = np.where(inside, (p - target) / np.where(inside, p * (1 - p), 1), 0)
    return dp * _element_weights(weight, p)


def mean_squared_error_forward(x: Array, target: Array) -> Array:
    """(x - t)^2."""
    return _mean_of_sample(np.square(x - target))


def mean_squared_error_backward(x: Array, target: Array, weight: Array) -> Array:
    """dx (N, ...) = 2 * (x - t), weighted."""
    return (x - target) * (2 * _element_weights(weight, x))


def mean_absolute_error_forward(x: Array, target: Array) -> Array:
    """|x - t|."""
    return _mean_of_sample(np.abs(x - target))


def mean_absolute_error_backward(x: Array, target: Array, weight: Array) -> Array:
    """dx (N, ...) = the sign of x - t, 0 where they are equal, weighted."""
    return np.sign(x - target) * _element_weights(weight, x)
