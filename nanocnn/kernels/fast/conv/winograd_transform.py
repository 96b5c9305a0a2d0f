"""The transforms of Winograd's algorithm (see winograd.py): of kernels, patches and products.

They evaluate polynomials at the points 0, 1, -1, 2, -2 and infinity. Terms of even and of odd power
are summed once and serve a point and its negative:

        B'                       G (of a 5x5 kernel)             A' (of a 3x3 kernel)
     0  4  0 -5  0  1  0         1/4    0    0    0    0         1  1  1  1  1  0
     1  0 -4 -4  1  1  0        -1/6 -1/6 -1/6 -1/6 -1/6         0  1 -1  2 -2  0
    -1  0  4 -4 -1  1  0        -1/6  1/6 -1/6  1/6 -1/6         0  1  1  4  4  0
     2  0 -2 -1  2  1  0        1/24 1/12  1/6  1/3  2/3         0  1 -1  8 -8  1
    -2  0  2 -1 -2  1  0        1/24 -1/12 1/6 -1/3  2/3
    oo  0  4  0 -5  0  1           0    0    0    0    1

For a 3x3 kernel G has three columns, for a 5x5 kernel A' has two rows; the 1 of infinity is then
in the last one.
"""

from ....common.arrays import Array
from ....jit import threads
from ....jit.compile import kernel, part_range
from ....jit.inline import inline, noinline
from ....jit.scratch import lasting, run
from ....jit.simd import (
    columns,
    fma,
    lanes,
    load,
    load_row,
    pointer,
    splat,
    square,
    store,
    transpose,
)
from .microkernel import CHUNK, ROWS2, panel_width
from .pack import panel_size
from .weights import if_changed

POINTS = 36
BLOCK = 8 if ROWS2 == 8 else CHUNK
MAX_LANES = 16
WORTH_A_THREAD = 500  # kernels; transforming fewer takes less time than a second thread saves


def transformed_weights(weight: Array, transposed: bool) -> Array:
    """G kernel G' of weight (KH,KW,C,F), packed into panels (36*C, width).

    `transposed`, for the input gradient: flip the kernels and exchange C and F.
    """
    _, _, C, F = weight.shape
    inputs, outputs = (F, C) if transposed else (C, F)
    size = POINTS * inputs * panel_size(outputs, weight.dtype)
    packed = lasting("weights", size, weight.dtype)
    if_changed(weight, _transform, packed, transposed)
    return packed


def _transform(weight: Array, packed: Array, transposed: bool) -> None:
    _, _, C, F = weight.shape
    parts = threads.get_num_threads() if C * F > WORTH_A_THREAD else 1
    buffers = {"temp": 30 * MAX_LANES, "squares": POINTS * MAX_LANES * (MAX_LANES + 1)}
    run(_transform_kernels, parts, buffers, weight, packed, transposed)


@kernel
def _transform_kernels(part, parts, buffers, weight, packed, transposed):
    """Transform and pack the kernels of this part's input channels; lanes run over F.

    Squares of as many channels as lanes are transformed; each is then stored point by point.
    """
    K, _, C, F = weight.shape
    w, tmp, squares = pointer(weight), pointer(buffers[0]), pointer(buffers[1])
    rows, n, step = square(w), lanes(w), C * F
    inputs, outputs = C, F
    if transposed:
        inputs, outputs, w, step = F, C, w + (K * K - 1) * C * F, -C * F
    vectors, pitch = (outputs + n - 1) // n, n * n + n
    begin, end = part_range(part, parts, (inputs + n - 1) // n)
    for first in range(begin * n, end * n, n):
        count, done = min(n, inputs - first), 0
        while done < vectors:
            width = panel_width(vectors - done)
            panel = pointer(packed) + (done * inputs * POINTS + first * width) * n
            for j in range(min(width, vectors - done)):
                output = (done + j) * n
                c, f = (output, first) if transposed else (first, output)
                for i in range(n if transposed else count):
                    source = w + (min(c + i, C - 1) * F + f)
                    transform_kernel(source, step, F - f, K, tmp, squares + i * n, pitch)
                for p in range(POINTS):
                    for i in range(n):
                        rows[i, 0] = load(squares, p * pitch + i * n)
                    if transposed:
                        transpose(rows)
                    to = panel + (p * inputs * width + j) * n
                    for i in range(n):
                        if i < count:
                            store(to, i * width * n, rows[i, 0])
            done += width


@noinline
def transform_kernel(source, step, left, K, tmp, target, pitch):
    """target = G kernel G', 36 vectors `pitch` apart, of K x K vectors `step` apart."""
    n = lanes(tmp)
    for i in range(K):
        kernel_points(source + i * K * step, step, left, K, tmp + i * n, 5 * n)
    for j in range(6):
        kernel_points(tmp + 5 * j * n, n, n, K, target + j * pitch, 6 * pitch)


@inline
def kernel_points(source, step, left, K, target, pitch):
    """target (6 vectors `pitch` apart) = G @ source (K vectors `step` apart)."""
    zero, four = splat(source, 0), splat(source, 4)
    w0, w1 = load_row(source, 0, left), load_row(source, step, left)
    w2, w3, w4 = load_row(source, 2 * step, left), zero, zero
    if K == 5:
        w3, w4 = load_row(source, 3 * step, left), load_row(source, 4 * step, left)
    store(target, 0, w0 * splat(source, 1 / 4))
    even, odd, scale = w0 + (w2 + w4), w1 + w3, splat(source, -1 / 6)
    store(target, pitch, (even + odd) * scale)
    store(target, 2 * pitch, (even - odd) * scale)
    even, odd, scale = fma(fma(w4, four, w2), four, w0), fma(w3, four, w1), splat(source, 1 / 24)
    odd = odd + odd
    store(target, 3 * pitch, (even + odd) * scale)
    store(target, 4 * pitch, (even - odd) * scale)
    store(target, 5 * pitch, w4 if K == 5 else w2)


@inline
def patch_points(source, step, target, pitch, four, five, two):
    """target (6 vectors `pitch` apart) = B' @ source (6 vectors `step` apart)."""
    d0, d1, d2 = load(source, 0), load(source, step), load(source, 2 * step)
    d3, d4, d5 = load(source, 3 * step), load(source, 4 * step), load(source, 5 * step)
    even, odd = fma(-four, d2, d4), fma(-four, d1, d3)
    store(target, pitch, even + odd)
    store(target, 2 * pitch, even - odd)
    even, odd = d4 - d2, d3 - d1
    store(target, 3 * pitch, fma(two, odd, even))
    store(target, 4 * pitch, fma(-two, odd, even))
    store(target, 0, fma(-five, d2, fma(four, d0, d4)))
    store(target, 5 * pitch, fma(-five, d3, fma(four, d1, d5)))


@noinline
def transform_patches(source, row, C, m, tall, tmp, target, patch, across, CP):
    """B' patch B of `tall` patches one below the other; source: rows (6, C), `row` items apart.

    Patch number `patch`, then every `across`-th, of target in blocks (36, BLOCK, CP) with a gap
    after each point. The patches overlap: each row's points are computed once for all of them.
    """
    n, pitch = lanes(tmp), block_pitch(CP, tmp)
    four, five, two = splat(tmp, 4), splat(tmp, 5), splat(tmp, 2)
    for c in range(0, C, n):
        for i in range((tall - 1) * m + 6):
            patch_points(source + i * row + c, C, tmp + 6 * i * n, n, four, five, two)
        for t in range(tall):
            p = patch + t * across
            to = target + (p // BLOCK * POINTS * pitch + p % BLOCK * CP + c)
            for j in range(6):
                rows = tmp + (6 * t * m + j) * n
                patch_points(rows, 6 * n, to + j * pitch, 6 * pitch, four, five, two)


@inline
def block_pitch(width, like):
    """Items from one point to the next in a block of BLOCK rows: a cache line more than there are.

    The 36 points of a patch would fall into few sets of the cache otherwise.
    """
    return BLOCK * width + lanes(like)


@inline
def inverse_transform(acc, source, pitch, target):
    """target (m, m, lanes) = A' product A, of 36 points `pitch` apart.

    acc (7, m): registers for the six rows of product A and for a row of the result.
    """
    for i in range(6):
        row = source + 6 * i * pitch
        p0, p1, p2 = load(row, 0), load(row, pitch), load(row, 2 * pitch)
        p3, p4, p5 = load(row, 3 * pitch), load(row, 4 * pitch), load(row, 5 * pitch)
        inverse_points(acc, i, p0, p1, p2, p3, p4, p5)
    for j in range(columns(acc)):
        p0, p1, p2 = acc[0, j], acc[1, j], acc[2, j]
        p3, p4, p5 = acc[3, j], acc[4, j], acc[5, j]
        inverse_points(acc, 6, p0, p1, p2, p3, p4, p5)
        for i in range(columns(acc)):
            store(target, (i * columns(acc) + j) * lanes(target), acc[6, i])


@inline
def inverse_points(to, i, p0, p1, p2, p3, p4, p5):
    """to[i] (m vectors) = A' @ the six vectors."""
    near, far, two = p1 - p2, p3 - p4, splat(p0, 2)
    to[i, 0] = p0 + (p1 + p2) + (p3 + p4)
    if columns(to) == 2:
        to[i, 1] = fma(two, far, near) + p5
    else:
        to[i, 1] = fma(two, far, near)
        to[i, 2] = fma(splat(p0, 4), p3 + p4, p1 + p2)
        to[i, 3] = fma(splat(p0, 8), far, near) + p5
