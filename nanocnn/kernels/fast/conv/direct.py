"""Direct convolution: the im2col product without the matrix.

What differs from the reference: the sums of K = KH*KW*C products are computed in registers, a tile
of pixels x filters at a time (`microkernel.sum_products`), so that the im2col matrix, KH*KW times
as large as the input, is neither written nor read. Bias, ReLU and 2x2 max-pool are applied to sums
that are still in the first-level cache. Only the order of the sums changes.
"""

from ....jit.compile import kernel, part_range
from ....jit.inline import noinline
from ....jit.scratch import run, scratch
from ....jit.simd import lanes, load, load_row, pointer, splat, store, tile
from ...geometry import Window
from ..outputs import Array
from .epilogue import Epilogue, epilogue_pointers, write, write_pooled
from .microkernel import (
    CHUNK,
    ROWS1,
    TAPS2,
    TAPS3,
    multiply_panel,
    panel_width,
    sum_products,
)
from .pack import (
    count_partials,
    packed_weights,
    padded_size,
    panel_size,
    pixel_table,
    split_work,
    sum_partials,
    tap_table,
)
from .source import (
    PLAIN,
    UNPOOLED,
    Source,
    copy,
    fill_zeros,
    plain_source,
    read_padded,
    read_panel,
    source_pointers,
)

BLOCK = CHUNK * 3 * 16  # sums of a chunk of pixels and the widest panel
PIXELS = 256  # rows of a panel per call of the microkernel: they stay in the first-level cache


def correlate(
    source: Source, weight: Array, window: Window, epilogue: Epilogue, transposed: bool = False
) -> None:
    """epilogue.y = the convolution of source.x (N,H,W,C), padded, with weight (KH,KW,C,F).

    `transposed`: dx from dy; weight is then transposed and `window` a `transposed_window`.
    """
    C, (N, rows, _, F) = source.x.shape[3], epilogue.y.shape
    tables = pixel_table(window, C, epilogue.pool), tap_table(window, C)
    parts, strips = split_work(N, rows, len(tables[0]) * len(tables[1]) * F)
    packed = packed_weights(weight, transposed)
    buffers = {"padded": padded_size(window, C), "block": BLOCK}
    run(_correlate, parts, buffers, source, packed, epilogue, tables, window, strips)


@kernel
def _correlate(part, parts, buffers, source, weight, epilogue, tables, window, strips):
    """Convolve this part's strips of samples; weight is in panels (K, width)."""
    source, epilogue, window = Source(*source), Epilogue(*epilogue), Window(*window)
    (N, rows, columns, F), C, cells = epilogue.y.shape, source.x.shape[3], 1 + epilogue.pool
    (padded, block), read, out = buffers, source_pointers(source), epilogue_pointers(epilogue)
    pixel, tap, K = pointer(tables[0]), pointer(tables[1]), tables[1].size
    pb, n = pointer(block), lanes(read.x)
    vectors = (F + n - 1) // n
    begin, end = part_range(part, parts, N * strips)
    for item in range(begin, end):
        sample, strip = item // strips, item % strips
        first, last = part_range(strip, strips, rows)
        top = cells * first * window.SH
        x = read.x + (sample * window.H + top) * window.W * C
        if read.mode > PLAIN or window.top + window.bottom + window.left + window.right > 0:
            x = pointer(padded)
            count = (cells * (last - first) - 1) * window.SH + (window.KH - 1) * window.DH + 1
            read_padded(x, read, sample, top, count, window, C)
        start = (sample * rows + first) * columns
        P = (last - first) * columns * cells * cells
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            w = pointer(weight) + f * K
            for p in range(0, P, CHUNK):
                stop = min(p + CHUNK, P)
                multiply_panel(width, x, pixel, p, stop, tap, K, w, pb, False)
                to = (start + p // (cells * cells)) * F
                write_chunk(out, to, pb, width, stop - p, f, F)
            done += width


@noinline
def write_chunk(out, at, block, width, count, f, F):
    """Store a chunk's sums (count, width vectors) of filters from f; its pixels are at y[at]."""
    n = lanes(block)
    for j in range(width):
        to, left, sums = at + f + j * n, F - f - j * n, block + j * n
        bias = load_row(out.bias, f + j * n, left)
        if out.pool:
            for i in range(count // 4):
                four = sums + 4 * i * width * n
                write_pooled(out, to + i * F, four, width * n, 2 * width * n, bias, left)
        else:
            for i in range(count):
                write(out, to + i * F, sums + i * width * n, bias, left)


def weight_gradient(dy: Source, x: Array, window: Window, dweight: Array, dbias: Array) -> None:
    """dweight (KH,KW,C,F) and dbias (F,): partial sums over parts of the batch, then their sum."""
    C, F = dweight.shape[2:]
    tables = pixel_table(window, C, dy.mode == UNPOOLED), tap_table(window, C)
    P, K, size = len(tables[0]), len(tables[1]), panel_size(F, x.dtype)
    parts = count_partials(len(x), P * K * F, K * F)
    sums = scratch("dweights", parts * (K + 1) * F, x.dtype)
    buffers = {"padded": padded_size(window, C), "panel": P * 48, "sums": (K + 1) * size}
    run(_weight_gradient, parts, buffers, dy, x, sums, F, tables, window)
    sum_partials(sums, parts, dweight, dbias)


@kernel
def _weight_gradient(part, parts, buffers, dy, x, sums, F, tables, window):
    """sums[part] (K + 1, F): dweight and dbias, over this part's samples."""
    dy, window = Source(*dy), Window(*window)
    (N, rows, columns, _), C = dy.x.shape, x.shape[3]
    (padded, panel, mine), read, px = buffers, source_pointers(dy), pointer(x)
    pixel, tap, K = pointer(tables[0]), pointer(tables[1]), tables[1].size
    pd, n = pointer(panel), lanes(px)
    vectors, R = (F + n - 1) // n, rows * columns
    P = 4 * R if read.mode == UNPOOLED else R
    size = vectors * n
    dw, db = pointer(mine), pointer(mine) + K * size  # dweight in panels (K, width), and dbias
    fill_zeros(dw, (K + 1) * size)
    begin, end = part_range(part, parts, N)
    for sample in range(begin, end):
        source = px + sample * window.H * window.W * C
        if window.top + window.bottom + window.left + window.right > 0:
            source = pointer(padded)
            height = window.H + window.top + window.bottom
            read_padded(source, plain_source(px), sample, 0, height, window, C)
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            read_panel(pd, read, sample * R, R, F, f, width * n)
            add_rows(db + f, pd, width * n, P)
            to = dw + f * K
            for p in range(0, P, PIXELS):
                at, dyp, count = pixel + p, pd + p * width * n, min(PIXELS, P - p)
                if width == 3:
                    sum_products(tile(TAPS3, 3, px), source, tap, 0, K, at, count, dyp, to, True)
                elif width == 2:
                    sum_products(tile(TAPS2, 2, px), source, tap, 0, K, at, count, dyp, to, True)
                else:
                    sum_products(tile(ROWS1, 1, px), source, tap, 0, K, at, count, dyp, to, True)
            done += width
    in_order(pointer(sums) + part * (K + 1) * F, dw, db, K, F)


@noinline
def in_order(to, panels, row, K, F):
    """to (K + 1, F) = dweight, which is in panels (K, width), and then a row, dbias."""
    copy(to + K * F, row, F)
    n, f = lanes(to), 0
    while f < F:
        width = panel_width((F - f + n - 1) // n) * n
        for k in range(K):
            copy(to + (k * F + f), panels + (f * K + k * width), min(width, F - f))
        f += width


@noinline
def add_rows(total, panel, width, P):
    """total (width,) += the sum of the rows of a panel (P, width)."""
    for j in range(0, width, lanes(panel)):
        a = b = c = d = splat(panel, 0)  # additions that do not wait for each other
        whole, column = P - P % 4, panel + j
        for p in range(0, whole * width, 4 * width):
            a, b = a + load(column, p), b + load(column, p + width)
            c, d = c + load(column, p + 2 * width), d + load(column, p + 3 * width)
        for p in range(whole, P):
            a = a + load(column, p * width)
        store(total, j, load(total, j) + ((a + b) + (c + d)))
