"""Activations and dropout: one pass over memory each, and a mask that is never stored.

The loops are plain: LLVM turns them into vector instructions by itself (see compiler.places).
"""

from math import copysign, exp
from typing import Any

import numpy as np

from ...jit.compile import inline, kernel, part_range, unsigned_range
from ...jit.pool import run
from .outputs import Array, count_parts, expect, result

SLOW = 1 << 10  # items with an exponential each that are worth a hand-over
# tanh(x) = x + x^3 P(x^2)/Q(x^2) for |x| < 0.625, to 2e-16 of it
P = -0.964399179425052238628, -99.2877231001918586564, -1614.68768441708447952
Q = 112.811678491632931402, 2235.48839060100448583, 4844.06305325125486048


def _map(kernel: Any, out: Array | None, grain: int, *inputs: Array, scalars: Any = ()) -> Array:
    """Run kernel(part, parts, *inputs, y, *scalars) over flat arrays; y has the inputs' shape."""
    x = inputs[0]
    y = result(out, x.shape, x.dtype)
    for other in inputs:
        expect(x.shape, x.dtype, input=other)
    arrays = [other.reshape(-1) for other in inputs]
    run(kernel, count_parts(x.size, grain), *arrays, y.reshape(-1), *scalars)
    return y


def relu_forward(x: Array, out: Array | None = None) -> Array:
    """y = max(x, 0); NaN stays NaN."""
    return _map(_relu_forward, out, 1 << 14, x)


@kernel
def _relu_forward(part, parts, x, y):
    start, stop = part_range(part, parts, x.size)
    zero = x.dtype.type(0)
    for i in unsigned_range(start, stop):
        y[i] = zero if x[i] <= zero else x[i]


def relu_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy where y > 0, else 0."""
    return _map(_relu_backward, out, 1 << 14, dy, y)


@kernel
def _relu_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    zero = dy.dtype.type(0)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] if y[i] > zero else zero


def sigmoid_forward(x: Array, out: Array | None = None) -> Array:
    """y = 1 / (1 + exp(-x)), by the exponential of a number that is never positive."""
    return _map(_sigmoid_forward, out, SLOW, x)


@kernel
def _sigmoid_forward(part, parts, x, y):
    start, stop = part_range(part, parts, x.size)
    one = x.dtype.type(1)
    for i in unsigned_range(start, stop):
        e = exp(-abs(x[i]))
        y[i] = (one if x[i] >= 0 else e) / (one + e)


def sigmoid_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy * y * (1 - y)."""
    return _map(_sigmoid_backward, out, 1 << 14, dy, y)


@kernel
def _sigmoid_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    one = dy.dtype.type(1)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] * y[i] * (one - y[i])


def tanh_forward(x: Array, out: Array | None = None) -> Array:
    """y = tanh(x): by an exponential or, near 0, where that cancels, by a quotient of polynomials.

    Source of the quotient: S. Moshier's Cephes library, tanh.c.
    """
    return _map(_tanh_forward, out, SLOW, x)


@kernel
def _tanh_forward(part, parts, x, y):
    start, stop = part_range(part, parts, x.size)
    kind = x.dtype.type
    one, two = kind(1), kind(2)
    for i in unsigned_range(start, stop):
        a, z = abs(x[i]), x[i] * x[i]
        top = (kind(P[0]) * z + kind(P[1])) * z + kind(P[2])
        bottom = ((z + kind(Q[0])) * z + kind(Q[1])) * z + kind(Q[2])
        small, large = a + a * z * top / bottom, one - two / (exp(two * a) + one)
        value = small if a < kind(0.625) else large
        y[i] = copysign(value, x[i])


def tanh_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy * (1 - y^2)."""
    return _map(_tanh_backward, out, 1 << 14, dy, y)


@kernel
def _tanh_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    one = dy.dtype.type(1)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] * (one - y[i] * y[i])


@inline
def _mix(h):
    """lowbias32; every step is cut to 32 bits again, because numba computes whole numbers in 64."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x7FEB352D))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    h = np.uint32(h * np.uint32(0x846CA68B))
    return np.uint32(h ^ (h >> np.uint32(16)))


def dropout_forward(x: Array, rate: float, key: int, out: Array | None = None) -> Array:
    """y = x / (1 - rate) where kept, else 0; whether i is kept is a hash of (key, i) only."""
    kept = int((1 - rate) * 2**32)  # of 2**32 hashes
    if kept == 0:
        y = result(out, x.shape, x.dtype)
        y[...] = 0
        return y
    lo, hi = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    last, scale = np.uint32(kept - 1), x.dtype.type(1 / (1 - rate))
    return _map(_dropout, out, 1 << 13, x, scalars=(lo, hi, last, scale))


dropout_backward = dropout_forward


@kernel
def _dropout(part, parts, x, y, lo, hi, last, scale):
    start, stop = part_range(part, parts, x.size)
    zero = x.dtype.type(0)
    for i in unsigned_range(start, stop):
        h = _mix(np.uint32(_mix(np.uint32(np.uint32(i) ^ lo)) ^ hi))
        value = x[i] * scale
        y[i] = value if h <= last else zero
