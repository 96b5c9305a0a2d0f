"""How a kernel reads a sample: padded rows for `sum_products`, gradients in panels.

A gradient is read in one of three ways, so that the layers behind a convolution cost no pass of
their own: as it is (PLAIN), zero where the ReLU's output was not positive (MASKED), or spread by
the argmax of a 2x2 max-pool to where each maximum was (UNPOOLED).
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
NO_ARGMAX = np.zeros(1, np.uint8)  # for kernels that take an argmax and will not touch it


class Source(NamedTuple):
    """Where numbers are read: arrays for a kernel, and inside it the pointers to them.

    mask    read by MASKED only: a number of x counts where this is positive
    argmax  read by UNPOOLED only: which of a 2x2 window a number of x belongs to, of 0 to 3
    """

    x: Any
    mask: Any
    argmax: Any
    mode: int


def source_of(x: Array, mask: Array | None = None, argmax: Array | None = None) -> Source:
    """x as it is, or masked, or unpooled."""
    if mask is not None:
        return Source(x, mask, NO_ARGMAX, MASKED)
    if argmax is not None:
        return Source(x, x, argmax.reshape(-1), UNPOOLED)
    return Source(x, x, NO_ARGMAX, PLAIN)


@inline
def pointers_of(source):
    """The same source, of pointers."""
    x, mask, argmax = pointer(source.x), pointer(source.mask), pointer(source.argmax)
    return Source(x, mask, argmax, source.mode)


@inline
def plainly(x):
    """The source that reads from pointer x as it is."""
    return Source(x, x, x, PLAIN)


@noinline
def copy(target, source, n):
    """n items."""
    for i in range(0, n, lanes(target)):
        store_row(target, i, load_row(source, i, n - i), n - i)


@noinline
def clear(target, n):
    """n zeros."""
    for i in range(0, n, lanes(target)):
        store_row(target, i, splat(target, 0), n - i)


@noinline
def copy_masked(target, dy, y, n):
    """dy where y > 0, else 0."""
    zero = splat(target, 0)
    for i in range(0, n, lanes(target)):
        masked = select(load_row(y, i, n - i) > zero, load_row(dy, i, n - i), zero)
        store_row(target, i, masked, n - i)


@inline
def argmax_row(argmax, i, count, like):
    """argmax[i], ... for each lane of the vector `like`, of which only `count` may be read."""
    return load(argmax, i, like) if count >= lanes(like) else load_partial(argmax, i, count, like)


@noinline
def unpool(target, dy, argmax, cell, n):
    """dy where the argmax is `cell`, else 0."""
    zero = splat(target, 0)
    for i in range(0, n, lanes(target)):
        found = argmax_row(argmax, i, n - i, zero)
        spread = select(found == splat(found, cell), load_row(dy, i, n - i), zero)
        store_row(target, i, spread, n - i)


@inline
def read_row(target, source, n, h, window, C):
    """Row h of sample n of the (unpadded) image: W*C items."""
    H, W = window.H, window.W
    x, row = source.x, (n * H + h) * W * C
    if source.mode == PLAIN:
        copy(target, x + row, W * C)
    elif source.mode == MASKED:
        copy_masked(target, x + row, source.mask + row, W * C)
    elif h >= H - H % 2:
        clear(target, W * C)
    else:
        PW = W // 2
        start = (n * (H // 2) + h // 2) * PW * C
        for w in range(2 * PW):
            at, cell = start + (w // 2) * C, 2 * (h % 2) + w % 2
            unpool(target + w * C, x + at, source.argmax + at, cell, C)
        clear(target + 2 * PW * C, (W - 2 * PW) * C)


@noinline
def read_padded(target, source, n, first, count, window, C):
    """`count` rows from row `first` of the padded sample n, the padding zero."""
    pitch = (window.W + window.left + window.right) * C
    for i in range(count):
        row = target + i * pitch
        h = first + i - window.top
        if 0 <= h < window.H:
            clear(row, window.left * C)
            read_row(row + window.left * C, source, n, h, window, C)
            clear(row + (window.left + window.W) * C, window.right * C)
        else:
            clear(row, pitch)


@noinline
def read_panel(target, source, first, P, F, f, width):
    """`width` (whole vectors) filters from f of P gradients: (P, width), or (4*P, width) unpooled.

    Past filter F the panel is zero. Unpooled pixels come window by window, as in `pixel_table`.
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
