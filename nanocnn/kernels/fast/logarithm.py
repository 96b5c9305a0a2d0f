"""log and log1p of vectors (jit/simd.py), in float32 and float64, with errors of about two ulp.

With s = f / (2 + f) and z = s^2, log(1 + f) = 2 artanh(s) = 2s + s z P(z). P is a polynomial that
interpolates at Chebyshev's nodes for z up to 1/9, so for f from -1/2 to 1. log(x) is n ln(2) +
log(m) for x = 2^n m.
"""

from ...jit.inline import inline
from ...jit.simd import fma, item_bits, splat
from ...jit.simd_lanes import exp2, exponent
from .exponential import LN2_32, LN2_64, polynomial

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
    s = f / (f + splat(f, 2))
    z = s * s
    p = polynomial(z, P_32) if item_bits(f) == 32 else polynomial(z, P_64)
    return fma(s * z, p, s + s)


@inline
def log(x):
    """log(x) for a vector x of normal numbers from 2^-120 to 2^120; NaN stays NaN."""
    n = exponent(x)
    value = log1p(x * exp2(splat(x, 0) - n) - splat(x, 1))
    if item_bits(x) == 32:
        return fma(n, splat(x, LN2_32[0]), fma(n, splat(x, LN2_32[1]), value))
    return fma(n, splat(x, LN2_64[0]), fma(n, splat(x, LN2_64[1]), value))
