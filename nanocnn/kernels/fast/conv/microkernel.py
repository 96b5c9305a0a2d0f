"""The microkernel: the inner loop of all direct convolutions.

`sum_products` keeps a tile of rows x (columns * lanes) sums in registers. Each step broadcasts one
item of x per row and does one multiply-add per register. Two tables of offsets tell where to read x
(see conv2d.py); the forward pass and the weight gradient differ in which table is the outer one:
    y[p, f]       = sum over k of x[pixel[p] + tap[k]] * weight[k, f]
    dweight[k, f] = sum over p of x[tap[k] + pixel[p]] * dy[p, f]
The right factor (weight or dy) is packed into panels as wide as the tile.
"""

from ....jit.cpu import cpu
from ....jit.inline import inline
from ....jit.simd import columns, fma, indices, lanes, load, rows, splat, store, tile

# Rows of a tile that is 1, 2 or 3 vectors wide. The tile, one vector per column and a broadcast
# item must fit the vector registers; x86 has too few address registers for more than 8 rows. CHUNK
# pixels are whole tiles of all widths and whole 2x2 pools.
ROWS1, ROWS2, ROWS3, CHUNK = (8, 8, 8, 16) if cpu.registers == 32 else (6, 6, 4, 12)
# The same for weight gradients: the rows are taps, often 9 or 25.
TAPS2, TAPS3 = (5, 5) if cpu.registers == 32 else (5, 4)


@inline
def sum_products(acc, x, outer, first, end, inner, count, w, sums, accumulate):
    """sums[r - first, j] = sum over t < count of x[outer[r] + inner[t]] * w[t, j].

    For first <= r < end. w (count, width) is a panel as wide as the register tile `acc`. With
    `accumulate` the sums are added to `sums` (end - first, width).
    """
    at = indices(acc)
    for r in range(first, end, rows(acc)):
        for i in range(rows(acc)):
            at[i] = outer[min(r + i, end - 1)]  # repeat the last row in a partial tile
            for j in range(columns(acc)):
                acc[i, j] = splat(x, 0)
        for t in range(count):
            step = inner[t]
            for i in range(rows(acc)):
                a = splat(x, x[at[i] + step])
                for j in range(columns(acc)):
                    acc[i, j] = fma(a, load(w, (t * columns(acc) + j) * lanes(x)), acc[i, j])
        for i in range(rows(acc)):
            if not accumulate or r + i < end:
                for j in range(columns(acc)):
                    to = ((r - first + i) * columns(acc) + j) * lanes(x)
                    store(sums, to, load(sums, to) + acc[i, j] if accumulate else acc[i, j])


@inline
def multiply_panel(width, x, outer, first, end, inner, count, w, sums, accumulate):
    """`sum_products` for a panel that is `width` vectors wide."""
    if width == 3:
        sum_products(tile(ROWS3, 3, x), x, outer, first, end, inner, count, w, sums, accumulate)
    elif width == 2:
        sum_products(tile(ROWS2, 2, x), x, outer, first, end, inner, count, w, sums, accumulate)
    else:
        sum_products(tile(ROWS1, 1, x), x, outer, first, end, inner, count, w, sums, accumulate)


@inline
def panel_width(vectors):
    """The width of the next panel, of `vectors` remaining: 2 vectors, or 3 if odd, or the last."""
    return 1 if vectors == 1 else 2 + vectors % 2
