"""How a kernel reads a sample: padded rows for `accumulate`, gradients in panels.

A gradient is read in one of three ways, so that the layers behind a convolution cost no pass of
their own: as it is (PLAIN), zero where the ReLU's output was not positive (MASKED), or spread by
the winners of a 2x2 max-pool to where they were (UNPOOLED).
"""

from ..inlining import inlined
from ..simd import lanes, load, load_partial, select, splat, store
from .conv_tiles import MASKED, PLAIN


@inlined
def copy(target, source, n):
    """n items; what isn't a whole vector goes item by item."""
    whole = n - n % lanes(target)
    for i in range(0, whole, lanes(target)):
        store(target, i, load(source, i))
    for i in range(whole, n):
        target[i] = source[i]


@inlined
def clear(target, n):
    """n zeros."""
    whole = n - n % lanes(target)
    for i in range(0, whole, lanes(target)):
        store(target, i, splat(target, 0))
    for i in range(whole, n):
        target[i] = 0


@inlined
def copy_masked(target, dy, y, n):
    """dy where y > 0, else 0."""
    whole = n - n % lanes(target)
    zero = splat(target, 0)
    for i in range(0, whole, lanes(target)):
        store(target, i, select(load(y, i) > zero, load(dy, i), zero))
    for i in range(whole, n):
        target[i] = dy[i] if y[i] > 0 else 0


@inlined
def unpool(target, dy, codes, code, n):
    """dy where the winner's code is `code`, else 0."""
    whole = n - n % lanes(target)
    zero = splat(target, 0)
    for i in range(0, whole, lanes(target)):
        found = load(codes, i, zero)
        store(target, i, select(found == splat(found, code), load(dy, i), zero))
    for i in range(whole, n):
        target[i] = dy[i] if codes[i] == code else 0


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


@inlined
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


@inlined
def read_panel(target, dy, other, codes, first, P, F, f, width, mode):
    """`width` (whole vectors) filters from f of P gradients: (P, width), or (4*P, width) unpooled.

    Past filter F the panel is zero. Unpooled pixels come window by window, as in `pixel_table`.
    """
    n, zero, q = lanes(target), splat(target, 0), 0
    for p in range(P):
        for j in range(0, width, n):
            at, left = (first + p) * F + f + j, F - f - j
            if left >= n:
                value = load(dy, at)
                if mode == MASKED:
                    value = select(load(other, at) > zero, value, zero)
            else:
                value = load_partial(dy, at, left)
                if mode == MASKED:
                    value = select(load_partial(other, at, left) > zero, value, zero)
            if mode <= MASKED:
                store(target, p * width + j, value)
            elif left >= n:
                found = load(codes, at, zero)
                for q in range(4):
                    kept = select(found == splat(found, q), value, zero)
                    store(target, (4 * p + q) * width + j, kept)
            else:
                for q in range(4):
                    store(target, (4 * p + q) * width + j, zero)
                    for i in range(left):
                        if codes[at + i] == q:
                            target[(4 * p + q) * width + j + i] = dy[at + i]
