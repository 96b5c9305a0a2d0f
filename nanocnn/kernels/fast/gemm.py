"""Matrix products by a tile of registers: C = A @ B (+ bias) (then ReLU), float32 and float64.

A ROWS x (VECTORS registers) tile of C is summed in registers while A's numbers and B's rows stream
past. B is copied, a panel as wide as the tile and DEPTH rows deep at a time, to where it is read
once per tile from the nearest cache (Goto & van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", 2008); A is read where it lies, by strides, so a transposed A costs nothing.

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
from .compiler import compiled, inlined, share

# 12 of AVX2's 16 registers hold sums (24 of AVX-512's and NEON's 32), the rest B's row, A's number
ROWS, VECTORS = (4, 3) if host.registers < 32 else (8, 3)
LINE = 8  # registers of sums when C has one row: B is then read once, straight from memory
DEPTH = 1024  # bytes of a column of a panel: a panel of the tile's width fits the first cache
TALL = 256  # rows of C in a part
WORK = 1 << 18  # multiplications worth a hand-over


def matmul(a: Array, b: Array, c: Array, bias: Array | None = None, relu: bool = False) -> None:
    """c = a @ b + bias, then ReLU if asked. a (M,K) and b (K,N) may be transposed views."""
    (M, K), N = a.shape, b.shape[1]
    if c.size == 0:
        return
    A, a_row, a_column = _strided(a)
    B, b_row, b_column = _strided(b)
    line = M == 1 and b_column == 1
    wide = (LINE if line else VECTORS) * host.bytes // c.itemsize
    across = min(-(-N // wide), max(M * N * K // WORK, 1), 32)  # parts side by side: panels of B
    down = 1 if M * N * K < WORK else -(-M // TALL)
    kernel, bias = _line if line else _matmul, c[0, :0] if bias is None else bias
    arguments = A, a_row, a_column, B, b_row, b_column, c.reshape(-1), M, N, K, across, bias, relu
    run(kernel, across * down, *arguments)


def _strided(x: Array) -> tuple[Array, int, int]:
    """The items of a matrix as they lie in memory, and the distance of its rows and columns."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    if x.T.flags.c_contiguous:
        return x.T.reshape(-1), 1, x.shape[0]
    return _strided(np.ascontiguousarray(x))


@inlined
def _pack(pb, first, b_row, b_column, depth, width, pp):
    """Copy `depth` rows of `width` numbers into rows as wide as a panel, the last one repeated."""
    L = lanes(pp)
    wide = VECTORS * L
    for k in range(depth):
        if b_column == 1 and width == wide:
            for j in range(VECTORS):
                store(pp, k * wide + j * L, load(pb, first + k * b_row + j * L))
        else:
            for j in range(wide):
                pp[k * wide + j] = pb[first + k * b_row + min(j, width - 1) * b_column]


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


@compiled
def _matmul(part, parts, A, a_row, a_column, B, b_row, b_column, C, M, N, K, across, bias, relu):
    pa, pb, pc = pointer(A), pointer(B), pointer(C)
    L = lanes(pc)
    wide = VECTORS * L
    depth = DEPTH // C.itemsize
    panel = np.empty(depth * wide, C.dtype)
    margin, edge = np.zeros(wide, C.dtype), np.zeros(ROWS * wide, C.dtype)
    pp, pm, pe = pointer(panel), pointer(margin), pointer(edge)
    first, end = share(part % across, across, (N + wide - 1) // wide)
    top, bottom = share(part // across, parts // across, M)
    acc, row = tile(ROWS, VECTORS, pc), tile(1, VECTORS, pc)
    for p in range(first, end):
        column = p * wide
        width = min(wide, N - column)
        _copy(pointer(bias), column, 0, pm, 0, 0, 1, min(width, bias.size))
        for k0 in range(0, max(K, 1), depth):
            size = min(depth, K - k0)
            floor = C.dtype.type(0 if relu and k0 + size >= K else -np.inf)
            _pack(pb, k0 * b_row + column * b_column, b_row, b_column, size, width, pp)
            for i0 in range(top, bottom, ROWS):
                tall = min(ROWS, bottom - i0)
                place = i0 * N + column
                # a tile that stands out over the edge of C is written beside it first
                inside = tall == ROWS and width == wide
                pd, d, step = (pc, place, N) if inside else (pe, 0, wide)
                if k0 == 0:
                    _start(acc, pm, 0, 0)
                else:
                    if not inside:
                        _copy(pc, place, N, pe, 0, wide, tall, width)
                    _start(acc, pd, d, step)
                at = i0 * a_row + k0 * a_column
                for k in range(size):
                    for j in range(VECTORS):
                        row[0, j] = load(pp, k * wide + j * L)
                    for i in range(ROWS):  # rows that are not there repeat the last one
                        a = splat(pc, pa[at + min(i, tall - 1) * a_row + k * a_column])
                        for j in range(VECTORS):
                            acc[i, j] = fma(a, row[0, j], acc[i, j])
                _write(acc, pd, d, step, floor)
                if not inside:
                    _copy(pe, 0, wide, pc, place, N, tall, width)


@compiled
def _line(part, parts, A, a_row, a_column, B, b_row, b_column, C, M, N, K, across, bias, relu):
    """One row of C: every number of B is used once, so it is read where it lies."""
    pa, pb, pc = pointer(A), pointer(B), pointer(C)
    L = lanes(pc)
    wide = LINE * L
    edge = np.zeros(wide, C.dtype)
    pe = pointer(edge)
    floor = C.dtype.type(0 if relu else -np.inf)
    first, end = share(part, parts, (N + wide - 1) // wide)
    acc = tile(1, LINE, pc)
    for p in range(first, end):
        column = p * wide
        width = min(wide, N - column)
        edge[:] = 0
        _copy(pointer(bias), column, 0, pe, 0, 0, 1, min(width, bias.size))
        _start(acc, pe, 0, 0)
        for k in range(K):
            a = splat(pc, pa[k * a_column])
            source, at = pb, k * b_row + column
            if width < wide:
                _copy(pb, at, 0, pe, 0, 0, 1, width)
                source, at = pe, 0
            for j in range(LINE):
                acc[0, j] = fma(a, load(source, at + j * L), acc[0, j])
        _write(acc, pe, 0, 0, floor)
        _copy(pe, 0, 0, pc, column, 0, 1, width)
