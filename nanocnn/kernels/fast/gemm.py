"""Matrix products with a register tile: C = A @ B + bias, then ReLU, in float32 and float64.

The sums of a tile of C, ROWS x (VECTORS registers), stay in registers while the microkernel
`_accumulate` reads A and B. Both are packed first, in the order in which it reads them: a panel of
B, as wide as the tile and DEPTH bytes deep, for the first-level cache, and a block of A, TILES
tiles high, for the second-level cache (Goto & van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", 2008). A transposed factor is transposed while packing, a square of registers at a
time.

Bits depend on the shapes only, while those of BLAS depend on the number of threads: each item of C
is summed by one thread, in the same order for any number of parts. If C has one row, the number of
partial sums depends on its shape.
"""

import numpy as np

from ...jit import pool, threads
from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.cpu import cpu
from ...jit.inline import inline, noinline
from ...jit.scratch import run, scratch
from ...jit.simd import (
    fma,
    lanes,
    load,
    load_row,
    maximum,
    pointer,
    splat,
    square,
    store,
    store_row,
    tile,
    transpose,
)
from .outputs import Array

# The tile takes 12 of AVX2's 16 registers, 24 of AVX-512's and NEON's 32; a row of B and an item of
# A need the others.
ROWS, VECTORS = (6, 2) if cpu.registers < 32 else (8, 3)
TILES = 22  # per block of A: it fits the second-level cache
DEPTH = 1024  # bytes of a column of a panel of B: the panel fits the first-level cache
MAX_PARTIALS = 4  # partial sums if C has one row
MIN_WORK = 1 << 18  # multiply-adds that are worth a part of their own


def matmul(a: Array, b: Array, c: Array, bias: Array | None = None, relu: bool = False) -> None:
    """c (M,N) = a (M,K) @ b (K,N) + bias (N,), then ReLU if `relu`. a, b may be transposed."""
    (M, K), N = a.shape, b.shape[1]
    A, a_row, a_column = _strided(a)
    B, b_row, b_column = _strided(b)
    bias = scratch("zeros", N, c.dtype) if bias is None else bias
    if M == 1 and b_column == 1:
        parts = max(min(K * N // MIN_WORK, MAX_PARTIALS), 1)
        pitch = -(-N // 16) * 16  # partial sums do not share cache lines
        sums = (c.reshape(-1), scratch("line", parts * pitch, c.dtype), pitch, bias, relu)
        pool.run(_vector_product, parts, A, a_column, B, b_row, *sums)
        if parts > 1:
            pool.run(_sum_partials, 1, parts, *sums)
        return
    parts = max(min(M * K * N // MIN_WORK, threads.get_num_threads()), 1)
    across, down = _grid(M, N, parts)
    n = cpu.bytes // c.itemsize
    tall, wide, depth = -(-ROWS // n) * n, VECTORS * n, DEPTH // c.itemsize
    slack = n * wide  # transposing writes whole squares
    buffers = {"block": TILES * tall * depth + slack, "panel": wide * depth + slack,
               "sums": ROWS * wide}  # fmt: skip
    arguments = (A, a_row, a_column, B, b_row, b_column, c, bias)
    run(_matmul, across * down, buffers, *arguments, K, across, relu)


def _grid(M: int, N: int, parts: int) -> tuple[int, int]:
    """Divide C (M,N) into (parts across, parts down) so that the parts pack least."""
    sizes = [(n, parts // n) for n in range(1, parts + 1) if parts % n == 0]
    return min(sizes, key=lambda size: size[1] * N + size[0] * M)


def _strided(x: Array) -> tuple[Array, int, int]:
    """The items of a matrix in memory order, and the strides of its rows and columns in items."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    if x.T.flags.c_contiguous:
        return x.T.reshape(-1), 1, x.shape[0]
    return _strided(np.ascontiguousarray(x))


@noinline
def _pack(target, pitch, source, line_step, item_step, width, depth):
    """target (depth, pitch) = the transpose of `width` lines of `depth` items.

    Lines are `line_step` apart, their items `item_step`; one of the two is 1. Columns of target
    from `width` on are unspecified; up to a register of rows beyond `depth` is written.
    """
    n = lanes(target)
    for j in range(0, pitch, n):
        if line_step == 1:
            for k in range(depth):
                store(target, k * pitch + j, load_row(source, k * item_step + j, width - j))
        else:
            lines = square(target)
            for k in range(0, depth, n):
                for i in range(n):
                    line = min(j + i, width - 1)
                    lines[i, 0] = load_row(source, line * line_step + k, depth - k)
                transpose(lines)
                for i in range(n):
                    store(target, (k + i) * pitch + j, lines[i, 0])


@inline
def _accumulate(acc, a, tall, b, depth):
    """acc = a^T @ b: a packed tile of A (depth, tall) and a panel b (depth, VECTORS registers)."""
    for i in range(ROWS):
        for j in range(VECTORS):
            acc[i, j] = splat(b, 0)
    row, n = tile(1, VECTORS, b), lanes(b)
    for k in range(depth):
        for j in range(VECTORS):
            row[0, j] = load(b, (k * VECTORS + j) * n)
        for i in range(ROWS):
            item = splat(a, a[k * tall + i])
            for j in range(VECTORS):
                acc[i, j] = fma(item, row[0, j], acc[i, j])


@noinline
def _store_tile(c, step, sums, start, start_step, rows, width, lower):
    """c (rows, width) = max(lower, sums + start); the rows of `start` are `start_step` apart."""
    n = lanes(c)
    for i in range(rows):
        for j in range(0, width, n):
            value = load(sums, i * VECTORS * n + j) + load_row(start, i * start_step + j, width - j)
            # maximum keeps NaN
            store_row(c, i * step + j, maximum(splat(c, lower), value), width - j)


@kernel
def _matmul(part, parts, buffers, A, a_row, a_column, B, b_row, b_column, C, bias, K, across, relu):
    """This part of C (M,N) = A @ B + bias, then ReLU; a_row, a_column, ... are strides in items."""
    block, panel, sums = buffers
    (M, N), pc = C.shape, pointer(C)
    qa, qb, qs = pointer(block), pointer(panel), pointer(sums)
    n = lanes(pc)
    tall, wide, depth = (ROWS + n - 1) // n * n, VECTORS * n, DEPTH // C.itemsize
    first, end = part_range(part % across, across, (N + wide - 1) // wide)
    top, bottom = part_range(part // across, parts // across, (M + ROWS - 1) // ROWS)
    acc = tile(ROWS, VECTORS, pc)
    for k0 in range(0, max(K, 1), depth):
        size = min(depth, K - k0)
        lower = 0 if relu and k0 + size >= K else -np.inf
        for t0 in range(top, bottom, TILES):
            t1 = min(t0 + TILES, bottom)
            for t in range(t0, t1):
                rows = pointer(A) + (t * ROWS * a_row + k0 * a_column)
                to = qa + (t - t0) * tall * size
                _pack(to, tall, rows, a_row, a_column, min(ROWS, M - t * ROWS), size)
            for p in range(first, end):
                column = p * wide
                width = min(wide, N - column)
                columns = pointer(B) + (k0 * b_row + column * b_column)
                _pack(qb, wide, columns, b_column, b_row, width, size)
                for t in range(t0, t1):
                    _accumulate(acc, qa + (t - t0) * tall * size, tall, qb, size)
                    for i in range(ROWS):
                        for j in range(VECTORS):
                            store(qs, (i * VECTORS + j) * n, acc[i, j])
                    to = pc + (t * ROWS * N + column)
                    start, start_step = (pointer(bias) + column, 0) if k0 == 0 else (to, N)
                    _store_tile(to, N, qs, start, start_step, min(ROWS, M - t * ROWS), width, lower)


@kernel
def _vector_product(part, parts, A, a_column, B, b_row, C, partial, pitch, bias, relu):
    """partial[part] (N,) = this part's sums of A (K,) @ B (K,N); if there is one part, also C (N,).

    Each item of B is used once, so B is not packed.
    """
    pa, pb, N = pointer(A), pointer(B), C.size
    sums = partial[part * pitch : part * pitch + N]
    sums[:] = 0
    first, end = part_range(part, parts, A.size)
    for k in range(first, end - 3, 4):
        a0, a1 = pa[k * a_column], pa[(k + 1) * a_column]
        a2, a3 = pa[(k + 2) * a_column], pa[(k + 3) * a_column]
        row = pb + k * b_row
        for j in unsigned_range(0, N):
            value = sums[j] + a0 * row[j] + a1 * row[b_row + j]
            sums[j] = value + a2 * row[2 * b_row + j] + a3 * row[3 * b_row + j]
    for k in range(end - (end - first) % 4, end):
        for j in unsigned_range(0, N):
            sums[j] += pa[k * a_column] * pb[k * b_row + j]
    if parts == 1:
        _add_partials(1, C, partial, pitch, bias, relu)


@kernel
def _sum_partials(part, parts, count, C, partial, pitch, bias, relu):
    _add_partials(count, C, partial, pitch, bias, relu)


@inline
def _add_partials(count, C, partial, pitch, bias, relu):
    """C (N,) = the sum of `count` partial sums + bias; `relu`: max(C, 0)."""
    for j in unsigned_range(0, C.size):
        value = bias[j]
        for i in range(count):
            value += partial[i * pitch + j]
        C[j] = 0 if relu and value <= 0 else value
