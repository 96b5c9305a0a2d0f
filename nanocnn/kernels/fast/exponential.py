"""exp and tanh of vectors (jit/simd.py), in float32 and float64, with errors of about one ulp.

exp(x) = 2^n exp(r), where n is x / ln 2 rounded to a whole number and |r| <= ln(2) / 2. There
exp(r) = 1 + r + r^2 Q(r), with a polynomial Q that interpolates at Chebyshev's nodes: its relative
error is 1e-8 for float32 and 2e-17 for float64. ln 2 is subtracted in two parts, the first of so
few bits that n times it is exact (Cody & Waite).
"""

from ...jit.inline import inline
from ...jit.simd import fma, item_bits, select, splat
from ...jit.simd_lanes import copysign, exp2

LOG2E = 1.4426950408889634
# Per dtype: the two parts of ln 2; what to add to a number, and subtract again, to round it; the
# interval outside of which exp is 0 or infinity; the coefficients of Q, highest power first
LN2_32, ROUND_32, RANGE_32 = (0.693145751953125, 1.4286068203094287e-06), 1.5 * 2**23, (-104, 89)
LN2_64, ROUND_64, RANGE_64 = (0.6931471803691238, 1.9082149293851713e-10), 1.5 * 2**52, (-746, 710)
Q_32 = (
    0.00139261835877136, 0.008363179052722578, 0.041666554617204574, 0.16666576989698775, 0.5,
)  # fmt: skip
Q_64 = (
    2.5100491196560127e-08, 2.7620090001687383e-07, 2.7557268155388257e-06, 2.48015212920282e-05,
    0.0001984126986334991, 0.0013888888917217076, 0.008333333333329954, 0.041666666666624115,
    0.16666666666666669, 0.5,
)  # fmt: skip


@inline
def polynomial(x, coefficients):
    value = splat(x, coefficients[0])
    for i in range(1, len(coefficients)):
        value = fma(value, x, splat(x, coefficients[i]))
    return value


@inline
def _limit(x, lower, upper):
    """x in [lower, upper]; NaN stays NaN."""
    x = select(x < splat(x, lower), splat(x, lower), x)
    return select(x > splat(x, upper), splat(x, upper), x)


@inline
def _whole(x):
    """The lanes rounded to whole numbers."""
    big = splat(x, ROUND_32 if item_bits(x) == 32 else ROUND_64)
    return (x + big) - big


@inline
def _reduce(x):
    """(n, exp(r) - 1) for x = n ln(2) + r."""
    n = _whole(x * splat(x, LOG2E))
    if item_bits(x) == 32:
        r = fma(n, splat(x, -LN2_32[1]), fma(n, splat(x, -LN2_32[0]), x))
        q = polynomial(r, Q_32)
    else:
        r = fma(n, splat(x, -LN2_64[1]), fma(n, splat(x, -LN2_64[0]), x))
        q = polynomial(r, Q_64)
    return n, fma(r * r, q, r)


@inline
def exp(x):
    """e^x for a vector x; infinity and 0 where that is too large or too small."""
    x = _limit(x, RANGE_32[0], RANGE_32[1]) if item_bits(x) == 32 else _limit(
        x, RANGE_64[0], RANGE_64[1]
    )  # fmt: skip
    n, e = _reduce(x)
    half = _whole(n * splat(x, 0.5))  # 2^n itself may overflow, or be subnormal
    return (e + splat(x, 1)) * exp2(half) * exp2(n - half)


@inline
def tanh(x):
    """tanh of a vector x; it keeps the sign of 0, and subnormal numbers.

    With t = exp(2|x|) - 1, computed without cancellation for small x, it is t / (t + 2).
    """
    a = copysign(x, splat(x, 1))
    n, e = _reduce(_limit(a + a, 0, 40))  # tanh(20) is 1
    power = exp2(n)
    t = fma(power, e, power - splat(x, 1))
    return copysign(t / (t + splat(x, 2)), x)
