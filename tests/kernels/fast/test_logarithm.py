"""Logarithms of vectors against those of NumPy in a wider type, and the intrinsics of lanes."""

import numpy as np
import pytest

from nanocnn.jit.compile import kernel
from nanocnn.jit.simd import lanes, load_row, pointer, splat, store, store_row
from nanocnn.jit.simd_lanes import exponent, head, highest, widen
from nanocnn.kernels.fast import logarithm

log, log1p = logarithm.log, logarithm.log1p


@kernel
def _logarithms(part, parts, x, y, z):
    p, q, r = pointer(x), pointer(y), pointer(z)
    for i in range(0, x.size, lanes(p)):
        left = x.size - i
        store_row(q, i, log(load_row(p, i, left)), left)
        store_row(r, i, log1p(load_row(p, i, left)), left)


def logarithms(x):
    results = np.empty_like(x), np.empty_like(x)
    _logarithms(0, 1, x, *results)
    return results


def assert_within_ulps(actual, expected, count):
    ulp = np.spacing(np.abs(expected).astype(actual.dtype))
    assert np.nanmax(np.abs((actual - expected) / ulp)) <= count
    assert (np.isnan(actual) == np.isnan(expected)).all()


def test_log(dtype, rng):
    x = np.exp2(rng.uniform(-120, 120, 100_000)).astype(dtype)
    x[:50_000] = rng.uniform(0.5, 1.5, 50_000)
    x[:5] = 1, np.nan, 2**-119, np.sqrt(0.5), np.sqrt(2)
    y, _ = logarithms(x)
    assert_within_ulps(y, np.log(x.astype(np.longdouble)), 2.5)
    assert y[0] == 0


def test_log1p(dtype, rng):
    x = np.append(np.exp2(rng.uniform(-100, 0, 50_000)), rng.uniform(-0.5, 1, 50_000))
    x[:4] = 0, 1, np.nan, -0.5
    x = x.astype(dtype)
    _, y = logarithms(x)
    assert_within_ulps(y, np.log1p(x.astype(np.longdouble)), 2.5)
    assert y[0] == 0


@kernel
def _lanes(part, parts, x, count, other, y, wide):
    vector, p, q = load_row(pointer(x), 0, x.size), pointer(y), pointer(wide)
    n = lanes(p)
    store(p, 0, head(vector, count, splat(vector, other)))
    store(p, n, exponent(vector))
    p[2 * n] = highest(vector)
    store(q, 0, widen(vector))


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_intrinsics_of_lanes(dtype, shift, rng):
    n = 64 // np.dtype(dtype).itemsize  # of the widest register
    x = np.roll(rng.uniform(0.1, 9, n).astype(dtype), shift)
    y, wide = np.zeros(4 * n, dtype), np.zeros(n)
    for count in (-1, 0, 1, 3, n, n + 5):
        _lanes(0, 1, x, count, -7.0, y, wide)
        m = int(np.count_nonzero(wide))  # of this processor's register
        kept = max(min(count, m), 0)
        assert y[:kept].tolist() == x[:kept].tolist() and (y[kept:m] == -7).all()
        scaled = x[:m] / np.exp2(y[m : 2 * m])
        assert (scaled >= np.sqrt(0.5) - 1e-7).all() and (scaled <= np.sqrt(2) + 1e-7).all()
        assert y[2 * m] == x[:m].max()
        np.testing.assert_array_equal(wide[:m], x[:m].astype(float))
