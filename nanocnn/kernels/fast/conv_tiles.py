"""The one inner loop of all convolutions, and the pieces around it.

A convolution reads its input through two tables of offsets into one (padded) sample:
    im2col[p, k] = x[pixel[p] + tap[k]]         p an output pixel, k a weight (kh,kw,c)
so that the three products of a layer need no im2col matrix:
    y[p, f]       = sum over k of x[pixel[p] + tap[k]] * weight[k, f]
    dweight[k, f] = sum over p of x[tap[k] + pixel[p]] * dy[p, f]
    dx            = the first one again, of the padded dy and the flipped, transposed weights
Both sums are `accumulate`: a block of rows x (columns * lanes) results in registers, one splat of x
a row, one multiply-add a cell. The right factor is packed into panels as wide as the block.
Strides, dilations, odd sizes and any number of channels are only other numbers in the tables.
"""

from ..host import host
from ..inlining import inlined
from ..simd import columns, fma, lanes, load, maximum, rows, select, splat

# Rows of a block that is 2 or 3 vectors wide: the sums, one vector a column and a splat must fit
# the registers; more than 8 rows would need more addresses than x86 has registers for.
ROWS2, ROWS3, CHUNK = (8, 8, 16) if host.registers == 32 else (6, 4, 12)
# CHUNK pixels are whole blocks of both kinds, and whole 2x2 windows.

PLAIN, MASKED, UNPOOLED = 0, 1, 2  # what a gradient is multiplied with when it is read
NO_WINNER = 4  # the code of a 2x2 window behind a ReLU in which nothing was positive


@inlined
def accumulate(acc, x, at, steps, w, count):
    """acc[i, j] += sum over t < count of x[at[i] + steps[t]] * w[t, j]."""
    for t in range(count):
        step = steps[t]
        for i in range(rows(acc)):
            a = splat(x, x[at[i] + step])
            for j in range(columns(acc)):
                acc[i, j] = fma(a, load(w, (t * columns(acc) + j) * lanes(x)), acc[i, j])


@inlined
def panel_width(vectors):
    """How many vectors wide the next panel is, of those left: 3 if they are odd, else 2."""
    return 3 if vectors % 2 == 1 and vectors > 1 else 2


@inlined
def relu(v):
    """max(v, 0); NaN stays NaN."""
    return maximum(splat(v, 0), v)


@inlined
def pool_four(p, right, down):
    """The maximum of p[0], p[right], p[down], p[down + right] (vectors) and which it was: 0 to 3.

    The first of equals wins; a NaN beats every number and is beaten by nothing.
    """
    best, code = load(p, 0), splat(p, 0)
    for q in range(1, 4):
        value = load(p, q % 2 * right + q // 2 * down)
        wins = ((value > best) | (value != value)) & (best == best)
        best, code = select(wins, value, best), select(wins, splat(p, q), code)
    return best, code
