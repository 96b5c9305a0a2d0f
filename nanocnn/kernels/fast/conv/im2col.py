"""Convolution as matrix products of an im2col matrix: any stride, dilation, padding and size.

What differs from the reference: the matrix is built for a few samples at a time, in a buffer that
stays in the second-level cache, and threads share these groups. The products are the microkernel's,
whose two tables of offsets are those of a plain matrix. Slower than `direct` wherever that applies,
since the matrix is written and read; but the input gradient of a strided convolution has no direct
kernel.
"""

from functools import lru_cache

import numpy as np

from ....common.arrays import Array
from ....jit.compile import kernel, part_range
from ....jit.inline import inline, noinline
from ....jit.scratch import run, scratch
from ....jit.simd import lanes, load_row, pointer, store_row
from ...geometry import Window
from .direct import BLOCK, PIXELS, add_rows, in_order, write_chunk
from .epilogue import Epilogue, epilogue_of, epilogue_pointers
from .microkernel import CHUNK, multiply_panel, panel_width
from .pack import (
    count_partials,
    pack,
    packed_weights,
    padded_size,
    panel_size,
    pixel_table,
    split_work,
    sum_partials,
    tap_table,
)
from .source import (
    MASKED,
    Source,
    copy,
    copy_masked,
    fill_zeros,
    plain_source,
    read_padded,
    read_panel,
    source_of,
    source_pointers,
)

GROUP = 1 << 18  # bytes of the matrix that are built at a time


@lru_cache(maxsize=256)
def _multiples(step: int, count: int) -> Array:
    """The offsets of the rows of a matrix, or with step 1 of the items of a row: (count,)."""
    return np.arange(count, dtype=np.intp) * step


def _samples(N: int, parts: int, row_bytes: int, P: int) -> int:
    """The samples of P rows each whose matrix is built at a time."""
    return max(1, min(-(-N // parts), GROUP // (row_bytes * P)))


def _tables(window: Window, C: int) -> tuple[Array, Array]:
    return pixel_table(window, C), tap_table(window, C)


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window, y: Array, relu: bool
) -> None:
    """y (N,OH,OW,F) = im2col(x) @ weight + bias; `relu`: max(y, 0)."""
    (N, *_, C), P, K = x.shape, window.OH * window.OW, weight[..., 0].size
    parts = split_work(N, 1, P * weight.size)[0]
    group = _samples(N, parts, K * x.itemsize, P)
    tables = *_tables(window, C), _multiples(K, group * P), _multiples(1, K)
    buffers = {"padded": padded_size(window, C), "cols": group * P * K, "block": BLOCK}
    packed, epilogue = packed_weights(weight), epilogue_of(y, bias, relu)
    run(_forward, parts, buffers, source_of(x), packed, epilogue, tables, window, group)


@kernel
def _forward(part, parts, buffers, source, weight, epilogue, tables, window, group):
    """This part's samples of epilogue.y, `group` at a time; weight is in panels (K, width)."""
    source, epilogue, window = Source(*source), Epilogue(*epilogue), Window(*window)
    (N, OH, OW, F), C, K = epilogue.y.shape, source.x.shape[3], tables[1].size
    (padded, cols, block), read, out = buffers, source_pointers(source), epilogue_pointers(epilogue)
    _, _, lines, items = tables
    pb, pc, P = pointer(padded), pointer(cols), OH * OW
    begin, end = part_range(part, parts, N)
    for sample in range(begin, end, group):
        R = min(group, end - sample) * P
        for s in range(sample, min(sample + group, end)):
            gather(pc + (s - sample) * P * K, pb, read, s, tables, window, C)
        multiply(out, sample * P, F, pc, lines, R, items, pointer(weight), block)


def weight_gradient(dy: Source, x: Array, window: Window, dweight: Array, dbias: Array) -> None:
    """dweight (KH,KW,C,F) = im2col(x)^T @ dy and dbias (F,); dy is PLAIN or MASKED."""
    (N, *_, C), F, P, K = x.shape, dbias.size, window.OH * window.OW, dweight[..., 0].size
    parts, size = count_partials(N, P * K * F, K * F), panel_size(F, x.dtype)
    group = _samples(N, parts, K * x.itemsize, P)
    partial = scratch("dweights", parts * (K + 1) * F, x.dtype)
    tables = *_tables(window, C), _multiples(K, group * P), _multiples(1, K)
    buffers = {"padded": padded_size(window, C), "cols": group * P * K, "panel": PIXELS * 48,
               "sums": (K + 1) * size}  # fmt: skip
    run(_weight_gradient, parts, buffers, dy, x, partial, F, tables, window, group)
    sum_partials(partial, parts, dweight, dbias)


@kernel
def _weight_gradient(part, parts, buffers, dy, x, partial, F, tables, window, group):
    """partial[part] (K + 1, F): dweight and dbias, over this part's samples."""
    dy, window = Source(*dy), Window(*window)
    (N, OH, OW, _), C, K = dy.x.shape, x.shape[3], tables[1].size
    (padded, cols, panel, mine), read, P = buffers, source_pointers(dy), OH * OW
    _, _, lines, items = tables
    pb, pc, pd, n = pointer(padded), pointer(cols), pointer(panel), lanes(read.x)
    vectors = (F + n - 1) // n
    size = vectors * n
    dw, db = pointer(mine), pointer(mine) + K * size
    fill_zeros(dw, (K + 1) * size)
    begin, end = part_range(part, parts, N)
    for sample in range(begin, end, group):
        R = min(group, end - sample) * P
        for s in range(sample, min(sample + group, end)):
            gather(pc + (s - sample) * P * K, pb, plain_source(pointer(x)), s, tables, window, C)
        done = 0
        while done < vectors:
            width, f = panel_width(vectors - done), done * n
            to = dw + f * K
            for r in range(0, R, PIXELS):
                count, inner = min(PIXELS, R - r), pointer(lines) + r
                read_panel(pd, read, sample * P + r, count, F, f, width * n)
                add_rows(db + f, pd, width * n, count)
                multiply_panel(width, pc, pointer(items), 0, K, inner, count, pd, to, True)
            done += width
    in_order(pointer(partial) + part * (K + 1) * F, dw, db, K, F)


def input_gradient(dy: Source, weight: Array, window: Window, dx: Array) -> None:
    """dx (N,H,W,C) = col2im(dy @ weight^T); dy is PLAIN or MASKED."""
    (N, *_, C), P, F, K = dx.shape, window.OH * window.OW, weight.shape[3], weight[..., 0].size
    parts = split_work(N, 1, P * weight.size)[0]
    group = _samples(N, parts, K * dx.itemsize, P)
    tables = *_tables(window, C), _multiples(F, group * P), _multiples(1, F)
    packed = pack(weight.reshape(1, K, F), True)
    buffers = {"padded": padded_size(window, C), "cols": group * P * K, "rows": group * P * F,
               "block": BLOCK, "bias": K}  # fmt: skip
    run(_input_gradient, parts, buffers, dy, packed, dx, tables, window, group)


@kernel
def _input_gradient(part, parts, buffers, dy, weight, dx, tables, window, group):
    """dx of this part's samples, `group` at a time; weight, transposed, is in panels (F, width)."""
    dy, window = Source(*dy), Window(*window)
    (N, OH, OW, F), C, K = dy.x.shape, dx.shape[3], tables[1].size
    (padded, cols, rows, block, bias), P = buffers, OH * OW
    _, _, lines, items = tables
    pb, pc = pointer(padded), pointer(cols)
    fill_zeros(pointer(bias), K)
    out = Epilogue(pc, pointer(bias), pointer(dy.argmax), False, False, False)
    begin, end = part_range(part, parts, N)
    for sample in range(begin, end, group):
        R, at = min(group, end - sample) * P, sample * P * F
        x = pointer(dy.x) + at
        if dy.mode == MASKED:
            copy_masked(pointer(rows), x, pointer(dy.mask) + at, R * F)
            x = pointer(rows)
        multiply(out, 0, K, x, lines, R, items, pointer(weight), block)
        for s in range(sample, min(sample + group, end)):
            scatter(pc + (s - sample) * P * K, pb, pointer(dx), s, tables, window, C)


@noinline
def gather(to, padded, source, sample, tables, window, C):
    """to (P, K) = im2col of a sample."""
    read_padded(padded, source, sample, 0, window.H + window.top + window.bottom, window, C)
    pixels, taps, run = tables[0], tables[1], contiguous(window, C)
    for p in range(pixels.size):
        for k in range(0, taps.size, run):
            copy(to, padded + (pixels[p] + taps[k]), run)
            to = to + run


@noinline
def scatter(cols, padded, dx, sample, tables, window, C):
    """dx (N,H,W,C) of a sample = col2im of cols (P, K)."""
    pitch = (window.left + window.W + window.right) * C
    pixels, taps, run = tables[0], tables[1], contiguous(window, C)
    fill_zeros(padded, (window.top + window.H + window.bottom) * pitch)
    for p in range(pixels.size):
        for k in range(0, taps.size, run):
            to = padded + (pixels[p] + taps[k])
            for i in range(0, run, lanes(to)):
                value = load_row(to, i, run - i) + load_row(cols, i, run - i)
                store_row(to, i, value, run - i)
            cols = cols + run
    for h in range(window.H):
        row = padded + ((window.top + h) * pitch + window.left * C)
        copy(dx + (sample * window.H + h) * window.W * C, row, window.W * C)


@inline
def contiguous(window, C):
    """How many items of a row of the matrix are contiguous in the padded sample."""
    return window.KW * C if window.DW == 1 else C


@noinline
def multiply(out, at, F, x, lines, R, items, weight, block):
    """Rows of out.y (.., F) from `at` = x (R, K) @ weight, in panels (K, width), and epilogue."""
    outer, inner, K, pb, n = pointer(lines), pointer(items), items.size, pointer(block), lanes(x)
    vectors, done = (F + n - 1) // n, 0
    while done < vectors:
        width, w = panel_width(vectors - done), weight + done * n * K
        for r in range(0, R, CHUNK):
            stop = min(r + CHUNK, R)
            multiply_panel(width, x, outer, r, stop, inner, K, w, pb, False)
            write_chunk(out, (at + r) * F, pb, width, stop - r, done * n, F)
        done += width
