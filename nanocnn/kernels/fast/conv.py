"""Convolution, fast: the public functions, and the choice of the algorithm in one place.

direct     im2col that is never written; dx for strides of 1 only        conv_direct.py
winograd   fewer multiplications for 3x3 and 5x5 kernels of stride 1      conv_winograd.py
winners    the weight gradient behind ReLU and pool, skipping zeros       conv_winners.py
im2col     the matrix written, its products by BLAS: any window           conv_im2col.py

All compute what `reference` computes, up to rounding: the order of the sums differs, and Winograd's
transforms round too. In float32 the tests allow 1e-5 of the largest value, and 1e-4 for Winograd;
usual are 1e-7 to 1e-6, and for Winograd 1e-6 to 1e-5.
"""

from typing import NamedTuple

import numpy as np

from ...errors import unknown
from ..geometry import Window
from . import (
    conv_direct as direct,
    conv_im2col as im2col,
    conv_winners as winners,
    conv_winograd as winograd,
)
from .arrays import Array, result, same
from .conv_tiles import MASKED, PLAIN, UNPOOLED
from .conv_work import (
    NO_CODES,
    PARTIALS,
    SMALL,
    add_partials,
    cut,
    packed_weights,
    padded_items,
    panel_size,
    pixel_table,
    tap_table,
    transposed_window,
    unpack_sum,
)  # fmt: skip
from .work import run, scratch

ALGORITHMS = ("direct", "im2col", "winners", "winograd")
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
    pays = winograd.pays(window, C, F, N), winograd.pays(transposed_window(window), F, C, N)
    forward, dx = ("winograd" if p else "direct" for p in pays)
    sparse = pooled and winners.pays(window, C)
    return Choice(forward, "winners" if sparse else "direct", dx)


def _forced(algorithm: str, window: Window, pooled: bool, products: tuple[str, ...]) -> Choice:
    """`algorithm` for each product that it has a form of, direct for the others.

    A weight gradient has no Winograd form here, and winners have no other product.
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
        return {"forward", "dx"} if dense and winograd.fits(window) else set()
    if algorithm == "winners":
        return {"dweight"} if pooled and winners.fits(window) else set()
    # What only im2col can transpose, it does together with the weight gradient.
    return {"forward", "dweight", "dx"} if dense else {"forward"} if dx else {"forward", "dweight"}


def _transposable(window: Window) -> bool:
    """Whether the input gradient is a convolution itself, of dy with the turned kernel."""
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
        _correlate(chosen, x, weight, bias, window, y, positive=relu)
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
    dx, dweight, dbias = _outputs(out, x, weight, need_dx)
    mode, other = (PLAIN, dy) if relu_output is None else (MASKED, relu_output)
    if "im2col" in chosen.dweight + chosen.dx * need_dx:
        if relu_output is not None:
            dy = np.where(relu_output > 0, dy, dy.dtype.type(0))
        _im2col_backward(dy, x, weight, window, dx, dweight, dbias)
    else:
        _weight_gradient(dy, other, NO_CODES, x, window, mode, dweight, dbias)
        if dx is not None:
            back = transposed_window(window)
            _correlate(chosen.dx, dy, weight, None, back, dx, other, mode=mode, turned=True)
    return dx, dweight, dbias


def conv2d_relu_pool_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    pool_window: Window,
    out: tuple[Array, Array | None] | None = None,
    want_winner: bool = True,
    algorithm: str | None = None,
) -> tuple[Array, Array | None]:
    """max_pool_forward(relu(conv2d_forward(x))) in one pass, for 2x2 pools side by side.

    Returns y (N,OH//2,OW//2,F) and `winner` (the same shape, uint8; None unless wanted): which of
    the four was the largest, as in max_pool_forward, or 4 where none was positive.
    """
    *_, C, F = weight.shape
    same(x.dtype, weight=weight, bias=bias)
    _check_pool(window, pool_window)
    y_out, winner_out = out or (None, None)
    shape = (len(x), window.OH // 2, window.OW // 2, F)
    y = result(y_out, shape, x.dtype)
    winner = result(winner_out, shape, np.uint8) if want_winner else None
    chosen = choose(window, C, F, len(x), True, algorithm, ("forward",))
    codes = NO_CODES if winner is None else winner.reshape(-1)
    _correlate(
        chosen.forward, x, weight, bias, window, y, kept=codes, pooled=True, keep=want_winner
    )
    return y, winner


def conv2d_relu_pool_backward(
    dy: Array,
    x: Array,
    weight: Array,
    winner: Array,
    window: Window,
    pool_window: Window,
    need_dx: bool = True,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
    algorithm: str | None = None,
) -> Gradients:
    """dy, winner (N,OH//2,OW//2,F) -> dx (N,H,W,C) or None, dweight, dbias of the fused stage."""
    *_, C, F = weight.shape
    same(x.dtype, dy=dy, weight=weight)
    _check_pool(window, pool_window)
    codes = winner.reshape(-1)
    dx, dweight, dbias = _outputs(out, x, weight, need_dx)
    chosen = choose(window, C, F, len(x), True, algorithm, BACKWARD if need_dx else BACKWARD[:1])
    parts = _partials(len(x), window.OH * window.OW * weight.size)
    done = chosen.dweight == "winners" and winners.weight_gradient(
        dy, codes, x, window, parts, dweight, dbias
    )
    if not done:
        _weight_gradient(dy, dy, codes, x, window, UNPOOLED, dweight, dbias)
    if dx is not None:
        back = transposed_window(window)
        _correlate(chosen.dx, dy, weight, None, back, dx, codes=codes, mode=UNPOOLED, turned=True)
    return dx, dweight, dbias


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


def _correlate(
    algorithm: str,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    y: Array,
    other: Array | None = None,
    codes: Array = NO_CODES,
    kept: Array = NO_CODES,
    mode: int = PLAIN,
    turned: bool = False,
    positive: bool = False,
    pooled: bool = False,
    keep: bool = False,
) -> None:
    """Forward over all samples; with `turned` the input gradient, of a turned window."""
    C, F = x.shape[3], y.shape[3]
    other = x if other is None else other
    bias = scratch("zeros", F, x.dtype) if bias is None else bias
    if algorithm == "winograd":
        packed = winograd.transformed_weights(weight, turned)
        if winograd.correlate(
            x, other, codes, packed, bias, y, kept, window, mode, positive, pooled, keep
        ):
            return
    pixels, taps = pixel_table(window, C, pooled), tap_table(window, C)
    parts, strips = cut(len(y), y.shape[1], len(pixels) * len(taps) * F)
    run(
        direct._forward, parts, {"padded": padded_items(window, C), "block": direct.BLOCK},
        x, other, codes, packed_weights(weight, turned), bias, y, kept, pixels, taps, window,
        strips, mode, positive, pooled, keep,
    )  # fmt: skip


def _weight_gradient(
    dy: Array,
    other: Array,
    codes: Array,
    x: Array,
    window: Window,
    mode: int,
    dweight: Array,
    dbias: Array,
) -> None:
    """The direct kernel for dweight and dbias: sums over parts of the batch, then their sum."""
    C, F = dweight.shape[2:]
    pixels, taps = pixel_table(window, C, mode == UNPOOLED), tap_table(window, C)
    K, size = len(taps), panel_size(F, x.dtype)
    parts = _partials(len(x), len(pixels) * K * F)
    dweights = scratch("dweights", parts * K * size, x.dtype)
    dbiases = scratch("dbiases", parts * size, x.dtype)[: parts * size]
    buffers = {"padded": padded_items(window, C), "panel": len(pixels) * 48}
    run(
        direct._weight_gradient, parts, buffers, x, dy, other, codes, dweights, dbiases, pixels,
        taps, window, mode,
    )  # fmt: skip
    unpack_sum(dweights, parts, dweight.reshape(K, F))
    add_partials(dbiases.reshape(parts, size)[:, :F], dbias)


def _partials(N: int, work: float) -> int:
    return 1 if N * work < SMALL else min(N, PARTIALS)


def _im2col_backward(
    dy: Array, x: Array, weight: Array, window: Window, dx: Array | None, dweight: Array,
    dbias: Array,
) -> None:  # fmt: skip
    F = weight.shape[3]
    K = weight.size // F
    parts = _partials(len(x), window.OH * window.OW * weight.size)
    partial = scratch("dweights", parts * (K + 1) * F, x.dtype)[: parts * (K + 1) * F]
    partial = partial.reshape(parts, K + 1, F)
    im2col.backward(dy, x, weight, window, dx, partial)
    total = partial.sum(axis=0)
    dweight[...], dbias[...] = total[:K].reshape(weight.shape), total[K]
