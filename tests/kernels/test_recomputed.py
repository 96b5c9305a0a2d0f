"""Results recomputed from kernels/README.md: exact fractions, rounded where the page says so."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from nanocnn.kernels import fast
from nanocnn.kernels.fast import exponential
from nanocnn.kernels.geometry import sliding_window
from support.functions import evaluate
from support.naive_warp import hashed


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


@pytest.mark.parametrize("mode", ["reflect", "wrap", "nearest"])
def test_image_transforms(dtype, rng, mode):
    """A rotation, a shear and an elastic one, composed; places wide, pixels in the model's type."""
    H, W, cells, place = 5, 4, 2, 3
    low, high = -0.4, 0.3
    transforms = np.array([[kind, low, high, low, high, cells] for kind in (1, 3, 4)])
    keys = rng.integers(2**64, size=(3, 2), dtype=np.uint64)
    keys[:, 1] = place
    x = rng.normal(size=(1, H, W, 1)).astype(dtype)
    y = fast.warp_forward(x, transforms, keys, mode, 0.0)[0, ..., 0]
    wide = lambda value: Number(value, "float64")  # noqa: E731
    narrow = lambda number: Number(number.exact, dtype)  # noqa: E731

    def drawn(key, i):
        return wide(low) + (wide(high) - wide(low)) * wide(hashed(i, int(key[0])))

    t = drawn(keys[0], 6 * place)
    whole = wide(math.floor((t + wide(Fraction(1, 2))).exact))
    t = (t - whole) * wide(math.pi / 4)
    z, series = t * t, {}
    for first, last in ((3, 11), (4, 10)):
        total = wide(Fraction(1, math.factorial(last)))
        for n in range(last - 2, first - 1, -2):
            total = wide(Fraction(1, math.factorial(n))) - z * total
        series[first] = total
    sine, fall = t - t * z * series[3], z * (wide(Fraction(1, 2)) - z * series[4])
    for _ in range(3):
        sine, fall = wide(2) * sine * (wide(1) - fall), wide(2) * sine * sine
    cosine = wide(1) - fall
    sign = wide(-1 if hashed(6 * place + 2, int(keys[1, 0])) < 0.5 else 1)
    a, b = (sign * drawn(keys[1], 6 * place + i) for i in (0, 1))
    down, right = b * wide(W - 1) / wide(2), a * wide(H - 1) / wide(2)
    M = [[cosine, sine, wide(0)], [-sine, cosine, wide(0)]]
    N = [[wide(1), b, down], [a, wide(1), right]]
    M = [[m[0] * N[0][k] + m[1] * N[1][k] for k in (0, 1)]
         + [m[0] * N[0][2] + m[1] * N[1][2] + m[2]] for m in M]  # fmt: skip

    K = cells + 3
    knots = [
        narrow(drawn(keys[2], 2 * K * K * place + i) * wide(H if i < K * K else W))
        for i in range(2 * K * K)
    ]
    rows, columns = (weights(cells, n, dtype) for n in (H, W))
    inner = np.pad(x[0, ..., 0], 1, {"reflect": "symmetric", "nearest": "edge"}.get(mode, mode))
    for i, j in np.ndindex(H, W):
        cell, share = [], []
        for way, n in enumerate((H, W)):
            moved = Number(0, dtype)
            for right in range(K):
                column = Number(0, dtype)
                for k in range(K):
                    column = column + knots[(way * K + k) * K + right] * rows[i][k]
                moved = moved + column * columns[j][right]
            middle = wide(Fraction(n - 1, 2))
            place_y, place_x = (wide(v - Fraction(m - 1, 2)) for v, m in ((i, H), (j, W)))
            base = M[way][0] * place_y + (M[way][2] + middle)
            found = folded(base + M[way][1] * place_x + wide(moved.exact), n, mode, wide)
            first = min(math.floor(found.exact), n - 1)
            cell.append(first + 1)
            share.append(narrow(found - wide(first)))
        (top, left), (fy, fx) = cell, share
        P, Q, R, S = numbers(inner[top : top + 2, left : left + 2].ravel(), dtype)
        upper, lower = P + fx * (Q - P), R + fx * (S - R)
        assert float(y[i, j]) == float(upper + fy * (lower - upper))


def test_morphology(dtype, rng):
    """d - q to the pixel itself, q to the first of its cross that is the maximum or minimum."""
    N, H, W, low, high, place = 6, 4, 3, -0.8, 0.9, 5
    x, dy = rng.normal(size=(2, N, H, W)).astype(dtype)
    keys = np.array([rng.integers(2**63), place], np.uint64)
    y = fast.morphology_forward(x[..., None], low, high, keys)[..., 0]
    dx = fast.morphology_backward(dy[..., None], x[..., None], low, high, keys)[..., 0]
    wide = lambda value: Number(value, "float64")  # noqa: E731
    cross = (0, 0), (-1, 0), (0, -1), (0, 1), (1, 0)
    for n in range(N):
        u = wide(hashed(place + n, int(keys[0])))
        a = (wide(low) + (wide(high) - wide(low)) * u).exact
        s = Number(abs(a), dtype)
        pixels, q, first, totals = {}, {}, {}, {}
        for at in np.ndindex(H, W):
            near = [(at[0] + i, at[1] + j) for i, j in cross]
            near = [each for each in near if 0 <= each[0] < H and 0 <= each[1] < W]
            pixels[at], d = Number(float(x[n][at]), dtype), Number(float(dy[n][at]), dtype)
            first[at] = (max if a >= 0 else min)(near, key=lambda each, n=n: x[n][each])
            q[at] = s * d
            totals[at] = d - q[at]
            m = Number(float(x[n][first[at]]), dtype)
            assert float(y[n][at]) == float(pixels[at] + s * (m - pixels[at]))
        for i, j in cross:
            for at in np.ndindex(H, W):
                source = at[0] - i, at[1] - j
                if first.get(source) == at:
                    totals[at] = totals[at] + q[source]
        for at, total in totals.items():
            assert float(dx[n][at]) == float(total)


def weights(cells, n, dtype):
    """The spline's weights (cells + 3) of each of n pixels."""
    found = []
    for pixel in range(n):
        v = Number(pixel * cells, "float64") / Number(n - 1, "float64")
        c = min(math.floor(v.exact), cells - 1)
        t, one, three, four, six = (Number(value, "float64") for value in (v.exact - c, 1, 3, 4, 6))
        four_weights = [
            (one - t) * (one - t) * (one - t) / six,
            (three * t * t * t - six * t * t + four) / six,
            (three * t * t + three * t + one - three * t * t * t) / six,
            t * t * t / six,
        ]
        row = [Number(0, dtype)] * (cells + 3)
        row[c : c + 4] = [Number(each.exact, dtype) for each in four_weights]
        found.append(row)
    return found


def folded(v, n, mode, wide):
    """The place v in an image of n pixels and its border."""
    half = wide(Fraction(1, 2))
    if mode == "nearest":
        return wide(min(max(v.exact, -1), n))
    period = wide(2 * n if mode == "reflect" else n)
    w = v + half
    w = w - period * wide(math.floor((w / period).exact))
    return (w if mode == "wrap" else min(w, period - w, key=lambda each: each.exact)) - half
