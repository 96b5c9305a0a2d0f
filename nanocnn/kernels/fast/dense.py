"""Dense layers: three matrix products, with the bias and a ReLU fused into the first.

`matmul` takes a transposed operand by its strides, without a copy.
"""

import numpy as np

from .gemm import matmul
from .outputs import Array, check_arrays, result, results


def dense_forward(
    x: Array, weight: Array, bias: Array | None, out: Array | None = None, relu: bool = False
) -> Array:
    """x (N,D), weight (D,U), bias (U,) or None -> y (N,U) = x @ weight + bias, then ReLU."""
    (N, D), U = x.shape, weight.shape[1]
    check_arrays((D, U), x.dtype, weight=weight)
    check_arrays((U,), x.dtype, bias=bias)
    y = result(out, (N, U), x.dtype)
    matmul(x, weight, y, bias, relu)
    return y


def dense_backward(
    dy: Array,
    x: Array,
    weight: Array,
    need_dx: bool = True,
    out: tuple[Array | None, Array, Array] | None = None,
) -> tuple[Array | None, Array, Array]:
    """dy (N,U) -> dx (N,D) or None, dweight (D,U), dbias (U,)."""
    (N, D), U = x.shape, weight.shape[1]
    check_arrays((D, U), x.dtype, weight=weight)
    check_arrays((N, U), x.dtype, dy=dy)
    dx, dweight, dbias = (None, None, None) if out is None else out
    dweight, dbias = results((dweight, dbias), ((D, U), x.dtype), ((U,), x.dtype))
    matmul(x.T, dy, dweight)
    np.add.reduce(dy, out=dbias)
    if need_dx:
        dx = result(dx, (N, D), x.dtype)
        matmul(dy, weight.T, dx)
    return (dx if need_dx else None), dweight, dbias
