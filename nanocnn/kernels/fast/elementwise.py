"""Activations and dropout: one pass over memory each, and no stored dropout mask.

LLVM vectorizes these plain loops by itself (see `unsigned_range` in jit/compile.py).
"""

from math import copysign, exp
from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.inline import inline
from ...jit.pool import run
from .outputs import MIN_EXPS, MIN_WORK, Array, check_arrays, count_parts, result

MIN_HASHES = 1 << 13  # elements of a dropout that are worth a part of their own
# tanh(x) = x + x^3 P(x^2)/Q(x^2) for |x| < 0.625, with a relative error of 2e-16
P = -0.964399179425052238628, -99.2877231001918586564, -1614.68768441708447952
Q = 112.811678491632931402, 2235.48839060100448583, 4844.06305325125486048


def _map(kernel: Any, out: Array | None, min_work: int, *inputs: Array, scalars: Any = ()) -> Array:
    """Run kernel(part, parts, *inputs, y, *scalars) over flat arrays; y has the inputs' shape."""
    x = inputs[0]
    y = result(out, x.shape, x.dtype)
    for other in inputs:
        check_arrays(x.shape, x.dtype, input=other)
    arrays = [other.reshape(-1) for other in inputs]
    run(kernel, count_parts(x.size, min_work), *arrays, y.reshape(-1), *scalars)
    return y


def relu_forward(x: Array, out: Array | None = None) -> Array:
    """y = max(x, 0); NaN stays NaN."""
    return _map(_relu_forward, out, MIN_WORK, x)


@kernel
def _relu_forward(part, parts, x, y):
    start, stop = part_range(part, parts, x.size)
    zero = x.dtype.type(0)
    for i in unsigned_range(start, stop):
        y[i] = zero if x[i] <= zero else x[i]


def relu_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy where y > 0, else 0."""
    return _map(_relu_backward, out, MIN_WORK, dy, y)


@kernel
def _relu_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    zero = dy.dtype.type(0)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] if y[i] > zero else zero


def sigmoid_forward(x: Array, out: Array | None = None) -> Array:
    """y = 1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow."""
    return _map(_sigmoid_forward, out, MIN_EXPS, x)


@kernel
def _sigmoid_forward(part, parts, x, y):
    start, stop = part_range(part, parts, x.size)
    one = x.dtype.type(1)
    for i in unsigned_range(start, stop):
        e = exp(-abs(x[i]))
        y[i] = (one if x[i] >= 0 else e) / (one + e)


def sigmoid_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy * y * (1 - y)."""
    return _map(_sigmoid_backward, out, MIN_WORK, dy, y)


@kernel
def _sigmoid_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    one = dy.dtype.type(1)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] * y[i] * (one - y[i])


def tanh_forward(x: Array, out: Array | None = None) -> Array:
    """y = tanh(x), by exp(2|x|); near 0, where that cancels, by a rational function.

    Source of the rational function: S. Moshier's Cephes library, tanh.c.
    """
    return _map(_tanh_forward, out, MIN_EXPS, x)


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
    return _map(_tanh_backward, out, MIN_WORK, dy, y)


@kernel
def _tanh_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    one = dy.dtype.type(1)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] * (one - y[i] * y[i])


@inline
def _mix(h):
    """lowbias32. Each step is truncated to 32 bits: numba promotes integers to 64 bits."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x7FEB352D))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    h = np.uint32(h * np.uint32(0x846CA68B))
    return np.uint32(h ^ (h >> np.uint32(16)))


def dropout_forward(
    x: Array, rate: float, key: int | Array, out: Array | None = None
) -> Array:
    """y = x / (1 - rate) where the mask is True, else 0; mask[i] is a hash of (key, i).

    `key`: a number, or an array (1,), uint64, that holds it. `out` may be x.
    """
    kept = int((1 - rate) * 2**32)  # hashes, of 2**32, of an element that is kept
    keys = key if isinstance(key, np.ndarray) else np.array([key], np.uint64)
    scale = x.dtype.type(1 / (1 - rate) if kept else 0)
    return _map(_dropout, out, MIN_HASHES, x, scalars=(keys, kept, scale))


dropout_backward = dropout_forward


@kernel
def _dropout(part, parts, x, y, keys, kept, scale):
    start, stop = part_range(part, parts, x.size)
    zero = x.dtype.type(0)
    lo, hi = np.uint32(keys[0] & np.uint64(0xFFFFFFFF)), np.uint32(keys[0] >> np.uint64(32))
    last, any_kept = np.uint32(kept - 1), kept > 0
    for i in unsigned_range(start, stop):
        h = _mix(np.uint32(_mix(np.uint32(np.uint32(i) ^ lo)) ^ hi))
        value = x[i] * scale
        y[i] = value if any_kept & (h <= last) else zero
