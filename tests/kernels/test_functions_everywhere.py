"""The approximated functions: their largest errors are those that kernels/README.md states.

The slow tests take every float32, and 10^8 float64 values.
"""

import math
import re
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from support.functions import evaluate
from support.paths import ROOT

PAGE = (ROOT / "nanocnn/kernels/README.md").read_text()
FUNCTIONS = ("exp", "log", "log1p", "tanh", "sigmoid", "elu", "erf")
CHUNK = 1 << 20
PI = "3.14159265358979323846264338327950288"
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan]


def exact(name, x):
    """The function in a wider type. An error of half an ulp of float64 is 2^-30 ulp of float32."""
    with np.errstate(all="ignore"):
        x = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
        if name == "erf":
            return erf64(x) if x.dtype == np.float64 else wide_erf(x)
        if name == "elu":
            return np.where(x < 0, np.expm1(x), x)
        return 1 / (1 + np.exp(-x)) if name == "sigmoid" else getattr(np, name)(x)


@numba.vectorize(["float64(float64)"])
def erf64(x):
    return math.erf(x)


def wide_erf(x):
    """2/sqrt(pi) exp(-x^2) times the sum of 2^n x^(2n+1) / (2n+1)!!, all of whose terms are > 0."""
    a = np.minimum(abs(x), 7)
    term = total = a * (2 / np.sqrt(np.longdouble(PI)))
    for n in range(1, 200):
        term = term * (2 * a * a / (2 * n + 1))
        total = total + term
    tiny = abs(x) < np.finfo(float).tiny  # the factor's last digits are lost in the product
    value = np.copysign(total * np.exp(-a * a), x)
    return np.where(tiny, x * (2 / np.sqrt(np.longdouble(PI))), value)


def stated(name, dtype):
    """The largest error of a function that the page states, in ulps."""
    row = re.search(rf"^\| `{name}` *\|.*\| *([\d.]+) *\| *([\d.]+) *\|$", PAGE, re.MULTILINE)
    return float(row[1 if dtype == "float32" else 2])


# The ulp of float32 numbers whose float64 has these 11 bits of exponent
ULPS = np.ldexp(1.0, np.maximum(np.arange(2048) - 1022 - 24, -149))


@numba.njit(nogil=True)
def largest_error(y, want, bits):
    """(the largest |y - want| in ulps of want, the place of the first wrong special number or -1).

    bits: those of want, which is float64.
    """
    worst = 0.0
    for i in range(y.size):
        w, v, nearest = want[i], y[i], np.float32(want[i])
        if nearest != nearest or abs(nearest) == np.inf or w == 0:
            same = v == nearest and math.copysign(1.0, v) == math.copysign(1.0, w)
            if not same and not (v != v and nearest != nearest):
                return worst, i
        else:
            error = abs(v - w) / ULPS[(bits[i] >> 52) & 2047]
            worst = worst if error <= worst else error
    return worst, -1


def check(name, x):
    """The largest error over x, after the special results were found right."""
    if name == "log1p":
        x = x[(x >= -0.5) & (x <= 1)]
    if x.size == 0:
        return 0.0
    y, want = evaluate(name, x), exact(name, x)
    if x.dtype == np.float32:
        worst, wrong = largest_error(y, want, want.view(np.int64))
        assert wrong < 0, f"{name}({x[wrong]!r}) is {y[wrong]!r}, expected {want[wrong]!r}"
        return worst
    nearest = want.astype(x.dtype)
    plain = np.isfinite(nearest) & (want != 0)
    np.testing.assert_array_equal(y[~plain], nearest[~plain])
    signed = ~plain & (y == y)
    np.testing.assert_array_equal(np.signbit(y[signed]), np.signbit(want[signed]))
    ulps = np.ldexp(1.0, np.maximum(np.frexp(want[plain])[1] - 53, -1074))
    return float((abs(y[plain] - want[plain]) / ulps).max(initial=0))


def samples(name, dtype, rng, count):
    """Numbers of every size, those where a function changes quickly, special ones, range ends."""
    bits = np.dtype(dtype).itemsize * 8
    limits = np.finfo(dtype)
    any_bits = rng.integers(0, 2**bits, count // 4, f"uint{bits}").view(dtype)
    low, high = float(np.log(limits.smallest_subnormal)), float(np.log(limits.max))
    range_of_exp = rng.uniform(low - 2, high + 2, count // 4)
    sizes = np.exp2(rng.uniform(-20, 5, count // 4)) * rng.choice([-1, 1], count // 4)
    near_one = 1 + sizes * rng.uniform(0, 0.1, count // 4)
    ends = np.array([low, high, -low, -high, 0.55, 0.5**0.5, 2**0.5, 20, 1, -0.5,
                     limits.smallest_normal, limits.smallest_subnormal, limits.max])  # fmt: skip
    ends = np.concatenate([ends, -ends]).astype(dtype)
    around = [ends, np.nextafter(ends, dtype(np.inf)), np.nextafter(ends, dtype(-np.inf))]
    near = [x.astype(dtype) for x in (range_of_exp, sizes, near_one)]
    return np.concatenate([any_bits, *near, *around, np.array(SPECIAL, dtype)])


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sample(name, dtype, rng):
    if dtype == np.float64 and np.finfo(np.longdouble).eps > 2e-19:
        pytest.skip("np.longdouble is no wider than float64 here: nothing to compare with")
    worst = check(name, samples(name, dtype, rng, 1 << (22 if dtype == np.float32 else 19)))
    assert 0.5 * stated(name, dtype.__name__) < worst <= stated(name, dtype.__name__)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_float32(name):
    """Of all 2^32 patterns; the stated bound is the largest error, rounded up to 2 decimals."""

    def chunk(first):
        return check(name, np.arange(first, first + CHUNK, dtype=np.uint32).view(np.float32))

    with ThreadPoolExecutor(2) as pool:
        worst = max(pool.map(chunk, range(0, 1 << 32, CHUNK)))
    print(f"{name}: largest error over all float32 {worst:.4f} ulp")
    assert stated(name, "float32") - 0.01 <= worst <= stated(name, "float32")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.skipif(np.finfo(np.longdouble).eps > 2e-19, reason="np.longdouble is no wider")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64(name):
    """2 * 10^7 values of each function."""

    def chunk(seed):
        return check(name, samples(name, np.float64, np.random.default_rng(seed), 1_000_000))

    with ThreadPoolExecutor(2) as pool:
        worst = max(pool.map(chunk, range(20)))
    print(f"{name}: largest error over float64 {worst:.4f} ulp")
    assert worst <= stated(name, "float64")
