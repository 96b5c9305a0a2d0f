"""erf of vectors (jit/simd.py), in float32 and float64.

Below 1, erf(x) = x + x S(x^2). From there on, until it is 1, erf(x) = 1 - exp(-x^2) L(t) with
t = (x - 2) / (x + 2) and L(t) = exp(x^2) erfc(x). S and L are polynomials that interpolate at
Chebyshev's nodes. kernels/README.md has the largest errors.
"""

from ...jit.inline import inline
from ...jit.simd import fma, item_bits, select, splat
from ...jit.simd_lanes import copysign
from .exponential import exp, polynomial

# Where erf is 1, and the coefficients of S and L, highest power first: an error of 1e-9 and 8e-9
# for float32, 7e-18 and 9e-18 for float64
ONE_32, ONE_64 = 4, 6
S_32 = (
    7.875874871388078e-05, -0.000801686430349946, 0.005189087241888046, -0.02685421146452427,
    0.11283594369888306, -0.3761262595653534, 0.12837916612625122,
)  # fmt: skip
L_32 = (
    0.0068373666144907475, 0.003592670662328601, -0.07897195219993591, 0.24166402220726013,
    -0.42718589305877686, 0.25539565086364746,
)  # fmt: skip
S_64 = (
    -7.795898827002142e-10, 1.3720064546777686e-08, -1.6208483801871705e-07, 1.6447424703317362e-06,
    -1.492473690741966e-05, 0.00012055294904839707, -0.0008548325975389692, 0.0052239776071164225,
    -0.02686617064323777, 0.11283791670945006, -0.37612638903183543, 0.12837916709551256,
)  # fmt: skip
L_64 = (
    3.917059299925389e-06, 1.820143195975009e-06, -1.4067532694582058e-05, -2.7647305443610053e-05,
    2.754312818566672e-05, 0.00017436697232946864, 4.3554202452705896e-05, -0.0009819773208131022,
    -0.0008471431980760424, 0.006997461747753573, 0.00373289240349224, -0.07897858101585253,
    0.24165819424246987, -0.4271858474139579, 0.25539567631050575,
)  # fmt: skip


@inline
def erf(x):
    """erf of a vector x; it keeps the sign of 0, and subnormal numbers."""
    one, two = splat(x, 1), splat(x, 2)
    most = splat(x, ONE_32 if item_bits(x) == 32 else ONE_64)
    a = copysign(x, one)
    a = select(a > most, most, a)
    z, t = a * a, (a - two) / (a + two)
    if item_bits(x) == 32:
        small, tail = polynomial(z, S_32), polynomial(t, L_32)
    else:
        small, tail = polynomial(z, S_64), polynomial(t, L_64)
    large = fma(-exp(-z), tail, one)
    return copysign(select(a < one, fma(a, small, a), large), x)
