"""exp and tanh of vectors against NumPy's in higher precision."""

import numpy as np
import pytest

from nanocnn.jit.compile import kernel
from nanocnn.jit.simd import lanes, load_row, pointer, store_row
from nanocnn.kernels.fast import exponential


@kernel
def _exp(part, parts, x, y):
    p, q = pointer(x), pointer(y)
    for i in range(0, x.size, lanes(p)):
        store_row(q, i, exponential.exp(load_row(p, i, x.size - i)), x.size - i)


@kernel
def _tanh(part, parts, x, y):
    p, q = pointer(x), pointer(y)
    for i in range(0, x.size, lanes(p)):
        store_row(q, i, exponential.tanh(load_row(p, i, x.size - i)), x.size - i)


def numbers(rng, dtype):
    """Numbers of all sizes: where exp is finite, ordinary ones, and down to subnormal ones."""
    limits = np.finfo(dtype)
    low, high = np.log([limits.smallest_subnormal, limits.max])
    normal, tiny = rng.standard_normal((2, 100_000))
    tiny = tiny * 10.0 ** rng.uniform(limits.minexp * 0.31, 0, tiny.size)
    return np.concatenate([rng.uniform(low - 1, high + 1, 100_000), normal, tiny]).astype(dtype)


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize(("function", "exact", "ulps"), [(_exp, np.exp, 1.25),
                                                        (_tanh, np.tanh, 2.5)])  # fmt: skip
def test_errors_in_units_of_the_last_place(dtype, rng, function, exact, ulps):
    x = numbers(rng, dtype)
    y = np.empty_like(x)
    function(0, 1, x, y)
    wide = np.float64 if dtype == "float32" else np.longdouble
    want = exact(x.astype(wide))
    nearest = want.astype(dtype)
    finite = np.isfinite(nearest)
    np.testing.assert_array_equal(y[~finite], nearest[~finite])
    error = abs(y[finite].astype(wide) - want[finite]) / np.spacing(abs(nearest[finite]))
    bound = ulps if np.finfo(wide).eps < np.finfo(dtype).eps else 2 * ulps + 1
    assert error.max() < bound, (x[finite][error.argmax()], error.max())


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize(("function", "exact"), [(_exp, np.exp), (_tanh, np.tanh)])
def test_special_numbers(dtype, function, exact):
    tiny, large = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 0, -0.0, tiny, -tiny, large, -large, 1e4, -1e4], dtype)
    y, want = np.empty_like(x), exact(x)
    function(0, 1, x, y)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(np.signbit(y[1:]), np.signbit(want[1:]))
