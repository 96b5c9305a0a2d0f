"""Matrix products by a tile of registers: C = A @ B (+ bias) (then ReLU), float32 and float64.

A ROWS x (VECTORS registers) tile of C is summed in registers while A's numbers and B's rows stream
past. Both are copied first, in the order in which they will be read: of B a panel as wide as the
tile and DEPTH deep, which stays in the first cache, of A a block of TILES tiles in the second (Goto
& van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). A transposed factor is
turned on the way, a square of registers at a time.

Each number of C is summed by one thread, in the same order whatever the parts, so there is a part
for each thread; a C of one row is the sum of partial ones, as many as its shape says. So the bits
depend on the shape only. With BLAS they depend on the number of threads.
"""

import numpy as np

from ...jit import threads
from ...jit.compile import inline, kernel, part_range, unsigned_range
from ...jit.cpu import cpu
from ...jit.inline import noinline
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

# 12 of AVX2's 16 registers hold sums, 24 of AVX-512's and NEON's 32; the rest B's row, A's number
ROWS, VECTORS = (6, 2) if cpu.registers < 32 else (8, 3)
TILES = 22  # of A's rows are copied at a time: they fit the second cache
DEPTH = 1024  # bytes of a column of a panel: a panel of the tile's width fits the first cache
LINES = 4  # partial sums of a C of one row, at most
WORK = 1 << 18  # multiplications worth a hand-over


def matmul(a: Array, b: Array, c: Array, bias: Array | None = None, relu: bool = False) -> None:
    """c = a @ b + bias, then ReLU if asked. a (M,K) and b (K,N) may be transposed views."""
    (M, K), N = a.shape, b.shape[1]
    A, a_row, a_column = _strided(a)
    B, b_row, b_column = _strided(b)
    bias = scratch("zeros", N, c.dtype) if bias is None else bias
    if M == 1 and b_column == 1:
        parts = max(min(K * N // WORK, LINES), 1)
        pitch = -(-N // 16) * 16  # so that two of them share no line of a cache
        end = (c.reshape(-1), scratch("line", parts * pitch, c.dtype), pitch, bias, relu)
        threads.run(_line, parts, A, a_column, B, b_row, *end)
        if parts > 1:
            threads.run(_line_end, 1, parts, *end)
        return
    parts = max(min(M * K * N // WORK, threads.get_num_threads()), 1)
    across, down = _cut(M, N, parts)
    n = cpu.bytes // c.itemsize
    tall, wide, depth = -(-ROWS // n) * n, VECTORS * n, DEPTH // c.itemsize
    beyond = n * wide  # what is turned may stand out
    buffers = {"block": TILES * tall * depth + beyond, "panel": wide * depth + beyond,
               "sums": ROWS * wide}  # fmt: skip
    arguments = (A, a_row, a_column, B, b_row, b_column, c, bias)
    run(_matmul, across * down, buffers, *arguments, K, across, relu)


def _cut(M: int, N: int, parts: int) -> tuple[int, int]:
    """(parts across C, parts down C), for each part copies its share of both factors."""
    sizes = [(n, parts // n) for n in range(1, parts + 1) if parts % n == 0]
    return min(sizes, key=lambda size: size[1] * N + size[0] * M)


def _strided(x: Array) -> tuple[Array, int, int]:
    """The items of a matrix as they lie in memory, and the distance of its rows and columns."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    if x.T.flags.c_contiguous:
        return x.T.reshape(-1), 1, x.shape[0]
    return _strided(np.ascontiguousarray(x))


@noinline
def _pack(target, pitch, source, along, deep, width, depth):
    """target (depth, pitch) = `width` lines of `depth` items, turned unless they lie side by side.

    Lines are `along` apart, their items `deep`; one of the two is 1. What lies behind the last line
    is of no account; up to a register of rows behind the last one is written.
    """
    n = lanes(target)
    for j in range(0, pitch, n):
        if along == 1:
            for k in range(depth):
                store(target, k * pitch + j, load_row(source, k * deep + j, width - j))
        else:
            lines = square(target)
            for k in range(0, depth, n):
                for i in range(n):
                    line = min(j + i, width - 1)
                    lines[i, 0] = load_row(source, line * along + k, depth - k)
                transpose(lines)
                for i in range(n):
                    store(target, (k + i) * pitch + j, lines[i, 0])


@inline
def _accumulate(acc, a, tall, b, depth):
    """acc = the product of a tile's rows (depth, tall) and a panel b (depth, VECTORS registers)."""
    for i in range(ROWS):
        for j in range(VECTORS):
            acc[i, j] = splat(b, 0)
    row, n = tile(1, VECTORS, b), lanes(b)
    for k in range(depth):
        for j in range(VECTORS):
            row[0, j] = load(b, (k * VECTORS + j) * n)
        for i in range(ROWS):
            number = splat(a, a[k * tall + i])
            for j in range(VECTORS):
                acc[i, j] = fma(number, row[0, j], acc[i, j])


@noinline
def _finish(c, step, sums, start, again, rows, width, floor):
    """c (rows, width) = sums + start, where `again` tells how far apart the rows of `start` are."""
    n = lanes(c)
    for i in range(rows):
        for j in range(0, width, n):
            value = load(sums, i * VECTORS * n + j) + load_row(start, i * again + j, width - j)
            # NaN stays NaN
            store_row(c, i * step + j, maximum(splat(c, floor), value), width - j)


@kernel
def _matmul(part, parts, buffers, A, a_row, a_column, B, b_row, b_column, C, bias, K, across, relu):
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
        floor = 0 if relu and k0 + size >= K else -np.inf
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
                    start, again = (pointer(bias) + column, 0) if k0 == 0 else (to, N)
                    _finish(to, N, qs, start, again, min(ROWS, M - t * ROWS), width, floor)


@kernel
def _line(part, parts, A, a_column, B, b_row, C, partial, pitch, bias, relu):
    """One row of C, or this part's share of its sums over K.

    Every number of B is used once, so B is read where it lies, row after row.
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
        _add_up(1, C, partial, pitch, bias, relu)


@kernel
def _line_end(part, parts, count, C, partial, pitch, bias, relu):
    _add_up(count, C, partial, pitch, bias, relu)


@inline
def _add_up(count, C, partial, pitch, bias, relu):
    """C = the sum of `count` partial ones + bias, rectified if `relu`."""
    for j in unsigned_range(0, C.size):
        value = bias[j]
        for i in range(count):
            value += partial[i * pitch + j]
        C[j] = 0 if relu and value <= 0 else value
