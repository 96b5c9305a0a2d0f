"""How a kernel reads a sample: padded rows for `accumulate`, gradients in panels.

A gradient is read in one of three ways, so that the layers behind a convolution cost no pass of
their own: as it is (PLAIN), zero where the ReLU's output was not positive (MASKED), or spread by
the winners of a 2x2 max-pool to where they were (UNPOOLED).
"""

from ..inlining import called, inlined
from ..simd import lanes, load, load_partial, select, splat, store
from .conv_tiles import MASKED, PLAIN, UNPOOLED
from .tails import load_row, store_row


@called
def copy(target, source, n):
    """n items."""
    for i in range(0, n, lanes(target)):
        store_row(target, i, load_row(source, i, n - i), n - i)


@called
def clear(target, n):
    """n zeros."""
    for i in range(0, n, lanes(target)):
        store_row(target, i, splat(target, 0), n - i)


@called
def copy_masked(target, dy, y, n):
    """dy where y > 0, else 0."""
    zero = splat(target, 0)
    for i in range(0, n, lanes(target)):
        kept = select(load_row(y, i, n - i) > zero, load_row(dy, i, n - i), zero)
        store_row(target, i, kept, n - i)


@inlined
def codes_row(codes, i, count, like):
    """The codes at i, as many as the vector `like` has lanes, of which only `count` may be read."""
    return load(codes, i, like) if count >= lanes(like) else load_partial(codes, i, count, like)


@called
def unpool(target, dy, codes, code, n):
    """dy where the winner's code is `code`, else 0."""
    zero = splat(target, 0)
    for i in range(0, n, lanes(target)):
        found = codes_row(codes, i, n - i, zero)
        kept = select(found == splat(found, code), load_row(dy, i, n - i), zero)
        store_row(target, i, kept, n - i)


@inlined
def read_row(target, x, other, codes, n, h, window, C, mode):
    """Row h of sample n of the (unpadded) image: W*C items."""
    H, W = window.H, window.W
    if mode == PLAIN:
        copy(target, x + (n * H + h) * W * C, W * C)
    elif mode == MASKED:
        copy_masked(target, x + (n * H + h) * W * C, other + (n * H + h) * W * C, W * C)
    elif h >= H - H % 2:
        clear(target, W * C)
    else:
        PW = W // 2
        start = (n * (H // 2) + h // 2) * PW * C
        for w in range(2 * PW):
            at, code = start + (w // 2) * C, 2 * (h % 2) + w % 2
            unpool(target + w * C, x + at, codes + at, code, C)
        clear(target + 2 * PW * C, (W - 2 * PW) * C)


@called
def read_padded(target, x, other, codes, n, first, count, window, C, mode):
    """`count` rows from row `first` of the padded sample n, the padding zero."""
    pitch = (window.W + window.left + window.right) * C
    for i in range(count):
        row = target + i * pitch
        h = first + i - window.top
        if 0 <= h < window.H:
            clear(row, window.left * C)
            read_row(row + window.left * C, x, other, codes, n, h, window, C, mode)
            clear(row + (window.left + window.W) * C, window.right * C)
        else:
            clear(row, pitch)


@called
def read_panel(target, dy, other, codes, first, P, F, f, width, mode):
    """`width` (whole vectors) filters from f of P gradients: (P, width), or (4*P, width) unpooled.

    Past filter F the panel is zero. Unpooled pixels come window by window, as in `pixel_table`.
    """
    zero = splat(target, 0)
    for p in range(P):
        for j in range(0, width, lanes(target)):
            at, left = (first + p) * F + f + j, F - f - j
            value = load_row(dy, at, left)
            if mode == MASKED:
                value = select(load_row(other, at, left) > zero, value, zero)
            if mode != UNPOOLED:
                store(target, p * width + j, value)
            else:
                found = codes_row(codes, at, max(left, 0), zero)
                for q in range(4):
                    kept = select(found == splat(found, q), value, zero)
                    store(target, (4 * p + q) * width + j, kept)
