"""Kernels against the loops of `naive.py`: what is drawn, computed and compared."""

import numpy as np
from hypothesis import strategies as st

from support import naive
from support.compare import TOLERANCE, assert_close

seeds = st.integers(0, 2**32 - 1)
small = st.integers(1, 5)


def close(actual, expected, dtype, what=""):
    """Within the contract's tolerance, relative to the largest number or to the inputs' size, 1."""
    assert actual.dtype == dtype, f"{what} is {actual.dtype}, its input {dtype}"
    actual, expected = np.append(actual, 1.0), np.append(expected, 1.0)
    assert_close(actual, expected, TOLERANCE[dtype], what)


def loops(operation, *arguments):
    """The naive operation of that name; its arrays are widened first, so that it rounds nowhere."""
    widen = lambda a: a.astype("float64") if isinstance(a, np.ndarray) else a  # noqa: E731
    return getattr(naive, operation)(*map(widen, arguments))


def normal(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]
