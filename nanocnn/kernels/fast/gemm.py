"""Matrix products by a tile of registers: C = A @ B (+ bias) (then ReLU), float32 and float64.

A ROWS x (VECTORS registers) tile of C is summed in registers while A's numbers and B's rows stream
past. Both are copied first, in the order in which they will be read: of B a panel as wide as the
tile and DEPTH deep, which stays in the first cache, of A a block of HEIGHT rows in the second (Goto
& van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). So a transposed factor
costs nothing more.

Each number of C is summed by one thread, in the same order whatever the parts: the bits depend on
the shape only. With BLAS they depend on its number of threads.
"""

import numpy as np

from ...threads import run
from ..host import host

from ..simd import (  # isort: skip
    columns, fma, lanes, load, maximum, pointer, rows, splat, store, tile,
)  # fmt: skip
from .arrays import Array
from .compiler import compiled, inlined, places, share

# 12 of AVX2's 16 registers hold sums, 24 of AVX-512's and NEON's 32; the rest B's row, A's number
ROWS, VECTORS = (6, 2) if host.registers < 32 else (8, 3)
LINE = 2048  # bytes of C in a part when it has one row: B is best read in long runs
DEPTH = 1024  # bytes of a column of a panel: a panel of the tile's width fits the first cache
HEIGHT = 96  # rows of A copied at a time: they fit the second cache
WORK = 1 << 18  # multiplications worth a hand-over


def matmul(a: Array, b: Array, c: Array, bias: Array | None = None, relu: bool = False) -> None:
    """c = a @ b + bias, then ReLU if asked. a (M,K) and b (K,N) may be transposed views."""
    (M, K), N = a.shape, b.shape[1]
    A, a_row, a_column = _strided(a)
    B, b_row, b_column = _strided(b)
    most = min(max(M * K * N // WORK, 1), 8)  # parts
    if line := M == 1 and b_column == 1:
        across, down = min(-(-N * c.itemsize // LINE), most), 1
    else:  # each part copies its share of both factors, so it should be large
        across = min(max(N // 256, 1), most)
        down = min(max(M // 64, 1), most // across)
    arguments = (A, a_row, a_column, B, b_row, b_column, c.reshape(-1), M, N, K, across)
    empty = c.reshape(-1)[:0] if bias is None else bias
    run(_line if line else _matmul, across * down, *arguments, empty, relu)


def _strided(x: Array) -> tuple[Array, int, int]:
    """The items of a matrix as they lie in memory, and the distance of its rows and columns."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    if x.T.flags.c_contiguous:
        return x.T.reshape(-1), 1, x.shape[0]
    return _strided(np.ascontiguousarray(x))


@inlined
def _pack_rows(pa, first, a_row, a_column, height, depth, packed):
    """Copy `height` rows of A as tiles (depth, ROWS); rows that are not there repeat the last."""
    for top in range(0, height, ROWS):
        tile_start = top * depth
        if a_row == 1 and top + ROWS <= height:
            for k in range(depth):
                for i in range(ROWS):
                    packed[tile_start + k * ROWS + i] = pa[first + top + i + k * a_column]
        else:
            for i in range(ROWS):
                start = first + min(top + i, height - 1) * a_row
                for k in range(depth):
                    packed[tile_start + k * ROWS + i] = pa[start + k * a_column]


@inlined
def _pack_panel(pb, first, b_row, b_column, depth, width, packed):
    """Copy `width` columns of B as (depth, full width); columns that are not there are the last."""
    L = lanes(packed)
    wide = VECTORS * L
    if b_column == 1 and width == wide:
        for k in range(depth):
            for j in range(VECTORS):
                store(packed, k * wide + j * L, load(pb, first + k * b_row + j * L))
    else:
        for j in range(wide):
            start = first + min(j, width - 1) * b_column
            for k in range(depth):
                packed[k * wide + j] = pb[start + k * b_row]


@inlined
def _start(acc, start, at, step):
    for i in range(rows(acc)):
        for j in range(columns(acc)):
            acc[i, j] = load(start, at + i * step + j * lanes(start))


@inlined
def _write(acc, pc, at, step, floor):
    for i in range(rows(acc)):
        for j in range(columns(acc)):
            value = maximum(splat(pc, floor), acc[i, j])  # NaN stays NaN
            store(pc, at + i * step + j * lanes(pc), value)


@inlined
def _copy(source, i, i_step, target, t, t_step, height, width):
    for row in range(height):
        for column in range(width):
            target[t + row * t_step + column] = source[i + row * i_step + column]


@inlined
def _accumulate(acc, rows_of_a, panel_of_b, depth):
    """acc += the product of a tile's rows (depth, ROWS) and a panel (depth, VECTORS registers)."""
    row, L = tile(1, VECTORS, panel_of_b), lanes(panel_of_b)
    for k in range(depth):
        for j in range(VECTORS):
            row[0, j] = load(panel_of_b, (k * VECTORS + j) * L)
        for i in range(ROWS):
            a = splat(rows_of_a, rows_of_a[k * ROWS + i])
            for j in range(VECTORS):
                acc[i, j] = fma(a, row[0, j], acc[i, j])


@compiled
def _matmul(part, parts, A, a_row, a_column, B, b_row, b_column, C, M, N, K, across, bias, relu):
    pa, pb, pc = pointer(A), pointer(B), pointer(C)
    wide = VECTORS * lanes(pc)
    depth = DEPTH // C.itemsize
    block, panel = np.empty(HEIGHT * depth, C.dtype), np.empty(depth * wide, C.dtype)
    margin, edge = np.zeros(wide, C.dtype), np.zeros(ROWS * wide, C.dtype)
    qa, qb, pm, pe = pointer(block), pointer(panel), pointer(margin), pointer(edge)
    first, end = share(part % across, across, (N + wide - 1) // wide)
    first_tile, end_tile = share(part // across, parts // across, (M + ROWS - 1) // ROWS)
    acc = tile(ROWS, VECTORS, pc)
    for k0 in range(0, max(K, 1), depth):
        size = min(depth, K - k0)
        floor = C.dtype.type(0 if relu and k0 + size >= K else -np.inf)
        for r0 in range(first_tile * ROWS, min(end_tile * ROWS, M), HEIGHT):
            height = min(HEIGHT, min(end_tile * ROWS, M) - r0)
            _pack_rows(pa, r0 * a_row + k0 * a_column, a_row, a_column, height, size, qa)
            for p in range(first, end):
                column = p * wide
                width = min(wide, N - column)
                _copy(pointer(bias), column, 0, pm, 0, 0, 1, min(width, bias.size))
                _pack_panel(pb, k0 * b_row + column * b_column, b_row, b_column, size, width, qb)
                for i0 in range(0, height, ROWS):
                    tall = min(ROWS, height - i0)
                    place = (r0 + i0) * N + column
                    # a tile that stands out over the edge of C is written beside it first
                    inside = tall == ROWS and width == wide
                    pd, d, step = (pc, place, N) if inside else (pe, 0, wide)
                    if k0 == 0:
                        _start(acc, pm, 0, 0)
                    else:
                        if not inside:
                            _copy(pc, place, N, pe, 0, wide, tall, width)
                        _start(acc, pd, d, step)
                    _accumulate(acc, qa + i0 * size, qb, size)
                    _write(acc, pd, d, step, floor)
                    if not inside:
                        _copy(pe, 0, wide, pc, place, N, tall, width)


@compiled
def _line(part, parts, A, a_row, a_column, B, b_row, b_column, C, M, N, K, across, bias, relu):
    """One row of C: every number of B is used once, so B is read where it lies, row after row."""
    pa, pb = pointer(A), pointer(B)
    first, end = share(part, parts, N)
    n = end - first
    sums = np.zeros(n, C.dtype)  # not C itself, whose vectors may lie across two cache lines
    if bias.size:
        sums[:] = bias[first:end]
    for k in range(0, K - 3, 4):
        a0, a1 = pa[k * a_column], pa[(k + 1) * a_column]
        a2, a3 = pa[(k + 2) * a_column], pa[(k + 3) * a_column]
        row = pb + (k * b_row + first)
        for j in places(0, n):
            value = sums[j] + a0 * row[j] + a1 * row[b_row + j]
            sums[j] = value + a2 * row[2 * b_row + j] + a3 * row[3 * b_row + j]
    for k in range(K - K % 4, K):
        for j in places(0, n):
            sums[j] += pa[k * a_column] * pb[k * b_row + first + j]
    for j in places(0, n):
        C[first + j] = 0 if relu and sums[j] <= 0 else sums[j]
