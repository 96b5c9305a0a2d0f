"""Powers and cosines of Python floats, with the same bits on every machine.

The C library's functions, which `**` and `math.cos` call, differ in the last bit from one system to
the next. Here everything is computed in whole numbers, with BITS bits after the binary point, and
rounded to float64 at the end: the result is the float nearest to the true value, unless that lies
within 2^-80 of the middle between two. `math.sqrt` needs no such care: IEEE 754 defines each bit.
"""

from functools import lru_cache
from math import frexp, isfinite, ldexp

BITS = 128
ONE = 1 << BITS
LN2 = 0xB17217F7D1CF79ABC9E3B39803F2F6AF  # ln(2) * ONE
HALVINGS = 8  # of an argument, so that its series is short


def power(x: float, y: float) -> float:
    """Return x**y for x >= 0; OverflowError if it is too large."""
    if x in (0, 1) or y == 0 or not isfinite(x) or not isfinite(y):
        return float(x**y)  # which is exact
    above, below = y.as_integer_ratio()
    n, rest = divmod(_log(x) * above // below, LN2)
    return ldexp(_exp(rest) / ONE, n)


def cos(x: float) -> float:
    """Return the cosine of x, for |x| up to 4."""
    above, below = x.as_integer_ratio()
    t = (above << BITS) // below >> HALVINGS
    square = t * t >> BITS
    term = fall = square >> 1  # fall = 1 - cos(t) = t^2/2! - t^4/4! + ...
    k = 2
    while term:
        term = -(term * square >> BITS) // ((k + 1) * (k + 2))
        fall += term
        k += 2
    for _ in range(HALVINGS):  # 1 - cos(2t) = 2 (1 - cos(t)) (1 + cos(t))
        fall = fall * (2 * ONE - fall) >> BITS - 1
    return (ONE - fall) / ONE


@lru_cache(64)
def _log(x: float) -> int:
    """ln(x) * ONE; ln(m) = 2 (s + s^3/3 + s^5/5 + ...) for s = (m - 1) / (m + 1)."""
    m, n = frexp(x)
    if m < 0.75:
        m, n = 2 * m, n - 1
    above, below = m.as_integer_ratio()
    s = (above - below << BITS) // (above + below)
    square, total, k = s * s >> BITS, s, 1
    while abs(s) > 1:
        s = s * square >> BITS
        k += 2
        total += s // k
    return 2 * total + n * LN2


def _exp(t: int) -> int:
    """exp(t / ONE) * ONE for 0 <= t < LN2."""
    t >>= HALVINGS
    term, rise, k = t, t, 1  # rise = exp(t) - 1 = t + t^2/2! + ...
    while term:
        k += 1
        term = (term * t >> BITS) // k
        rise += term
    for _ in range(HALVINGS):  # exp(2t) - 1 = (exp(t) - 1) (exp(t) + 1)
        rise = rise * (2 * ONE + rise) >> BITS
    return ONE + rise
