"""Softmax and cross-entropy, row by row; sums over the classes are in float64."""

import numpy as np

from ...jit.compile import kernel, part_range
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.simd import fma, lanes, load_row, maximum, pointer, select, splat, store_row, total
from ...jit.simd_lanes import head, highest, widen
from .exponential import exp
from .logarithm import log, log_of_number
from .outputs import MIN_EXPS, Array, as_matrix, check_arrays, count_parts, result, results
from .rows import WIDTH, clip, load_wide, row_total, store_wide, zeros


@inline
def _softmax_row(x, y, K):
    """y = softmax(x), for pointers to K numbers; returns max(x) and sum(exp(x - max))."""
    zero = zeros(x)
    lowest = splat(zero, -np.inf)
    top = lowest
    for k in range(0, K, WIDTH):
        top = maximum(head(load_wide(x, k, K - k), K - k, lowest), top)
    largest = highest(top)
    acc = widen(zero)
    for k in range(0, K, WIDTH):
        e = exp(load_wide(x, k, K - k) - splat(zero, largest))  # at most 1: no overflow
        store_wide(y, k, e, K - k)
        acc = acc + widen(head(e, K - k, zero))
    whole = total(acc)
    for k in range(0, K, lanes(y)):
        store_row(y, k, load_row(y, k, K - k) / splat(y, whole), K - k)
    return largest, whole


def softmax_forward(x: Array, out: Array | None = None) -> Array:
    """x (..., K) -> y (..., K) = exp(x) / sum(exp(x)) over the last axis."""
    y = result(out, x.shape, x.dtype)
    run(_softmax_forward, count_parts(x.size, MIN_EXPS), as_matrix(x), as_matrix(y))
    return y


@kernel
def _softmax_forward(part, parts, x, y):
    start, stop = part_range(part, parts, len(x))
    K = x.shape[1]
    for n in range(start, stop):
        _softmax_row(pointer(x) + n * K, pointer(y) + n * K, K)


def softmax_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dy, y (..., K) -> dx (..., K) = y * (dy - sum(dy * y)) over the last axis."""
    check_arrays(dy.shape, dy.dtype, y=y)
    dx = result(out, dy.shape, dy.dtype)
    run(_softmax_backward, count_parts(y.size), as_matrix(dy), as_matrix(y), as_matrix(dx))
    return dx


@kernel
def _softmax_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, len(y))
    K = y.shape[1]
    for n in range(start, stop):
        pdy, py, to = pointer(dy) + n * K, pointer(y) + n * K, pointer(dx) + n * K
        acc = widen(zeros(py))
        for k in range(0, K, WIDTH):
            acc = acc + widen(load_wide(pdy, k, K - k) * load_wide(py, k, K - k))
        mean = splat(py, total(acc))
        for k in range(0, K, lanes(py)):
            d, p = load_row(pdy, k, K - k), load_row(py, k, K - k)
            store_row(to, k, p * (d - mean), K - k)


def softmax_cross_entropy_forward(
    logits: Array, target: Array, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """logits, target (N,K) -> losses (N,), probabilities (N,K)."""
    N, K = logits.shape
    check_arrays((N, K), logits.dtype, target=target)
    losses, y = results(out, ((N,), logits.dtype), ((N, K), logits.dtype))
    arrays = as_matrix(logits), as_matrix(target)
    run(_cross_entropy_forward, count_parts(logits.size, MIN_EXPS), *arrays, losses, y)
    return losses, y


@kernel
def _cross_entropy_forward(part, parts, logits, target, losses, y):
    start, stop = part_range(part, parts, len(y))
    K = y.shape[1]
    for n in range(start, stop):
        px, pt = pointer(logits) + n * K, pointer(target) + n * K
        largest, whole = _softmax_row(px, pointer(y) + n * K, K)
        acc = widen(zeros(px))
        zero, shift = acc, splat(zeros(px), largest)
        constant = splat(acc, log_of_number(whole))
        for k in range(0, K, WIDTH):
            t = widen(load_wide(pt, k, K - k))
            log_p = widen(load_wide(px, k, K - k) - shift) - constant
            acc = select(t != zero, fma(zero - t, log_p, acc), acc)  # log_p may be -infinity
        losses[n] = total(acc)


def softmax_cross_entropy_backward(
    probabilities: Array, target: Array, weight: Array, out: Array | None = None
) -> Array:
    """p, target (N,K), weight (N,) -> dlogits (N,K) = (p * sum(target) - target) * weight."""
    p = probabilities
    check_arrays(p.shape, p.dtype, target=target)
    check_arrays(p.shape[:1], p.dtype, weight=weight)
    dlogits = result(out, p.shape, p.dtype)
    arrays = as_matrix(p), as_matrix(target), np.ascontiguousarray(weight)
    run(_cross_entropy_backward, count_parts(p.size), *arrays, dlogits)
    return dlogits


@kernel
def _cross_entropy_backward(part, parts, p, target, weight, dlogits):
    start, stop = part_range(part, parts, len(p))
    K = p.shape[1]
    for n in range(start, stop):
        pp, pt, to = pointer(p) + n * K, pointer(target) + n * K, pointer(dlogits) + n * K
        whole, share = splat(pp, row_total(pt, K)), splat(pp, weight[n])
        for k in range(0, K, lanes(pp)):
            d = load_row(pp, k, K - k) * whole - load_row(pt, k, K - k)
            store_row(to, k, d * share, K - k)


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
    K = q.shape[1]
    for n in range(start, stop):
        pq, pt = pointer(q) + n * K, pointer(target) + n * K
        zero = zeros(pq)
        whole, acc = splat(zero, row_total(pq, K)), widen(zero)
        for k in range(0, K, WIDTH):
            p = clip(load_wide(pq, k, K - k) / whole, splat(zero, epsilon))
            acc = acc - widen(load_wide(pt, k, K - k) * log(p))
        losses[n] = total(acc)


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
    K = q.shape[1]
    for n in range(start, stop):
        pq, pt, to = pointer(q) + n * K, pointer(target) + n * K, pointer(dq) + n * K
        zero = zeros(pq)
        whole, share, acc = splat(zero, row_total(pq, K)), splat(zero, weight[n]), widen(zero)
        low = splat(zero, epsilon)
        high = splat(zero, 1) - low
        for k in range(0, K, WIDTH):
            p, t = load_wide(pq, k, K - k) / whole, load_wide(pt, k, K - k)
            g = select((p >= low) & (p <= high), (zero - t) / p * share, zero)
            acc = acc + widen(g * p)
            store_wide(to, k, g, K - k)
        mean = splat(zero, total(acc))
        for k in range(0, K, WIDTH):
            store_wide(to, k, (load_wide(to, k, K - k) - mean) / whole, K - k)
