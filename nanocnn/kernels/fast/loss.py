"""Softmax and cross-entropy, row by row; sums over the classes are in float64."""

from math import exp, log

import numpy as np

from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.pool import run
from .outputs import MIN_EXPS, Array, as_matrix, check_arrays, count_parts, result, results


@inline
def _softmax_row(x, y, n):
    """y[n] = softmax(x[n]) for x, y (N, K); returns max(x[n]) and log(sum(exp(x[n] - max)))."""
    K = x.shape[1]
    largest = x[n, 0]
    for k in range(1, K):
        if x[n, k] > largest:
            largest = x[n, k]
    total = 0.0
    for k in range(K):
        e = exp(x[n, k] - largest)  # at most 1: no overflow
        y[n, k] = e
        total += e
    for k in range(K):
        y[n, k] /= total
    return largest, log(total)


def softmax_forward(x: Array, out: Array | None = None) -> Array:
    """x (..., K) -> y (..., K) = exp(x) / sum(exp(x)) over the last axis."""
    y = result(out, x.shape, x.dtype)
    run(_softmax_forward, count_parts(x.size, MIN_EXPS), as_matrix(x), y.reshape(-1, x.shape[-1]))
    return y


@kernel
def _softmax_forward(part, parts, x, y):
    start, stop = part_range(part, parts, len(x))
    for n in range(start, stop):
        _softmax_row(x, y, n)


def softmax_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dy, y (..., K) -> dx (..., K) = y * (dy - sum(dy * y)) over the last axis."""
    check_arrays(dy.shape, dy.dtype, y=y)
    dx = result(out, dy.shape, dy.dtype)
    run(
        _softmax_backward,
        count_parts(y.size),
        as_matrix(dy),
        as_matrix(y),
        dx.reshape(-1, dy.shape[-1]),
    )
    return dx


@kernel
def _softmax_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, len(y))
    for n in range(start, stop):
        total = 0.0
        for k in range(y.shape[1]):
            total += dy[n, k] * y[n, k]
        for k in range(y.shape[1]):
            dx[n, k] = y[n, k] * (dy[n, k] - total)


def softmax_cross_entropy_forward(
    logits: Array, target: Array, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """logits, target (N,K) -> losses (N,), probabilities (N,K)."""
    N, K = logits.shape
    check_arrays((N, K), logits.dtype, target=target)
    losses, y = results(out, ((N,), logits.dtype), ((N, K), logits.dtype))
    run(
        _cross_entropy_forward,
        count_parts(logits.size, MIN_EXPS),
        as_matrix(logits),
        as_matrix(target),
        losses,
        y,
    )
    return losses, y


@kernel
def _cross_entropy_forward(part, parts, logits, target, losses, y):
    start, stop = part_range(part, parts, len(y))
    for n in range(start, stop):
        largest, log_total = _softmax_row(logits, y, n)
        loss = 0.0
        for k in range(y.shape[1]):
            if target[n, k] != 0:
                loss -= target[n, k] * (logits[n, k] - largest - log_total)
        losses[n] = loss


def softmax_cross_entropy_backward(
    probabilities: Array, target: Array, weight: Array, out: Array | None = None
) -> Array:
    """p, target (N,K), weight (N,) -> dlogits (N,K) = (p * sum(target) - target) * weight."""
    p = probabilities
    check_arrays(p.shape, p.dtype, target=target)
    check_arrays(p.shape[:1], p.dtype, weight=weight)
    dlogits = result(out, p.shape, p.dtype)
    run(
        _cross_entropy_backward,
        count_parts(p.size),
        as_matrix(p),
        as_matrix(target),
        np.ascontiguousarray(weight),
        dlogits,
    )
    return dlogits


@kernel
def _cross_entropy_backward(part, parts, p, target, weight, dlogits):
    start, stop = part_range(part, parts, len(p))
    for n in range(start, stop):
        total = 0.0
        for k in range(p.shape[1]):
            total += target[n, k]
        for k in range(p.shape[1]):
            dlogits[n, k] = (p[n, k] * total - target[n, k]) * weight[n]


def categorical_cross_entropy_forward(
    q: Array, target: Array, epsilon: float, out: Array | None = None
) -> Array:
    """q, target (N,K) -> losses (N,) = -sum(target * log(p)), p = q / sum(q) clipped by epsilon."""
    N, K = q.shape
    check_arrays((N, K), q.dtype, target=target)
    losses = result(out, (N,), q.dtype)
    arrays = as_matrix(q), as_matrix(target)
    run(_categorical_forward, count_parts(q.size, MIN_EXPS), *arrays, epsilon, losses)
    return losses


@kernel
def _categorical_forward(part, parts, q, target, epsilon, losses):
    start, stop = part_range(part, parts, len(q))
    one = q.dtype.type(1)
    low = q.dtype.type(epsilon)
    high = one - low
    for n in range(start, stop):
        total, loss = _sum_row(q, n), 0.0
        for k in range(q.shape[1]):
            p = q.dtype.type(q[n, k] / total)
            p = low if p < low else high if p > high else p
            loss -= target[n, k] * log(p)
        losses[n] = loss


@inline
def _sum_row(x, n):
    total = 0.0
    for k in range(x.shape[1]):
        total += x[n, k]
    return total


def categorical_cross_entropy_backward(
    q: Array, target: Array, weight: Array, epsilon: float, out: Array | None = None
) -> Array:
    """q, target (N,K), weight (N,) -> dq (N,K): -target/p without its mean over p, / sum(q)."""
    check_arrays(q.shape, q.dtype, target=target)
    check_arrays(q.shape[:1], q.dtype, weight=weight)
    dq = result(out, q.shape, q.dtype)
    arrays = as_matrix(q), as_matrix(target), np.ascontiguousarray(weight)
    run(_categorical_backward, count_parts(q.size), *arrays, epsilon, dq)
    return dq


@kernel
def _categorical_backward(part, parts, q, target, weight, epsilon, dq):
    start, stop = part_range(part, parts, len(q))
    low = q.dtype.type(epsilon)
    high = q.dtype.type(1) - low
    for n in range(start, stop):
        total, mean = _sum_row(q, n), 0.0
        for k in range(q.shape[1]):
            p = q.dtype.type(q[n, k] / total)
            g = -target[n, k] / p * weight[n] if low <= p <= high else q.dtype.type(0)
            dq[n, k] = g
            mean += g * p
        for k in range(q.shape[1]):
            dq[n, k] = (dq[n, k] - mean) / total
