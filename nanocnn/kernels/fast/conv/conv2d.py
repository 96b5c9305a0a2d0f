"""Convolution, fast: the public functions, the choice of the algorithm, and a map of these files.

The idea. A window of x stands at every output pixel p, and every weight k = (kh, kw, c) meets one
number of it. Written out as a matrix, im2col[p, k], a convolution is three matrix products. But the
matrix repeats each number of x KH*KW times, and where a number comes from is a sum of two offsets
into one (padded) sample:

    im2col[p, k] = x[pixel[p] + tap[k]]

    a 3x3 kernel on 4x4 pixels:   pixel = 0 1      where the four windows begin
                                          4 5
                                  tap   = 0 1  2   the nine numbers of a window, from its beginning
                                          4 5  6
                                          8 9 10

So the two tables stand for the matrix, and nothing is copied. Strides, dilations and channels are
only other numbers in them. The products of a layer, and the function that computes each:

    y[p, f]       = sum over k of im2col[p, k] * weight[k, f]       correlate
    dweight[k, f] = sum over p of im2col[p, k] * dy[p, f]           weight_gradient
    dx            = y again: of dy padded, the kernel transposed    correlate(transposed=True)

Four algorithms compute them, and `choose` knows which is the fastest for a shape:

    direct     by the tables, in registers; dx for strides of 1 only       direct.py
    winograd   fewer multiplications for 3x3 and 5x5 kernels, strides 1    winograd.py
    sparse     dweight behind ReLU and 2x2 max-pool, skipping the zeros    sparse_dweight.py
    im2col     the matrix is written, its products are BLAS's: any shape   im2col.py

A kernel is told where it reads and what to do with a sum by two named tuples, so ReLU and pool cost
no pass of their own, forward or backward:

    Source     x, as it is, masked by a ReLU, or spread by a pool's argmax   source.py
    Epilogue   y = sum + bias, rectified, the largest of four kept           epilogue.py

From here to the multiply-add are four hops: conv2d_forward -> direct.correlate -> run, which gives
each thread its parts and work memory (jit/scratch.py) -> the kernel -> sum_products
(microkernel.py).

Read microkernel.py first, the inner loop; then direct.py, the kernels around it; source.py
and epilogue.py for what they call, pack.py for the tables, packed weights and parts. The
other algorithms are each a file that can be left out. README.md has what each step brings.

All compute what `reference` computes, up to rounding: the order of the sums differs, and Winograd's
transforms round too. In float32 the tests allow 1e-5 of the largest value, and 1e-4 for Winograd;
usual are 1e-7 to 1e-6, and for Winograd 1e-6 to 1e-5.
"""

from typing import Any, NamedTuple

import numpy as np

from ....common.errors import unknown
from ...geometry import Window
from ..outputs import Array, result, same
from . import direct, im2col, sparse_dweight, winograd
from .epilogue import epilogue_of, pooling_epilogue
from .pack import transposed_window
from .source import Source, source_of

MODULES: dict[str, Any] = {  # what computes by each algorithm
    "direct": direct, "im2col": im2col, "sparse": sparse_dweight, "winograd": winograd,
}  # fmt: skip
ALGORITHMS = tuple(MODULES)
BACKWARD = ("dweight", "dx")  # the products of a backward pass, of `Choice`'s fields
Gradients = tuple[Array | None, Array, Array]


class Choice(NamedTuple):
    """The algorithm of each of a layer's three products."""

    forward: str
    dweight: str
    dx: str


def choose(
    window: Window,
    C: int,
    F: int,
    N: int,
    pooled: bool = False,
    algorithm: str | None = None,
    products: tuple[str, ...] = Choice._fields,
) -> Choice:
    """The algorithms for a layer of this shape.

    algorithm  asks for one by its name; products, of `Choice`'s fields, are those to be computed
    Raises ValueError for an algorithm that is unknown or can compute none of these `products`.
    """
    if algorithm is not None:
        return _forced(algorithm, window, pooled, products)
    if not _transposable(window):
        return Choice("direct", "direct", "im2col")
    transposed = transposed_window(window)
    faster = winograd.is_faster(window, C, F, N), winograd.is_faster(transposed, F, C, N)
    forward, dx = ("winograd" if each else "direct" for each in faster)
    sparse = pooled and sparse_dweight.is_faster(window, C)
    return Choice(forward, "sparse" if sparse else "direct", dx)


def _forced(algorithm: str, window: Window, pooled: bool, products: tuple[str, ...]) -> Choice:
    """`algorithm` for each product that it has a form of, direct for the others.

    A weight gradient has no Winograd form here, and sparse has no other product.
    """
    if algorithm not in ALGORITHMS:
        raise unknown("convolution algorithm", algorithm, ALGORITHMS)
    dx = "dx" in products
    able = {name: set(products) & _serves(name, window, pooled, dx) for name in ALGORITHMS}
    if not able[algorithm]:
        stage = "a convolution with ReLU and 2x2 pool" if pooled else "a convolution"
        raise ValueError(
            f"algorithm={algorithm!r} cannot compute {' or '.join(products)} of {stage}, kernel "
            f"{window.KH}x{window.KW}, strides {window.SH}x{window.SW}, dilation {window.DH}x"
            f"{window.DW}; {', '.join(name for name in able if able[name])} can"
        )
    return Choice(*(algorithm if p in able[algorithm] else "direct" for p in Choice._fields))


def _serves(algorithm: str, window: Window, pooled: bool, dx: bool) -> set[str]:
    """The products of a layer that an algorithm can compute; `dx`: when dx is among them."""
    dense = _transposable(window)
    if algorithm == "im2col":
        return set() if pooled else {"forward", "dweight", "dx"}
    if algorithm == "winograd":
        return {"forward", "dx"} if dense and winograd.supports(window) else set()
    if algorithm == "sparse":
        return {"dweight"} if pooled and sparse_dweight.supports(window) else set()
    # What only im2col can transpose, it does together with the weight gradient.
    return {"forward", "dweight", "dx"} if dense else {"forward"} if dx else {"forward", "dweight"}


def _transposable(window: Window) -> bool:
    """Whether the input gradient is a convolution itself, of dy with the transposed kernel."""
    return (window.SH, window.SW) == (1, 1) and min(transposed_window(window)[8:12]) >= 0


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    out: Array | None = None,
    relu: bool = False,
    algorithm: str | None = None,
) -> Array:
    """x (N,H,W,C), weight (KH,KW,C,F), bias (F,) or None -> y (N,OH,OW,F), rectified if `relu`."""
    *_, C, F = weight.shape
    same(x.dtype, weight=weight, bias=bias)
    y = result(out, (len(x), window.OH, window.OW, F), x.dtype)
    chosen = choose(window, C, F, len(x), False, algorithm, ("forward",)).forward
    if chosen == "im2col":
        im2col.forward(x, weight, bias, window, y, relu)
    else:
        MODULES[chosen].correlate(source_of(x), weight, window, epilogue_of(y, bias, relu))
    return y


def conv2d_backward(
    dy: Array,
    x: Array,
    weight: Array,
    window: Window,
    need_dx: bool = True,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
    algorithm: str | None = None,
    relu_output: Array | None = None,
) -> Gradients:
    """dy (N,OH,OW,F) -> dx (N,H,W,C) or None, dweight (KH,KW,C,F), dbias (F,).

    With `relu_output`, the result of the forward with `relu`, dy is the gradient of that result.
    """
    *_, C, F = weight.shape
    same(x.dtype, dy=dy, weight=weight, relu_output=relu_output)
    chosen = choose(window, C, F, len(x), False, algorithm, BACKWARD if need_dx else BACKWARD[:1])
    gradients = _outputs(out, x, weight, need_dx)
    if "im2col" in chosen.dweight + chosen.dx * need_dx:
        if relu_output is not None:
            dy = np.where(relu_output > 0, dy, dy.dtype.type(0))
        im2col.backward(dy, x, weight, window, *gradients)
    else:
        _backward(chosen, source_of(dy, mask=relu_output), x, weight, window, gradients)
    return gradients


def conv2d_relu_pool_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    pool_window: Window,
    out: tuple[Array, Array | None] | None = None,
    want_argmax: bool = True,
    algorithm: str | None = None,
) -> tuple[Array, Array | None]:
    """max_pool_forward(relu(conv2d_forward(x))) in one pass, for 2x2 pools side by side.

    Returns y (N,OH//2,OW//2,F) and `argmax` (the same shape, uint8; None unless wanted): which of
    the four was the largest, as in max_pool_forward, or 4 where none was positive.
    """
    *_, C, F = weight.shape
    same(x.dtype, weight=weight, bias=bias)
    _check_pool(window, pool_window)
    y_out, argmax_out = out or (None, None)
    shape = (len(x), window.OH // 2, window.OW // 2, F)
    y = result(y_out, shape, x.dtype)
    argmax = result(argmax_out, shape, np.uint8) if want_argmax else None
    chosen = choose(window, C, F, len(x), True, algorithm, ("forward",)).forward
    MODULES[chosen].correlate(source_of(x), weight, window, pooling_epilogue(y, bias, argmax))
    return y, argmax


def conv2d_relu_pool_backward(
    dy: Array,
    x: Array,
    weight: Array,
    argmax: Array,
    window: Window,
    pool_window: Window,
    need_dx: bool = True,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
    algorithm: str | None = None,
) -> Gradients:
    """dy, argmax (N,OH//2,OW//2,F) -> dx (N,H,W,C) or None, dweight, dbias of the fused stage."""
    *_, C, F = weight.shape
    same(x.dtype, dy=dy, weight=weight)
    _check_pool(window, pool_window)
    chosen = choose(window, C, F, len(x), True, algorithm, BACKWARD if need_dx else BACKWARD[:1])
    gradients = _outputs(out, x, weight, need_dx)
    _backward(chosen, source_of(dy, argmax=argmax), x, weight, window, gradients)
    return gradients


def _backward(
    chosen: Choice, dy: Source, x: Array, weight: Array, window: Window, gradients: Gradients
) -> None:
    dx, dweight, dbias = gradients
    MODULES[chosen.dweight].weight_gradient(dy, x, window, dweight, dbias)
    if dx is not None:
        transposed = transposed_window(window)
        MODULES[chosen.dx].correlate(dy, weight, transposed, epilogue_of(dx), transposed=True)


def _check_pool(window: Window, pool: Window) -> None:
    OH, OW = window.OH, window.OW
    wanted = Window(OH, OW, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, OH // 2, OW // 2)
    if pool != wanted or (window.SH, window.SW) != (1, 1):
        raise ValueError(
            f"conv2d_relu_pool: expected a convolution of stride 1 and then a pool of {wanted}, "
            f"got {window} and {pool}"
        )


def _outputs(
    out: tuple[Array | None, Array | None, Array | None] | None,
    x: Array,
    weight: Array,
    need_dx: bool,
) -> tuple[Array | None, Array, Array]:
    dx, dweight, dbias = out or (None, None, None)
    return (
        result(dx, x.shape, x.dtype) if need_dx else None,
        result(dweight, weight.shape, x.dtype),
        result(dbias, weight.shape[3:], x.dtype),
    )
