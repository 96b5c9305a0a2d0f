"""The one inner loop of all direct convolutions.

`sum_products` takes a block of rows x (columns * lanes) results in registers: for each product one
splat of x a row and one multiply-add a cell. Where x is read, two tables of offsets say (the map is
in conv.py); they change places between a layer's two sums:
    y[p, f]       = sum over k of x[pixel[p] + tap[k]] * weight[k, f]
    dweight[k, f] = sum over p of x[tap[k] + pixel[p]] * dy[p, f]
The right factor is packed into panels as wide as the block.
"""

from ....jit.cpu import cpu
from ....jit.inline import inline
from ....jit.simd import columns, fma, indices, lanes, load, rows, splat, store

# Rows of a block that is 2 or 3 vectors wide: the sums, one vector a column and a splat must fit
# the registers; more than 8 rows would need more addresses than x86 has registers for.
ROWS2, ROWS3, CHUNK = (8, 8, 16) if cpu.registers == 32 else (6, 4, 12)
# CHUNK pixels are whole blocks of both kinds, and whole 2x2 windows.


@inline
def sum_products(acc, x, outer, first, end, inner, count, w, sums, add):
    """sums[r - first, j] = sum over t < count of x[outer[r] + inner[t]] * w[t, j].

    For first <= r < end, and `acc` (the tile of registers) as wide as w. With `add` the sums are
    added to what is there.
    """
    at = indices(acc)
    for r in range(first, end, rows(acc)):
        for i in range(rows(acc)):
            at[i] = outer[min(r + i, end - 1)]  # the last row again where there are no more
            for j in range(columns(acc)):
                acc[i, j] = splat(x, 0)
        for t in range(count):
            step = inner[t]
            for i in range(rows(acc)):
                a = splat(x, x[at[i] + step])
                for j in range(columns(acc)):
                    acc[i, j] = fma(a, load(w, (t * columns(acc) + j) * lanes(x)), acc[i, j])
        for i in range(rows(acc)):
            if not add or r + i < end:
                for j in range(columns(acc)):
                    to = ((r - first + i) * columns(acc) + j) * lanes(x)
                    store(sums, to, load(sums, to) + acc[i, j] if add else acc[i, j])


@inline
def panel_width(vectors):
    """How many vectors wide the next panel is, of those left: 3 if they are odd, else 2."""
    return 3 if vectors % 2 == 1 and vectors > 1 else 2
