"""Matrix products: C = A @ B + bias, then ReLU, in float32 and float64.

The sums of a tile of C, ROWS x (VECTORS registers), stay in registers while the microkernel
`_multiply` reads A and B. B is packed first, in the order in which it is read: a panel as wide as
the tile and DEPTH rows deep, for the first-level cache (Goto & van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008). A is read where it is if its rows are contiguous;
otherwise it is packed too, in blocks TILES tiles high, for the second-level cache. If C has only a
few rows, reading B takes longer than the multiply-adds; `few_rows.py` computes these.

Each item of C is bias + s0 + s1 + ..., added in this order, where s0 is the sum over the first
DEPTH items of K, s1 over the next DEPTH, and so on; each of these sums begins with 0 and adds one
product after the other. So the bits of an item depend neither on the other rows and columns nor on
the number of threads nor on the width of the registers.
"""

import math
from functools import lru_cache

import numpy as np

from ...jit import pool, threads
from ...jit.compile import kernel, part_range
from ...jit.cpu import cpu
from ...jit.inline import inline, noinline
from ...jit.scratch import run, scratch, zeros
from ...jit.simd import (
    columns,
    fma,
    indices,
    lanes,
    load,
    load_partial,
    load_row,
    maximum,
    pointer,
    rows,
    splat,
    square,
    store,
    store_row,
    tile,
    transpose,
)
from .outputs import MAX_PARTS, Array

# The tile takes 12 of AVX2's 16 registers, 16 of AVX-512's and NEON's 32; a row of B and an item of
# A need others. Its height divides the usual batch sizes, its width 64 and 128 columns.
ROWS, VECTORS = (6, 2) if cpu.registers < 32 else (8, 2)
TILES = 48  # per block of A: it fits the second-level cache
DEPTH = 256  # rows of a panel of B, and products that are summed before they are added to C
MIN_WORK = 1 << 15  # multiply-adds that are worth a part of their own
MUCH_WORK = 1 << 20  # the same if there are more parts than threads
PACKING = 4  # how many rows of a panel take as long as packing it
# A panel of B is also read in place if it is read at most IN_PLACE times, or if its rows are so few
# bytes apart that its lines do not compete for the same places in the caches.
IN_PLACE, NEAR = 8, 2048
FEW = 2  # rows of C, at most, that `_few_rows` computes
COLUMNS = 64  # of its panels; its parts have multiples of so many columns: whole cache lines


def matmul(a: Array, b: Array, c: Array, bias: Array | None = None, relu: bool = False) -> None:
    """c (M,N) = a (M,K) @ b (K,N) + bias (N,), then ReLU if `relu`. a, b may be transposed."""
    (M, K), N = a.shape, b.shape[1]
    A, a_row, a_column = _strided(a)
    B, b_row, b_column = _strided(b)
    bias = zeros(N, c.dtype) if bias is None else bias
    operands, n = (A, a_row, a_column, B, b_row, b_column), cpu.bytes // c.itemsize
    if M <= FEW:
        chunks, parts = -(-K // DEPTH), min(max(M * K * N // MIN_WORK, 1), MAX_PARTS)
        down = max(min(chunks, parts), 1)
        across = max(min(parts // down, N // COLUMNS), 1)
        pitch = -(-N // COLUMNS) * COLUMNS
        sums = scratch("sums", chunks * M * pitch, c.dtype)
        buffers = {"panel": (DEPTH + n) * COLUMNS if b_column != 1 else 0}
        run(_few_rows, across * down, buffers, *operands, c, bias, sums, pitch, K, across, relu)
        if down > 1:
            pool.run(_add_chunks, across, sums, pitch, chunks, c, bias, relu)
        return
    wide = VECTORS * n
    packs_a = a_column != 1 and wide < N
    across, down = _grid(M, N, K, wide, packs_a, threads.get_num_threads())
    buffers = {"panel": DEPTH * VECTORS * n + n * n, "sums": ROWS * VECTORS * n,
               "block": (ROWS * DEPTH + n) * TILES if packs_a else 0}  # fmt: skip
    run(_matmul, across * down, buffers, *operands, c, bias, K, across, packs_a, relu)


@lru_cache(1024)
def _grid(M: int, N: int, K: int, wide: int, packs_a: bool, cores: int) -> tuple[int, int]:
    """Divide C (M,N) into (parts across, parts down) that `cores` threads finish soonest.

    Time is counted in rows of a panel. Each part packs its panels, and its rows if `packs_a`.
    """
    panels, tiles = -(-N // wide), -(-M // ROWS)
    work = M * K * N
    limit = max(min(work // MIN_WORK, cores), min(work // MUCH_WORK, 4 * cores), 1)
    best, sizes = math.inf, (1, 1)
    for across in range(1, min(panels, limit) + 1):
        for down in range(1, min(tiles, limit // across) + 1):
            w, h = -(-panels // across), -(-tiles // down)
            rounds = -(-across * down // cores)
            time: float = rounds * (w * h * ROWS + w * PACKING + (h if packs_a else 0))
            time *= 1 + 1 / (4 * rounds)  # some cores may be late, or have other work
            if time < best:
                best, sizes = time, (across, down)
    return sizes


def _strided(x: Array) -> tuple[Array, int, int]:
    """The items of a matrix in memory order, and the strides of its rows and columns in items."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    if x.T.flags.c_contiguous:
        return x.T.reshape(-1), 1, x.shape[0]
    return _strided(np.ascontiguousarray(x))


@noinline
def _pack_panel(panel, pitch, B, b_row, b_column, width, depth):
    """panel (depth, pitch) = `width` columns of B; `b_row` or `b_column` is 1.

    Columns of the panel from `width` on are unspecified; up to a register of rows beyond `depth` is
    written.
    """
    n = lanes(panel)
    if b_column == 1:
        for k in range(depth):
            for j in range(0, pitch, n):
                store(panel, k * pitch + j, load_row(B, k * b_row + j, width - j))
        return
    lines = square(panel)
    for j in range(0, pitch, n):
        for k in range(0, depth, n):
            for i in range(n):
                column = min(j + i, width - 1)
                lines[i, 0] = load_row(B, column * b_column + k, depth - k)
            transpose(lines)
            for i in range(n):
                store(panel, (k + i) * pitch + j, lines[i, 0])


@noinline
def _pack_block(block, pitch, A, a_column, height, depth):
    """block (tiles, `pitch`) = tiles of `depth` x ROWS items of A, whose columns are contiguous.

    Whole registers are written, and what they write too much is overwritten by the next ones.
    """
    n = lanes(block)
    span = (ROWS + n - 1) // n * n  # what is read of a column for one tile
    whole = max((height - span) // ROWS + 1, 0) if height >= span else 0
    for k in range(depth):
        line, to = A + k * a_column, block + k * ROWS
        for t in range(whole):
            for i in range(0, ROWS, n):
                store(to, t * pitch + i, load(line, t * ROWS + i))
        for t in range(whole, (height + ROWS - 1) // ROWS):
            for i in range(0, ROWS, n):
                store(to, t * pitch + i, load_row(line, t * ROWS + i, height - t * ROWS - i))


@inline
def _multiply(acc, a, at, step, b, b_row, depth):
    """acc[i] = the sum over k < depth of a[at[i] + k * step] * b[k]; rows of b are b_row apart."""
    for i in range(rows(acc)):
        for j in range(columns(acc)):
            acc[i, j] = splat(b, 0)
    row, n = tile(1, VECTORS, b), lanes(b)
    for k in range(depth):
        for j in range(columns(acc)):
            row[0, j] = load(b, k * b_row + j * n)
        for i in range(rows(acc)):
            item = splat(a, a[at[i] + k * step])
            for j in range(columns(acc)):
                acc[i, j] = fma(item, row[0, j], acc[i, j])


@inline
def _store_tile(acc, sums, c, step, start, start_step, height, width, lower):
    """c (height, width) = max(lower, acc + start); the rows of `start` are `start_step` apart."""
    n = lanes(c)
    if height >= rows(acc) and width >= columns(acc) * n:
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                value = load(start, i * start_step + j * n) + acc[i, j]
                store(c, i * step + j * n, maximum(splat(c, lower), value))  # keeps NaN
        return
    for i in range(rows(acc)):
        for j in range(columns(acc)):
            store(sums, (i * columns(acc) + j) * n, acc[i, j])
    _store_rest(c, step, sums, columns(acc) * n, start, start_step, min(rows(acc), height), width,
                lower)  # fmt: skip


@noinline
def _store_rest(c, step, sums, pitch, start, start_step, height, width, lower):
    """`_store_tile` for a tile at the edge."""
    for i in range(height):
        for j in range(0, width, lanes(c)):
            left = width - j
            value = load_row(start, i * start_step + j, left) + load(sums, i * pitch + j)
            store_row(c, i * step + j, maximum(splat(c, lower), value), left)


@kernel
def _matmul(part, parts, buffers, A, a_row, a_column, B, b_row, b_column, C, bias, K, across,
            packs_a, relu):  # fmt: skip
    """This part of C (M,N) = A @ B + bias, then ReLU; a_row, a_column, ... are strides in items."""
    panel, sums, block = pointer(buffers[0]), pointer(buffers[1]), pointer(buffers[2])
    (M, N), pa, pb, pc = C.shape, pointer(A), pointer(B), pointer(C)
    n = lanes(pc)
    wide = VECTORS * n
    first, end = part_range(part % across, across, (N + wide - 1) // wide)
    top, bottom = part_range(part // across, parts // across, (M + ROWS - 1) // ROWS)
    acc, narrow, at = tile(ROWS, VECTORS, pc), tile(ROWS, 1, pc), indices(ROWS)
    for t0 in range(top, bottom, TILES):
        t1 = min(t0 + TILES, bottom)
        for k0 in range(0, max(K, 1), DEPTH):
            depth = min(DEPTH, K - k0)
            lower = 0 if relu and k0 + depth >= K else -np.inf
            pitch = ROWS * depth + n
            if packs_a:
                height = min(t1 * ROWS, M) - t0 * ROWS
                _pack_block(block, pitch, pa + (t0 * ROWS + k0 * a_column), a_column, height, depth)
            for p in range(first, end):
                column = p * wide
                width = min(wide, N - column)
                b, b_step = pb + (k0 * b_row + column * b_column), b_row
                often = bottom - top > IN_PLACE and b_row * C.itemsize > NEAR
                if b_column != 1 or width < wide or often:
                    b_step = wide if width > n else n
                    _pack_panel(panel, b_step, b, b_row, b_column, width, depth)
                    b = panel
                for t in range(t0, t1):
                    row = t * ROWS
                    if packs_a:
                        a, step = block + (t - t0) * pitch, ROWS
                        for i in range(ROWS):
                            at[i] = i
                    else:
                        a, step = pa + k0 * a_column, a_column
                        for i in range(ROWS):
                            at[i] = min(row + i, M - 1) * a_row
                    c = pc + (row * N + column)
                    start, start_step = (pointer(bias) + column, 0) if k0 == 0 else (c, N)
                    if width > n:
                        _multiply(acc, a, at, step, b, b_step, depth)
                        _store_tile(acc, sums, c, N, start, start_step, M - row, width, lower)
                    else:
                        _multiply(narrow, a, at, step, b, b_step, depth)
                        _store_tile(narrow, sums, c, N, start, start_step, M - row, width, lower)


@inline
def _add_products(items, sums, a, a_column, b, b_row, width):
    """sums (width,) += a (columns of `items`,) @ b (columns of `items`, width)."""
    n = lanes(b)
    for k in range(columns(items)):
        items[0, k] = splat(b, a[k * a_column])
    whole = width - width % n
    for j in range(0, whole, n):
        value = load(sums, j)
        for k in range(columns(items)):
            value = fma(items[0, k], load(b, k * b_row + j), value)
        store(sums, j, value)
    if whole < width:
        value = load(sums, whole)
        for k in range(columns(items)):
            value = fma(items[0, k], load_partial(b, k * b_row + whole, width - whole), value)
        store(sums, whole, value)


@noinline
def _sum_products(sums, pitch, M, a, a_row, a_column, b, b_row, depth, width):
    """sums (M, width) = a (M, depth) @ b (depth, width), a few rows of b at a time."""
    four, one = tile(1, 4, b), tile(1, 1, b)
    for i in range(M):
        for j in range(0, width, lanes(b)):
            store(sums, i * pitch + j, splat(b, 0))
    whole = depth - depth % columns(four)
    for k in range(0, whole, columns(four)):
        for i in range(M):
            at = a + (i * a_row + k * a_column)
            _add_products(four, sums + i * pitch, at, a_column, b + k * b_row, b_row, width)
    for k in range(whole, depth):
        for i in range(M):
            at = a + (i * a_row + k * a_column)
            _add_products(one, sums + i * pitch, at, a_column, b + k * b_row, b_row, width)


@inline
def _add_sums(C, sums, pitch, chunks, bias, first, end, relu):
    """C = the sum of sums (chunks, M, pitch) + bias, then ReLU, in columns first to end."""
    (M, N), pc, ps, n = C.shape, pointer(C), pointer(sums), lanes(pointer(C))
    lower = splat(pc, 0 if relu else -np.inf)
    for i in range(M):
        for j in range(first, end, n):
            value = load_row(pointer(bias), j, N - j)
            for chunk in range(chunks):
                value = value + load(ps, (chunk * M + i) * pitch + j)
            store_row(pc, i * N + j, maximum(lower, value), N - j)  # keeps NaN


@kernel
def _few_rows(part, parts, buffers, A, a_row, a_column, B, b_row, b_column, C, bias, sums, pitch, K,
              across, relu):  # fmt: skip
    """sums (chunks, M, pitch) = A @ B over each DEPTH items of K, for this part's of N and K.

    If the part has all chunks of its columns, it computes C too.
    """
    (M, N), pa, pb, ps = C.shape, pointer(A), pointer(B), pointer(sums)
    panel = pointer(buffers[0])
    chunks = (K + DEPTH - 1) // DEPTH
    top, bottom = part_range(part // across, parts // across, chunks)
    first, end = part_range(part % across, across, (N + COLUMNS - 1) // COLUMNS)
    first, end = first * COLUMNS, min(end * COLUMNS, N)
    for chunk in range(top, bottom):
        depth = min(DEPTH, K - chunk * DEPTH)
        a, b = pa + chunk * DEPTH * a_column, pb + chunk * DEPTH * b_row
        at_once = end - first if b_column == 1 else COLUMNS
        for column in range(first, end, max(at_once, 1)):
            right, step, width = b + column * b_column, b_row, min(at_once, end - column)
            if b_column != 1:
                _pack_panel(panel, COLUMNS, right, b_row, b_column, width, depth)
                right, step = panel, COLUMNS
            to = ps + (chunk * M * pitch + column)
            _sum_products(to, pitch, M, a, a_row, a_column, right, step, depth, width)
    if parts == across:
        _add_sums(C, sums, pitch, chunks, bias, first, end, relu)


@kernel
def _add_chunks(part, parts, sums, pitch, chunks, C, bias, relu):
    first, end = part_range(part, parts, (C.shape[1] + COLUMNS - 1) // COLUMNS)
    _add_sums(C, sums, pitch, chunks, bias, first * COLUMNS, min(end * COLUMNS, C.shape[1]), relu)
