"""exp, expm1, sigmoid and tanh of vectors (jit/simd.py), in float32 and float64.

exp(x) = 2^n exp(r), where n is x / ln 2 rounded to a whole number and |r| <= ln(2) / 2. There
exp(r) = 1 + e with e = r + r^2 Q(r), and a polynomial Q that interpolates at Chebyshev's nodes: its
relative error is 1e-8 for float32 and 2e-17 for float64. ln 2 is subtracted in two parts, the first
of so few bits that n times it is exact (Cody & Waite).

Only IEEE operations are used, so the bits are the same on all processors that have a fused
multiply-add. kernels/README.md has the largest errors.
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

# tanh(x) = x + x^3 T(x^2) for |x| < SMALL: an error of 6e-9 for float32, 6e-18 for float64
SMALL = 0.55
T_32 = (
    -0.006610221229493618, 0.0213093850761652, -0.05390942841768265, 0.13333113491535187,
    -0.3333333134651184,
)  # fmt: skip
T_64 = (
    -2.060272077888768e-05, 8.511306593181794e-05, -0.00023463469274208294, 0.0005889360335592964,
    -0.0014556618257838608, 0.0035921103780510227, -0.008863234397755236, 0.021869488493663648,
    -0.05396825396743391, 0.13333333333332714, -0.3333333333333333,
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
def _round(x, factor):
    """x * factor rounded to whole numbers."""
    big = splat(x, ROUND_32 if item_bits(x) == 32 else ROUND_64)
    return fma(x, splat(x, factor), big) - big


@inline
def _reduce(x):
    """(n, exp(r) - 1) for x = n ln(2) + r."""
    n = _round(x, LOG2E)
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
    half = _round(n, 0.5)  # 2^n itself may overflow, or be subnormal
    return (e + splat(x, 1)) * exp2(half) * exp2(n - half)


@inline
def expm1(x):
    """e^x - 1 for a vector x of numbers up to 0; it keeps the sign of 0, and subnormal numbers."""
    n, e = _reduce(select(x < splat(x, -40), splat(x, -40), x))  # exp(-40) - 1 is -1
    power = exp2(n)
    return fma(power, e, power - splat(x, 1))


@inline
def sigmoid(x):
    """1 / (1 + exp(-x)) for a vector x = s / (s + p + p e), with s = 2^k and p = 2^(n + k).

    2k = -n, so that neither overflows; the result may be subnormal. What s + p loses is added to
    p e, which is small.
    """
    most = -RANGE_32[0] if item_bits(x) == 32 else -RANGE_64[0]
    n, e = _reduce(_limit(-x, -most, most))
    half = _round(n, -0.5)
    s, p = exp2(half), exp2(n + half)
    both = s + p
    return s / (both + fma(p, e, s - (both - p)))


@inline
def tanh(x):
    """tanh of a vector x = 1 - 2 / (1 + exp(2x)); it keeps the sign of 0, and subnormal numbers."""
    one, most = splat(x, 1), splat(x, 20)  # tanh(20) is 1
    a = copysign(x, one)
    a = select(a > most, most, a)
    n, e = _reduce(a + a)
    power = exp2(n)
    large = one - splat(x, 2) / fma(power, e, power + one)
    z = a * a
    p = polynomial(z, T_32) if item_bits(x) == 32 else polynomial(z, T_64)
    return copysign(select(a < splat(x, SMALL), fma(a * z, p, a), large), x)
