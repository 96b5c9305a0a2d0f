"""How two results are compared, everywhere in the tests."""

import numpy as np

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def relative_error(actual, expected, scale=0.0):
    """The largest difference, relative to the largest expected number; NaN and inf must agree.

    `scale`: what to measure by where it is more, for sums whose terms cancel.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    if not np.isfinite(actual[finite]).all():
        return np.inf
    scale = max(scale, np.abs(expected[finite]).max(initial=0.0))
    difference = np.abs(actual[finite] - expected[finite]).max(initial=0.0)
    return difference / scale if scale else difference


def assert_close(actual, expected, tolerance, what="", scale=0.0):
    error = relative_error(actual, expected, scale)
    assert error <= tolerance, f"{what} differs by {error:.2e} (relative), allowed {tolerance:.0e}"
