"""Direct convolution: im2col that is never written.

What differs from the reference: each sum of K = KH*KW*C products is taken in registers, a block of
pixels x filters at a time (`conv_tiles.accumulate`), so the im2col matrix, KH*KW times as large as
the input, is neither written nor read. Bias, ReLU and 2x2 max-pool are applied to a block while it
is in the first-level cache. Only the order of the sums changes.
"""

from ..inlining import called, inlined
from ..simd import columns, convert, indices, lanes, load, pointer, rows, select, splat, store, tile
from .compiler import compiled, share
from .conv_read import clear, read_padded, read_panel
from .conv_tiles import (
    CHUNK,
    MASKED,
    NO_WINNER,
    PLAIN,
    ROWS2,
    ROWS3,
    accumulate,
    panel_width,
    pool_four,
    relu,
)  # fmt: skip
from .tails import load_row, store_row

BLOCK = CHUNK * 3 * 16  # items of the widest chunk
PIXELS = 256  # gradients that are summed up at a time: so many stay in the first-level cache


@inlined
def sum_chunk(acc, at, block, x, w, pixel, first, last, tap, K):
    """The sums of CHUNK pixels from `first` (the last one again where there are no more)."""
    for start in range(0, CHUNK, rows(acc)):
        for i in range(rows(acc)):
            at[i] = pixel[min(first + start + i, last)]
            for j in range(columns(acc)):
                acc[i, j] = splat(x, 0)
        accumulate(acc, x, at, tap, w, K)
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                store(block, ((start + i) * columns(acc) + j) * lanes(x), acc[i, j])


@called
def write_plain(block, width, bias, y, count, f, F, positive):
    """A chunk's `count` pixels to rows of y."""
    n = lanes(block)
    for j in range(width):
        left = F - f - j * n
        b = load_row(bias, f + j * n, left)
        for i in range(count):
            value = load(block, (i * width + j) * n) + b
            store_row(y, i * F + f + j * n, relu(value) if positive else value, left)


@called
def write_pooled(block, width, bias, y, codes, keep_codes, count, f, F):
    """The largest of each four pixels of a chunk, rectified, and which it was."""
    n = lanes(block)
    for j in range(width):
        left = F - f - j * n
        b = load_row(bias, f + j * n, left)
        for i in range(count // 4):
            best, code = pool_four(block + (4 * i * width + j) * n, width * n, 2 * width * n)
            best = best + b
            store_row(y, i * F + f + j * n, relu(best), left)
            if keep_codes:
                code = select(best > splat(block, 0), code, splat(block, NO_WINNER))
                store_row(codes, i * F + f + j * n, convert(code, codes), left)


@compiled
def _forward(
    part, parts, buffer, block, x, other, codes, packed, bias, y, winners, pixels, taps, window,
    strips, mode, positive, pooled, keep_codes,
):  # fmt: skip
    """This part's strips of samples: y = x (padded) * weight + bias, rectified, pooled.

    x is read as it is or, by `mode`, as a gradient that `other` masks or `codes` unpool.
    """
    C, F, K = x.shape[3], y.shape[3], taps.size
    px, pb, n = pointer(x), pointer(block), lanes(pointer(x))
    pixel, tap = pointer(pixels), pointer(taps)
    vectors, cells = (F + n - 1) // n, 2 if pooled else 1
    begin, end = share(part, parts, y.shape[0] * strips)
    for item in range(begin, end):
        sample, strip = item // strips, item % strips
        first, last = share(strip, strips, y.shape[1])
        top = cells * first * window.SH
        source = px + (sample * window.H + top) * window.W * C
        if mode > PLAIN or window.top + window.bottom + window.left + window.right > 0:
            source = pointer(buffer)
            count = (cells * (last - first) - 1) * window.SH + (window.KH - 1) * window.DH + 1
            read_padded(
                source, px, pointer(other), pointer(codes), sample, top, count, window, C, mode
            )
        start = (sample * y.shape[1] + first) * y.shape[2]
        P = (last - first) * y.shape[2] * cells * cells
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            w, b = pointer(packed) + f * K, pointer(bias)
            for p in range(0, P, CHUNK):
                if width == 3:
                    acc3, at3 = tile(ROWS3, 3, px), indices(ROWS3)
                    sum_chunk(acc3, at3, pb, source, w, pixel, p, P - 1, tap, K)
                else:
                    acc2, at2 = tile(ROWS2, 2, px), indices(ROWS2)
                    sum_chunk(acc2, at2, pb, source, w, pixel, p, P - 1, tap, K)
                count = min(CHUNK, P - p)
                if pooled:
                    to = (start + p // 4) * F
                    write_pooled(
                        pb, width, b, pointer(y) + to, pointer(winners) + to, keep_codes, count, f,
                        F,
                    )  # fmt: skip
                else:
                    to = (start + p) * F
                    write_plain(pb, width, b, pointer(y) + to, count, f, F, positive)
            done += width


@inlined
def gradient_panel(acc, at, x, dy, dw, tap, K, pixel, P):
    """dw (K, width) += the outer products of P windows of x and P rows of a panel of dy."""
    width = columns(acc) * lanes(x)
    for p in range(0, P, PIXELS):
        for k in range(0, K, rows(acc)):
            for i in range(rows(acc)):
                at[i] = tap[min(k + i, K - 1)]
                for j in range(columns(acc)):
                    acc[i, j] = splat(x, 0)
            accumulate(acc, x, at, pixel + p, dy + p * width, min(PIXELS, P - p))
            for i in range(rows(acc)):
                if k + i < K:
                    for j in range(columns(acc)):
                        place = (k + i) * width + j * lanes(x)
                        store(dw, place, load(dw, place) + acc[i, j])


@called
def add_rows(total, panel, width, P):
    """total (width) += the sum of the P rows of a panel."""
    for j in range(0, width, lanes(panel)):
        value = splat(panel, 0)
        for p in range(P):
            value = value + load(panel, p * width + j)
        store(total, j, load(total, j) + value)


@compiled
def _weight_gradient(
    part, parts, buffer, panel, x, dy, other, codes, dweights, dbiases, pixels, taps, window, mode
):
    """This part's samples: dweights[part] in panels (K, width), dbiases[part]."""
    C, F, K = x.shape[3], dy.shape[3], taps.size
    px, n = pointer(x), lanes(pointer(x))
    vectors, R = (F + n - 1) // n, dy.shape[1] * dy.shape[2]
    pixel, tap, pd = pointer(pixels), pointer(taps), pointer(panel)
    size = dbiases.size // parts
    dw, db = pointer(dweights) + part * K * size, pointer(dbiases) + part * size
    clear(dw, K * size)
    clear(db, size)
    begin, end = share(part, parts, x.shape[0])
    for sample in range(begin, end):
        source = px + sample * window.H * window.W * C
        if window.top + window.bottom + window.left + window.right > 0:
            source = pointer(buffer)
            count = window.H + window.top + window.bottom
            read_padded(source, px, px, pointer(codes), sample, 0, count, window, C, PLAIN)
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            read_panel(
                pd, pointer(dy), pointer(other), pointer(codes), sample * R, R, F, f, width * n,
                mode,
            )  # fmt: skip
            P = R if mode <= MASKED else 4 * R
            add_rows(db + f, pd, width * n, P)
            if width == 3:
                acc3, at3 = tile(ROWS3, 3, px), indices(ROWS3)
                gradient_panel(acc3, at3, source, pd, dw + f * K, tap, K, pixel, P)
            else:
                acc2, at2 = tile(ROWS2, 2, px), indices(ROWS2)
                gradient_panel(acc2, at2, source, pd, dw + f * K, tap, K, pixel, P)
            done += width
