"""Powers and cosines against `decimal` with 60 digits: the nearest float, everywhere."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from nanocnn.common.elementary import cos, power


def decimal_cos(x):
    """The Taylor series of cos, in decimal numbers."""
    square = Decimal(x) ** 2
    term = total = Decimal(1)
    for k in range(2, 80, 2):
        term *= -square / (k * (k - 1))
        total += term
    return total


def test_power_is_the_nearest_float(rng):
    bases = np.concatenate([rng.uniform(0, 1, 150), 1 - rng.uniform(0, 1e-3, 150),
                            np.exp(rng.uniform(-30, 30, 100))]).tolist()  # fmt: skip
    exponents = [*rng.integers(1, 10**6, 200).tolist(), *rng.uniform(-3, 100, 200).tolist()]
    rng.shuffle(exponents)
    with localcontext(prec=60, Emin=-(10**9), Emax=10**9):
        for x, y in zip(bases, exponents, strict=True):
            want = float(Decimal(x) ** Decimal(y))
            if math.isfinite(want) and not 0 < want < 1e-307:
                assert power(x, y) == want, (x, y)


def test_power_at_the_ends():
    assert [power(0.9, 1), power(0.5, 3), power(4.0, 0.5), power(9.0, -1)] == [0.9, 0.125, 2, 1 / 9]
    assert [power(0.0, 2), power(0.0, 0), power(1.0, 1e300), power(0.5, math.inf)] == [0, 1, 1, 0]
    assert power(0.9, 10**6) == 0
    with pytest.raises(OverflowError):
        power(10.0, 400)


def test_cos_is_the_nearest_float(rng):
    with localcontext(prec=60):
        for x in [0.0, 1e-300, 1e-9, math.pi / 2, math.pi, 4.0, *rng.uniform(-4, 4, 300).tolist()]:
            assert cos(x) == float(decimal_cos(x)), x
