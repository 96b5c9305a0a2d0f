"""Losses that are the mean of loss(x, t) over the elements of a sample, and their gradients.

A loss is two small functions of vectors, from which `_kernels` makes its forward and its backward
kernel. Sums over a sample are in float64.
"""

from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.simd import lanes, load_row, pointer, select, splat, store_row, total
from ...jit.simd_lanes import head, widen
from .exponential import exp, sigmoid
from .logarithm import log, log1p
from .outputs import MIN_EXPS, MIN_WORK, Array, as_rows, check_arrays, count_parts, result, results
from .rows import WIDTH, clip, load_wide, store_wide, zeros


def _kernels(
    loss: Any, gradient: Any, activates: bool = False, factor: float = 1.0
) -> tuple[Any, Any]:
    """The kernels of a loss; loss(x, t, epsilon) returns it and, if it `activates` x, y.

    Its derivative is factor * gradient(x, t, epsilon).
    """

    @kernel
    def _loss_forward(part, parts, x, target, epsilon, losses, y):
        D, px, pt, py = x.shape[1], pointer(x), pointer(target), pointer(y)
        start, stop = part_range(part, parts, len(x))
        zero = zeros(px)
        limit = splat(zero, epsilon)
        for n in range(start, stop):
            acc = widen(zero)
            for k in range(0, D, WIDTH):
                at, left = n * D + k, D - k
                value, activated = loss(load_wide(px, at, left), load_wide(pt, at, left), limit)
                acc = acc + widen(head(value, left, zero))
                if activates:
                    store_wide(py, at, activated, left)
            losses[n] = total(acc) / D

    @kernel
    def _loss_backward(part, parts, x, target, weight, epsilon, dx):
        D, px, pt, to = x.shape[1], pointer(x), pointer(target), pointer(dx)
        start, stop = part_range(part, parts, len(x))
        limit, each = splat(px, epsilon), x.dtype.type(factor / D)
        for n in range(start, stop):
            share = splat(px, weight[n] * each)
            for k in range(0, D, lanes(px)):
                at, left = n * D + k, D - k
                d = gradient(load_row(px, at, left), load_row(pt, at, left), limit)
                store_row(to, at, d * share, left)

    return _loss_forward, _loss_backward


def _forward(
    kernel: Any, min_work: int, x: Array, target: Array, epsilon: float, losses: Array, y: Array
) -> Array:
    """Run a forward kernel; y is not written unless the loss activates x."""
    check_arrays(x.shape, x.dtype, target=target)
    arrays = as_rows(x), as_rows(target)
    run(kernel, count_parts(x.size, min_work), *arrays, epsilon, losses, as_rows(y))
    return losses


def _backward(
    kernel: Any, x: Array, target: Array, weight: Array, epsilon: float, out: Array | None
) -> Array:
    check_arrays(x.shape, x.dtype, target=target)
    check_arrays(x.shape[:1], x.dtype, weight=weight)
    dx = result(out, x.shape, x.dtype)
    arrays = as_rows(x), as_rows(target), np.ascontiguousarray(weight)
    run(kernel, count_parts(x.size), *arrays, epsilon, as_rows(dx))
    return dx


# --- Binary cross-entropy of logits ---------------------------------------------------------------


@inline
def _sigmoid_loss(z, t, epsilon):
    zero = splat(z, 0)
    e = exp(select(z > zero, -z, z))  # of -|z|: at most 1, no overflow
    positive = select(z > zero, z, zero)
    return positive - t * z + log1p(e), sigmoid(z)


@inline
def _difference(p, t, epsilon):
    return p - t


_sigmoid_forward, _sigmoid_backward = _kernels(_sigmoid_loss, _difference, activates=True)


def sigmoid_cross_entropy_forward(
    logits: Array, target: Array, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """logits, target (N, ...) -> losses (N,), probabilities (N, ...)."""
    losses, p = results(out, (logits.shape[:1], logits.dtype), (logits.shape, logits.dtype))
    return _forward(_sigmoid_forward, MIN_EXPS, logits, target, 0.0, losses, p), p


def sigmoid_cross_entropy_backward(
    probabilities: Array, target: Array, weight: Array, out: Array | None = None
) -> Array:
    """p, target (N, ...), weight (N,) -> dlogits (N, ...) = (p - t) * weight / elements."""
    return _backward(_sigmoid_backward, probabilities, target, weight, 0.0, out)


# --- Binary cross-entropy of probabilities --------------------------------------------------------


@inline
def _binary_loss(p, t, epsilon):
    one = splat(p, 1)
    q = clip(p, epsilon)
    return splat(p, 0) - (t * log(q) + (one - t) * log(one - q)), p


@inline
def _binary_gradient(p, t, epsilon):
    one = splat(p, 1)
    inside = (p >= epsilon) & (p <= one - epsilon)
    return select(inside, (p - t) / (p * (one - p)), splat(p, 0))


_binary_forward, _binary_backward = _kernels(_binary_loss, _binary_gradient)


def binary_cross_entropy_forward(
    p: Array, target: Array, epsilon: float, out: Array | None = None
) -> Array:
    """p, target (N, ...) -> losses (N,); p is clipped to [epsilon, 1 - epsilon]."""
    losses = result(out, p.shape[:1], p.dtype)
    return _forward(_binary_forward, MIN_EXPS, p, target, epsilon, losses, p)


def binary_cross_entropy_backward(
    p: Array, target: Array, weight: Array, epsilon: float, out: Array | None = None
) -> Array:
    """p, target (N, ...), weight (N,) -> dp (N, ...); 0 where p was clipped."""
    return _backward(_binary_backward, p, target, weight, epsilon, out)


# --- Mean squared error ---------------------------------------------------------------------------


@inline
def _squared_error(x, t, epsilon):
    return (x - t) * (x - t), x


_squared_forward, _squared_backward = _kernels(_squared_error, _difference, factor=2.0)


def mean_squared_error_forward(x: Array, target: Array, out: Array | None = None) -> Array:
    """x, target (N, ...) -> losses (N,)."""
    losses = result(out, x.shape[:1], x.dtype)
    return _forward(_squared_forward, MIN_WORK, x, target, 0.0, losses, x)


def mean_squared_error_backward(
    x: Array, target: Array, weight: Array, out: Array | None = None
) -> Array:
    """x, target (N, ...), weight (N,) -> dx (N, ...) = 2 * (x - t) * weight / elements."""
    return _backward(_squared_backward, x, target, weight, 0.0, out)


# --- Mean absolute error --------------------------------------------------------------------------


@inline
def _absolute_error(x, t, epsilon):
    d = x - t
    return select(d < splat(x, 0), -d, d), x


@inline
def _sign(x, t, epsilon):
    one = splat(x, 1)
    return select(x > t, one, select(x < t, -one, x - t))


_absolute_forward, _absolute_backward = _kernels(_absolute_error, _sign)


def mean_absolute_error_forward(x: Array, target: Array, out: Array | None = None) -> Array:
    """x, target (N, ...) -> losses (N,)."""
    losses = result(out, x.shape[:1], x.dtype)
    return _forward(_absolute_forward, MIN_WORK, x, target, 0.0, losses, x)


def mean_absolute_error_backward(
    x: Array, target: Array, weight: Array, out: Array | None = None
) -> Array:
    """x, target (N, ...), weight (N,) -> dx (N, ...) = sign(x - t) * weight / elements."""
    return _backward(_absolute_backward, x, target, weight, 0.0, out)
