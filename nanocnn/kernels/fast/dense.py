"""Dense layers: three matrix products, with the bias and a ReLU fused into the first.

`matmul` takes a transposed operand by its strides, without a copy. The ReLU's backward pass is
fused into the sum over the batch that dbias is.
"""

from ...jit.compile import kernel, part_range
from ...jit.pool import run
from ...jit.scratch import scratch
from ...jit.simd import lanes, load_row, pointer, select, splat, store_row
from .gemm import COLUMNS, matmul
from .outputs import MIN_WORK, Array, check_arrays, result, results


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
    relu_output: Array | None = None,
) -> tuple[Array | None, Array, Array]:
    """dy (N,U) -> dx (N,D) or None, dweight (D,U), dbias (U,).

    relu_output (N,U): what a ReLU behind the layer returned; dy is then the gradient of that.
    """
    (N, D), U = x.shape, weight.shape[1]
    check_arrays((D, U), x.dtype, weight=weight)
    check_arrays((N, U), x.dtype, dy=dy, relu_output=relu_output)
    dx, dweight, dbias = (None, None, None) if out is None else out
    dweight, dbias = results((dweight, dbias), ((D, U), x.dtype), ((U,), x.dtype))
    y = dz = dy
    if relu_output is not None:
        y, dz = relu_output, scratch("dz", N * U, x.dtype)[: N * U].reshape(N, U)
    parts = max(min(-(-U // COLUMNS), N * U // MIN_WORK), 1)
    run(_sum_columns, parts, dy, y, relu_output is not None, dz, dbias)
    matmul(x.T, dz, dweight)
    if need_dx:
        dx = result(dx, (N, D), x.dtype)
        matmul(dz, weight.T, dx)
    return (dx if need_dx else None), dweight, dbias


@kernel
def _sum_columns(part, parts, dy, y, masked, dz, dbias):
    """dbias (U,) = the sum of the rows of dy (N,U); if `masked`, dz = dy where y > 0, of dz."""
    (N, U), py, pz, n = dy.shape, pointer(y), pointer(dz), lanes(pointer(dy))
    zero = splat(py, 0)
    first, end = part_range(part, parts, (U + COLUMNS - 1) // COLUMNS)
    for j in range(first * COLUMNS, min(end * COLUMNS, U), n):
        total = zero
        for i in range(N):
            value = load_row(pointer(dy), i * U + j, U - j)
            if masked:
                value = select(load_row(py, i * U + j, U - j) > zero, value, zero)
                store_row(pz, i * U + j, value, U - j)
            total = total + value
        store_row(pointer(dbias), j, total, U - j)
