"""Fast convolution: the public functions, the choice of an algorithm, and a map of this folder.

The idea. im2col turns a convolution into three matrix products: row p of the matrix is the window
of output pixel p, column k is the weight k = (kh, kw, c). But the matrix is KH*KW times as large as
x, and each of its entries is found at the sum of two offsets into one (padded) sample:

    im2col[p, k] = x[pixel[p] + tap[k]]

    a 3x3 kernel on 4x4 pixels:   pixel = 0 1      the first item of each of the four windows
                                          4 5
                                  tap   = 0 1  2   the nine items of a window, from its first
                                          4 5  6
                                          8 9 10

So the kernels read x through two small tables, and the matrix is never written. Strides, dilations
and channels only change the numbers in the tables. A layer has three products:

    product                                                         function
    y[p, f]       = sum over k of im2col[p, k] * weight[k, f]       correlate
    dweight[k, f] = sum over p of im2col[p, k] * dy[p, f]           weight_gradient
    dx            = y of the padded dy and the transposed kernel    correlate(transposed=True)

Six algorithms compute them; `choose` picks the fastest one for a shape:

    algorithm  what it does                                           file
    direct     sums in registers, by the tables; dx for strides 1     direct.py
    winograd   3x3 and 5x5 kernels of strides 1, fewer multiplies     winograd.py
    planar     lanes along pixels, for few filters or channels        planar.py, planar_dweight.py
    sparse     dweight if ReLU and 2x2 max-pool follow; skips zeros   sparse_dweight.py
    scatter    dx if ReLU and 2x2 max-pool follow; skips zeros        scatter.py
    im2col     any shape: writes the matrix, then multiplies it       im2col.py

What a register's lanes run along differs: filters (direct, winograd, im2col), neighbouring pixels
(planar), or the KW*C items of a row of a window (sparse, scatter). Few of one are many of another.

Two named tuples tell a kernel what to read and what to do with a sum, so that ReLU and pooling need
no pass of their own, neither forward nor backward:

    tuple      what it describes                                      file
    Source     x as it is, masked by a ReLU, or unpooled by argmax    source.py
    Epilogue   sum + bias, then ReLU, then 2x2 max-pool               epilogue.py

From a call to the multiply-add are four hops:

    conv2d_forward   checks the arguments and chooses an algorithm    conv2d.py
    -> correlate     makes the tables, packs the weights              direct.py
    -> run           gives each thread its parts and work memory      jit/scratch.py
    -> _correlate    the kernel: loops over samples and panels        direct.py
    -> sum_products  the inner loop                                   microkernel.py

Reading order: microkernel.py; direct.py; source.py and epilogue.py, which it calls; pack.py, with
the tables and packed weights. Each of the other algorithms can be skipped; planes.py belongs to
planar, window_rows.py to sparse and scatter, winograd_transform.py and weights.py to winograd.
kernels/fast/README.md measures what each step gains.

All algorithms agree with `reference` up to rounding: the order of the sums differs, and Winograd's
transforms round as well. In float32 the error is usually 1e-7 to 1e-6 of the largest value, and
1e-6 to 1e-5 for Winograd; the tests allow 1e-5 and 1e-4. Each algorithm by itself gives the same
bits for any width and number of registers.
"""

from typing import Any, NamedTuple

import numpy as np

from ....common.errors import unknown
from ...geometry import Window
from ..outputs import Array, check_dtype, result
from . import direct, im2col, planar, scatter, sparse_dweight, winograd
from .epilogue import epilogue_of, pooling_epilogue
from .pack import transposed_window
from .source import Source, source_of

MODULES: dict[str, Any] = {
    "direct": direct, "im2col": im2col, "sparse": sparse_dweight, "winograd": winograd,
    "planar": planar, "scatter": scatter,
}  # fmt: skip
ALGORITHMS = tuple(MODULES)
BACKWARD = ("dweight", "dx")  # the products of a backward pass, named as in `Choice`
Gradients = tuple[Array | None, Array, Array]


class Choice(NamedTuple):
    """The algorithm for each of the three products of a layer."""

    forward: str
    dweight: str
    dx: str


def choose(
    window: Window,
    C: int,
    F: int,
    pooled: bool = False,
    algorithm: str | None = None,
    products: tuple[str, ...] = Choice._fields,
) -> Choice:
    """The fastest algorithms for a layer with C input channels and F filters.

    Neither the number of samples nor the processor plays a part, so a sample's bits are the same in
    any batch and everywhere.

    pooled     whether ReLU and a 2x2 max-pool are fused with the convolution
    algorithm  use this one for every product that it supports
    products   those that will be computed, by the names of `Choice`'s fields

    Raises ValueError for an algorithm that is unknown or computes none of these `products`.
    """
    if algorithm is not None:
        return _forced(algorithm, window, pooled, products)
    if not _transposable(window):
        return Choice("direct", "direct", "im2col")
    forward = dweight = dx = "direct"
    transposed = transposed_window(window)
    if pooled and planar.is_faster(window, C, F):
        forward = dweight = "planar"
    elif winograd.is_faster(window, C, F):
        forward = "winograd"
    if pooled and dweight == "direct" and sparse_dweight.is_faster(window, C):
        dweight = "sparse"
    if winograd.is_faster(transposed, F, C):
        dx = "winograd"
    elif pooled and scatter.is_faster(window):
        dx = "scatter"
    elif planar.is_faster(transposed, F, C):
        dx = "planar"
    return Choice(forward, dweight, dx)


def _forced(algorithm: str, window: Window, pooled: bool, products: tuple[str, ...]) -> Choice:
    """`algorithm` for each product that it supports, direct for the others."""
    if algorithm not in ALGORITHMS:
        raise unknown("convolution algorithm", algorithm, ALGORITHMS)
    dx = "dx" in products
    able = {name: set(products) & _supported(name, window, pooled, dx) for name in ALGORITHMS}
    if not able[algorithm]:
        stage = "a convolution with ReLU and 2x2 pool" if pooled else "a convolution"
        raise ValueError(
            f"algorithm={algorithm!r} cannot compute {' or '.join(products)} of {stage}, kernel "
            f"{window.KH}x{window.KW}, strides {window.SH}x{window.SW}, dilation {window.DH}x"
            f"{window.DW}; {', '.join(name for name in able if able[name])} can"
        )
    return Choice(*(algorithm if p in able[algorithm] else "direct" for p in Choice._fields))


def _supported(algorithm: str, window: Window, pooled: bool, dx: bool) -> set[str]:
    """The products that an algorithm can compute. dx: whether dx is among the products needed."""
    transposable = _transposable(window)
    if algorithm == "im2col":
        return set() if pooled else {"forward", "dweight", "dx"}
    if algorithm == "winograd":
        return {"forward", "dx"} if transposable and winograd.supports(window) else set()
    if algorithm == "sparse":
        return {"dweight"} if pooled and sparse_dweight.supports(window) else set()
    if algorithm == "scatter":
        return {"dx"} if pooled and scatter.supports(window) else set()
    if algorithm == "planar":
        found = {"forward": True, "dweight": pooled, "dx": transposable}
        return {product for product, able in found.items() if able and planar.supports(window)}
    if transposable:
        return {"forward", "dweight", "dx"}
    return {"forward"} if dx else {"forward", "dweight"}  # im2col computes dx


def _transposable(window: Window) -> bool:
    """Whether dx is itself a convolution, of the padded dy and the transposed kernel."""
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
    """x (N,H,W,C), weight (KH,KW,C,F), bias (F,) or None -> y (N,OH,OW,F); `relu`: max(y, 0)."""
    *_, C, F = weight.shape
    check_dtype(x.dtype, weight=weight, bias=bias)
    y = result(out, (len(x), window.OH, window.OW, F), x.dtype)
    chosen = choose(window, C, F, False, algorithm, ("forward",)).forward
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

    relu_output  (N,OH,OW,F), what conv2d_forward returned with `relu`: dy is then its gradient
    """
    *_, C, F = weight.shape
    check_dtype(x.dtype, dy=dy, weight=weight, relu_output=relu_output)
    chosen = choose(window, C, F, False, algorithm, BACKWARD if need_dx else BACKWARD[:1])
    gradients = _outputs(out, x, weight, need_dx)
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
    """max_pool_forward(relu_forward(conv2d_forward(x))) in one pass, for 2x2 pools of strides 2.

    x (N,H,W,C) -> y (N,OH//2,OW//2,F), argmax of the same shape in uint8, or None unless
    `want_argmax`: as in max_pool_forward, but 4 where no sum was positive.
    """
    *_, C, F = weight.shape
    check_dtype(x.dtype, weight=weight, bias=bias)
    _check_pool(window, pool_window)
    y_out, argmax_out = out or (None, None)
    shape = (len(x), window.OH // 2, window.OW // 2, F)
    y = result(y_out, shape, x.dtype)
    argmax = result(argmax_out, shape, np.uint8) if want_argmax else None
    chosen = choose(window, C, F, True, algorithm, ("forward",)).forward
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
    """dy, argmax (N,OH//2,OW//2,F) -> dx (N,H,W,C) or None, dweight (KH,KW,C,F), dbias (F,)."""
    *_, C, F = weight.shape
    check_dtype(x.dtype, dy=dy, weight=weight)
    _check_pool(window, pool_window)
    chosen = choose(window, C, F, True, algorithm, BACKWARD if need_dx else BACKWARD[:1])
    gradients = _outputs(out, x, weight, need_dx)
    _backward(chosen, source_of(dy, argmax=argmax), x, weight, window, gradients)
    return gradients


def _backward(
    chosen: Choice, dy: Source, x: Array, weight: Array, window: Window, gradients: Gradients
) -> None:
    dx, dweight, dbias = gradients
    MODULES[chosen.dweight].weight_gradient(dy, x, window, dweight, dbias)
    if dx is not None and chosen.dx in ("im2col", "scatter"):
        MODULES[chosen.dx].input_gradient(dy, weight, window, dx)
    elif dx is not None:
        transposed = transposed_window(window)
        MODULES[chosen.dx].correlate(dy, weight, transposed, epilogue_of(dx), transposed=True)


def _check_pool(window: Window, pool: Window) -> None:
    OH, OW = window.OH, window.OW
    expected = Window(OH, OW, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, OH // 2, OW // 2)
    if pool != expected or (window.SH, window.SW) != (1, 1):
        raise ValueError(
            f"conv2d_relu_pool: expected a convolution of strides 1 and a pool of {expected}, "
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
