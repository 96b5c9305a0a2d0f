"""Activations and dropout: one pass over memory each, in place if need be; no stored dropout mask.

LLVM vectorizes the plain loops by itself (see `unsigned_range` in jit/compile.py).
"""

from typing import Any

import numpy as np

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.simd import fma, lanes, load_row, pointer, store_row
from .exponential import sigmoid, tanh
from .hashing import hashed
from .outputs import MIN_EXPS, MIN_WORK, Array, check_arrays, count_parts, result

MIN_HASHES = 1 << 13  # elements of a dropout that are worth a part of their own


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
    """y = 1 / (1 + exp(-x))."""
    return _map(_sigmoid_forward, out, MIN_EXPS, x)


@kernel
def _sigmoid_forward(part, parts, x, y):
    px, py = pointer(x), pointer(y)
    start, stop = part_range(part, parts, x.size)
    for i in range(start, stop, lanes(px)):
        store_row(py, i, sigmoid(load_row(px, i, stop - i)), stop - i)


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
    """y = tanh(x)."""
    return _map(_tanh_forward, out, MIN_EXPS, x)


@kernel
def _tanh_forward(part, parts, x, y):
    px, py = pointer(x), pointer(y)
    start, stop = part_range(part, parts, x.size)
    for i in range(start, stop, lanes(px)):
        store_row(py, i, tanh(load_row(px, i, stop - i)), stop - i)


def tanh_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy * (1 - y^2)."""
    return _map(_tanh_backward, out, MIN_WORK, dy, y)


@kernel
def _tanh_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    one = dy.dtype.type(1)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] * fma(-y[i], y[i], one)


def dropout_forward(x: Array, rate: float, key: int | Array, out: Array | None = None) -> Array:
    """y = x / (1 - rate) where the mask is True, else 0; mask[i] is a hash of (key, i).

    key: 0 <= key < 2**64, or uint64 (2,) with the number of x's first element; the kernel reads it.
    """
    keys = key if isinstance(key, np.ndarray) else np.array([key, 0], np.uint64)
    check_arrays((2,), np.uint64, key=keys)
    kept = int((1 - rate) * 2**32)  # hashes, of 2**32, of an element that is kept
    scalars = keys, kept, x.dtype.type(1 / (1 - rate) if kept else 0)
    if out is not x:
        return _map(_dropout, out, MIN_HASHES, x, scalars=scalars)
    run(_dropout_in_place, count_parts(x.size, MIN_HASHES), x.reshape(-1), *scalars)
    return x


dropout_backward = dropout_forward


@inline
def _drop(value, i, lo, hi, any_kept, last, scale):
    """Element i: value * scale, or 0. `last`: the largest hash of an element that is kept."""
    return value * scale if any_kept & (hashed(i, lo, hi) <= last) else type(value)(0)


@kernel
def _dropout(part, parts, x, y, key, kept, scale):
    start, stop = part_range(part, parts, x.size)
    lo, hi, last = np.uint32(key[0]), np.uint32(key[0] >> np.uint64(32)), np.uint32(kept - 1)
    first = np.uint32(key[1])
    for i in unsigned_range(start, stop):
        y[i] = _drop(x[i], np.uint32(i) + first, lo, hi, kept > 0, last, scale)


@kernel
def _dropout_in_place(part, parts, x, key, kept, scale):
    """A kernel of its own, since LLVM vectorizes `_dropout` for arrays that do not overlap only."""
    start, stop = part_range(part, parts, x.size)
    lo, hi, last = np.uint32(key[0]), np.uint32(key[0] >> np.uint64(32)), np.uint32(kept - 1)
    first = np.uint32(key[1])
    for i in unsigned_range(start, stop):
        x[i] = _drop(x[i], np.uint32(i) + first, lo, hi, kept > 0, last, scale)
