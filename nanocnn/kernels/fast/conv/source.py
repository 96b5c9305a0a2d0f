"""How kernels read their input: rows of a padded sample, or panels of gradients.

A `Source` applies the backward pass of a ReLU or max-pool that follows the convolution:
    PLAIN     x as it is
    MASKED    x where the output of the ReLU was positive, else 0
    UNPOOLED  x at the maximum of each 2x2 pool, 0 at its three other cells
"""

from typing import Any, NamedTuple

import numpy as np

from ....common.arrays import Array
from ....jit.inline import inline, noinline
from ....jit.simd import (
    lanes,
    load,
    load_partial,
    load_row,
    pointer,
    select,
    splat,
    store,
    store_row,
)

PLAIN, MASKED, UNPOOLED = 0, 1, 2
NO_ARGMAX = np.zeros(1, np.uint8)  # passed to kernels that will not access it


class Source(NamedTuple):
    """What a kernel reads: arrays as its argument, pointers inside the kernel.

    x       (N,H,W,C), or (N,H//2,W//2,C) if UNPOOLED
    mask    the output of the ReLU, of the shape of x; accessed only if MASKED
    argmax  cell 0 to 3 of the 2x2 pool, one per item of x; accessed only if UNPOOLED
    """

    x: Any
    mask: Any
    argmax: Any
    mode: int


def source_of(x: Array, mask: Array | None = None, argmax: Array | None = None) -> Source:
    """A source of x: masked, unpooled, or plain if neither `mask` nor `argmax` is given."""
    if mask is not None:
        return Source(x, mask, NO_ARGMAX, MASKED)
    if argmax is not None:
        return Source(x, x, argmax.reshape(-1), UNPOOLED)
    return Source(x, x, NO_ARGMAX, PLAIN)


@inline
def source_pointers(source):
    """The source with pointers instead of arrays."""
    x, mask, argmax = pointer(source.x), pointer(source.mask), pointer(source.argmax)
    return Source(x, mask, argmax, source.mode)


@inline
def plain_source(x):
    """A PLAIN source of the pointer x."""
    return Source(x, x, x, PLAIN)


@noinline
def copy(target, source, n):
    """target (n,) = source."""
    for i in range(0, n, lanes(target)):
        store_row(target, i, load_row(source, i, n - i), n - i)


@noinline
def fill_zeros(target, n):
    """target (n,) = 0."""
    for i in range(0, n, lanes(target)):
        store_row(target, i, splat(target, 0), n - i)


@noinline
def copy_masked(target, dy, y, n):
    """target (n,) = dy where y > 0, else 0."""
    zero = splat(target, 0)
    for i in range(0, n, lanes(target)):
        masked = select(load_row(y, i, n - i) > zero, load_row(dy, i, n - i), zero)
        store_row(target, i, masked, n - i)


@inline
def argmax_row(argmax, i, count, like):
    """argmax[i:i+lanes] as a vector with the lanes of `like`; only `count` items may be read."""
    return load(argmax, i, like) if count >= lanes(like) else load_partial(argmax, i, count, like)


@noinline
def unpool(target, dy, argmax, cell, PW, C):
    """target (2*PW, C) = dy (PW, C) where argmax is `cell`, in odd pixels `cell` + 1, else 0."""
    zero = splat(target, 0)
    for w in range(2 * PW):
        x, at, wanted = target + w * C, w // 2 * C, cell + w % 2
        for i in range(0, C, lanes(target)):
            found = argmax_row(argmax, at + i, C - i, zero)
            value = load_row(dy, at + i, C - i)
            store_row(x, i, select(found == splat(found, wanted), value, zero), C - i)


@inline
def read_row(target, source, n, h, window, C):
    """target (W*C,) = row h of sample n, without padding."""
    H, W = window.H, window.W
    x, row = source.x, (n * H + h) * W * C
    if source.mode == PLAIN:
        copy(target, x + row, W * C)
    elif source.mode == MASKED:
        copy_masked(target, x + row, source.mask + row, W * C)
    elif h >= H - H % 2:
        fill_zeros(target, W * C)
    else:
        PW = W // 2
        start = (n * (H // 2) + h // 2) * PW * C
        unpool(target, x + start, source.argmax + start, 2 * (h % 2), PW, C)
        fill_zeros(target + 2 * PW * C, (W - 2 * PW) * C)


@noinline
def read_padded(target, source, n, first, count, window, C):
    """target (count, WP*C) = rows from `first` of sample n, padded with zeros."""
    pitch = (window.W + window.left + window.right) * C
    for i in range(count):
        row = target + i * pitch
        h = first + i - window.top
        if 0 <= h < window.H:
            fill_zeros(row, window.left * C)
            read_row(row + window.left * C, source, n, h, window, C)
            fill_zeros(row + (window.left + window.W) * C, window.right * C)
        else:
            fill_zeros(row, pitch)


@noinline
def read_panel(target, source, first, P, F, f, width):
    """target (P, width) = filters from f of P pixels from `first`; (4*P, width) if UNPOOLED.

    `width` is whole vectors; past filter F the panel is zero. Unpooled pixels come pool by pool, as
    in `pixel_table`.
    """
    zero = splat(target, 0)
    for p in range(P):
        for j in range(0, width, lanes(target)):
            at, left = (first + p) * F + f + j, F - f - j
            value = load_row(source.x, at, left)
            if source.mode == MASKED:
                value = select(load_row(source.mask, at, left) > zero, value, zero)
            if source.mode != UNPOOLED:
                store(target, p * width + j, value)
            else:
                found = argmax_row(source.argmax, at, max(left, 0), zero)
                for q in range(4):
                    spread = select(found == splat(found, q), value, zero)
                    store(target, (4 * p + q) * width + j, spread)
