"""The reference kernels of the activations: see `reference.py`.

Each is y = f(x), elementwise (softmax: row by row). Where the derivative can be written in terms of
y alone, a layer saves y and not x.
"""

import math

import numpy as np

from ..common.arrays import Array


def relu_forward(x: Array) -> Array:
    """y = max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


def relu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0 (also at the kink, x = 0)."""
    return np.where(y > 0, dy, 0)


# For threshold 0 and no max_value this is y = max(x, slope * x), with a slope below 1.
def leaky_relu_forward(x: Array, slope: float, threshold: float, max_value: float) -> Array:
    """y = slope * (x - threshold) up to the threshold; from there on x, but at most max_value."""
    below = slope * (x - threshold) if slope else np.zeros_like(x)
    return np.where(x <= threshold, below, np.minimum(x, max_value))


def leaky_relu_backward(
    dy: Array, x: Array, slope: float, threshold: float, max_value: float
) -> Array:
    """dx = dy * slope up to the threshold, 0 from max_value on, dy between them."""
    return np.where(x <= threshold, dy * slope, np.where(x >= max_value, 0, dy))


def elu_forward(x: Array) -> Array:
    """y = x where x > 0, else exp(x) - 1. Source: Clevert et al. 2016."""
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


# Where x < 0, dy/dx = exp(x) = y + 1.
def elu_backward(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else dy * (y + 1)."""
    return np.where(y > 0, dy, dy * (y + 1))


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow."""
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


def normal_cdf(x: Array) -> Array:
    """P(X <= x) for a normally distributed X: (1 + erf(x / sqrt(2))) / 2."""
    erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has none
    return 0.5 * (1 + np.asarray(erf(x * math.sqrt(0.5)), x.dtype))


def gelu_forward(x: Array) -> Array:
    """y = x * P(X <= x) for a normally distributed X. Source: Hendrycks & Gimpel 2016."""
    return x * normal_cdf(x)


# The derivative of P(X <= x) is the normal density, exp(-x^2 / 2) / sqrt(2 pi).
def gelu_backward(dy: Array, x: Array) -> Array:
    """dx = dy * (P(X <= x) + x * density(x))."""
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return dy * (normal_cdf(x) + x * density)


def softmax_forward(x: Array) -> Array:
    """y_k = exp(x_k) / sum over j of exp(x_j), over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))  # the maximum cancels; exp cannot overflow
    return e / e.sum(axis=-1, keepdims=True)


# dy_j/dx_k = y_j * ((j == k) - y_k), so dx_k = y_k * (dy_k - sum over j of dy_j * y_j).
def softmax_backward(dy: Array, y: Array) -> Array:
    """dx = y * (dy - sum(dy * y)) over the last axis."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
