"""Results recomputed from kernels/README.md: exact fractions, rounded where the page says so."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from nanocnn.kernels import fast
from nanocnn.kernels.fast import exponential
from nanocnn.kernels.geometry import sliding_window
from support.functions import evaluate


class Number:
    """A number of a dtype, whose operations are exact and then rounded once, as IEEE 754 says."""

    def __init__(self, value, dtype):
        self.dtype = np.dtype(dtype)
        self.exact = nearest(Fraction(value), self.dtype)

    def _rounded(self, exact):
        return Number(exact, self.dtype)

    def __add__(self, other):
        return self._rounded(self.exact + other.exact)

    def __sub__(self, other):
        return self._rounded(self.exact - other.exact)

    def __mul__(self, other):
        return self._rounded(self.exact * other.exact)

    def __truediv__(self, other):
        return self._rounded(self.exact / other.exact)

    def __neg__(self):
        return self._rounded(-self.exact)

    def __float__(self):
        return float(self.exact)


def nearest(value, dtype):
    """The fraction rounded to the nearest number of a dtype, a tie to the even one."""
    if value == 0:
        return value
    digits, least = (24, -149) if dtype == np.float32 else (53, -1074)
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent + 1 - digits, least)
    return round(value / unit) * unit


def fma(a, b, c):
    return Number(a.exact * b.exact + c.exact, c.dtype)


def chain(a, b, zero):
    for left, right in zip(a, b, strict=True):
        zero = fma(left, right, zero)
    return zero


def numbers(values, dtype):
    return [Number(float(value), dtype) for value in values]


@pytest.mark.parametrize("rows", [1, 7])
def test_dense_forward(dtype, rng, rows):
    """y = bias + (chain over 256 inputs) + (chain over the others)."""
    x, weight, bias = rng.normal(size=(rows, 300)), rng.normal(size=(300, 5)), rng.normal(size=5)
    x, weight, bias = (a.astype(dtype) for a in (x, weight, bias))
    y = fast.dense_forward(x, weight, bias)
    zero = Number(0, dtype)
    for f in range(5):
        left, right = numbers(x[-1], dtype), numbers(weight[:, f], dtype)
        first, second = (chain(left[s], right[s], zero) for s in (slice(256), slice(256, None)))
        assert float(y[-1, f]) == float(Number(float(bias[f]), dtype) + first + second)


@pytest.mark.parametrize("algorithm", ["direct", "planar", "im2col"])
def test_convolution(dtype, rng, algorithm):
    """One chain over (kh, kw, c) of the padded image, then the bias."""
    window = sliding_window((5, 6), (3, 3), (1, 1), "same")
    x, weight = (
        rng.normal(size=(1, 5, 6, 2)).astype(dtype),
        rng.normal(size=(3, 3, 2, 3)).astype(dtype),
    )
    bias = rng.normal(size=3).astype(dtype)
    y = fast.conv2d_forward(x, weight, bias, window, algorithm=algorithm)
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    for h, w, f in np.ndindex(5, 6, 3):
        seen = numbers(padded[h : h + 3, w : w + 3].ravel(), dtype)
        total = chain(seen, numbers(weight[..., f].ravel(), dtype), Number(0, dtype))
        assert float(y[0, h, w, f]) == float(total + Number(float(bias[f]), dtype))


def test_adam(dtype, rng):
    """m, v and w in the page's formulas; sqrt is correctly rounded in both dtypes."""
    w, g, m, v = rng.normal(size=(4, 33)).astype(dtype)
    v = abs(v)
    b, c, beta1, beta2, epsilon = own = 1.3e-3, 1.01, 0.9, 0.999, 1e-7
    given = numbers([b, c, beta1, beta2, epsilon], dtype)
    b, c, beta1, beta2, epsilon = given
    one, want = Number(1, dtype), []
    for each in zip(*(numbers(a, dtype) for a in (w, g, m, v)), strict=True):
        param, grad, mean, moment = each
        mean = fma(grad - mean, one - beta1, mean)
        moment = fma(fma(grad, grad, -moment), one - beta2, moment)
        root = Number(float(np.sqrt(np.dtype(dtype).type(float(moment)))), dtype)
        want.append((float(param - b * mean / fma(root, c, epsilon)), float(mean), float(moment)))
    table = np.array([0, 0, np.inf, np.inf, *own, 0, 0])
    fast.adam_update([w], [g], [m], [v], [], table)
    assert_array_equal(np.array([w, m, v], np.float64).T, want)


@pytest.mark.parametrize("momentum", [0.99, 0.7, 0.0, 1.0])
def test_average_of_the_weights(dtype, rng, momentum):
    w, a = rng.normal(size=(2, 33)).astype(dtype)
    (m,), one = numbers([momentum], dtype), Number(1, dtype)
    pairs = zip(numbers(w, dtype), numbers(a, dtype), strict=True)
    want = [float(fma(m, each, (one - m) * param)) for param, each in pairs]
    given = w.copy()
    for overwrites in (0, 1):
        mean = a.copy()
        fast.ema_update([w], [mean], np.array([*[0] * 9, momentum, overwrites]))
        assert_array_equal(mean.astype(float), want)
        assert_array_equal(w, mean if overwrites else given)


def test_exp(dtype, rng):
    """2^n (1 + e), e = fma(r r, Q(r), r)."""
    x = np.append(rng.normal(size=40) * 5, [-87, 88, 0.1, -1e-9]).astype(dtype)
    y = evaluate("exp", x)
    suffix = "32" if dtype == "float32" else "64"
    q, ln2 = (numbers(getattr(exponential, f"{name}_{suffix}"), dtype) for name in ("Q", "LN2"))
    for each, got in zip(numbers(x, dtype), y, strict=True):
        whole = round(each.exact * Number(exponential.LOG2E, dtype).exact)
        n = Number(whole, dtype)
        r = fma(n, -ln2[1], fma(n, -ln2[0], each))
        value = q[0]
        for coefficient in q[1:]:
            value = fma(value, r, coefficient)
        e = fma(r * r, value, r)
        total = (e + Number(1, dtype)).exact * Fraction(2) ** whole
        assert float(got) == float(Number(total, dtype))
