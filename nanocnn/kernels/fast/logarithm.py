"""log and log1p of vectors (jit/simd.py), in float32 and float64.

With s = f / (2 + f) and z = s^2, log(1 + f) = 2 artanh(s) = 2s + s z P(z). P is a polynomial that
interpolates at Chebyshev's nodes for z up to 1/9, so for f from -1/2 to 1. As 2s = f - s f, it is
f - (h - s (h + z P(z))) with h = f^2 / 2, whose largest term f is exact. log(x) is n ln(2) +
log(m) for x = 2^n m. kernels/README.md has the largest errors.
"""

import numpy as np

from ...jit.inline import inline
from ...jit.simd import fma, item_bits, select, splat
from ...jit.simd_lanes import exponent, highest, pair, significand
from .exponential import LN2_32, LN2_64, polynomial

SMALLEST_32, SMALLEST_64 = 2.0**-126, 2.0**-1022  # normal numbers
SHIFT = 64  # subnormal numbers are multiplied by 2^SHIFT
P_32 = (
    0.23224329948425293, 0.2170657515525818, 0.285923570394516, 0.3999970555305481,
    0.6666666865348816,
)  # fmt: skip
P_64 = (
    0.1616404561194353, 0.08800738486144674, 0.12001072809590713, 0.13314144209654935,
    0.15385570064958623, 0.18181789436132859, 0.22222222717427864, 0.2857142856710876,
    0.40000000000014585, 0.6666666666666666,
)  # fmt: skip


@inline
def log1p(f):
    """log(1 + f) for a vector f from -1/2 to 1."""
    s, half = f / (f + splat(f, 2)), f * f * splat(f, 0.5)
    z = s * s
    p = polynomial(z, P_32) if item_bits(f) == 32 else polynomial(z, P_64)
    return f + fma(s, fma(z, p, half), -half)


@inline
def log(x):
    """log(x) for a vector x; -infinity of 0, NaN of negative numbers."""
    zero, infinity = splat(x, 0), splat(x, np.inf)
    subnormal = x < splat(x, SMALLEST_32 if item_bits(x) == 32 else SMALLEST_64)
    y = select(subnormal, x * splat(x, 2.0**SHIFT), x)
    n = exponent(y) - select(subnormal, splat(x, SHIFT), zero)
    value = log1p(significand(y) - splat(x, 1))
    if item_bits(x) == 32:
        value = fma(n, splat(x, LN2_32[0]), fma(n, splat(x, LN2_32[1]), value))
    else:
        value = fma(n, splat(x, LN2_64[0]), fma(n, splat(x, LN2_64[1]), value))
    value = select(x < infinity, value, x)
    return select(x > zero, value, select(x == zero, -infinity, splat(x, np.nan)))


@inline
def log_of_number(x):
    """log(x) of a number."""
    return highest(log(pair(x)))
