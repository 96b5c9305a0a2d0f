"""Fixtures shared by the tests: both kernel sets, both dtypes, and quiet hypothesis settings."""

import os
import signal
import sys
import warnings

import numpy as np
import pytest
from hypothesis import settings

from nanocnn.common import seeds
from nanocnn.jit.threads import get_num_threads, set_num_threads
from nanocnn.kernels import KERNEL_SETS, get_kernels

# A program started in the background of a shell ignores Ctrl-C, and so do all it starts: not here,
# where tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A failed assert in there shows its values, as one in a test does.
pytest.register_assert_rewrite("support")

settings.register_profile("nanocnn", deadline=None, derandomize=True, database=None)
settings.load_profile("nanocnn")


@pytest.fixture(scope="session", params=sorted(KERNEL_SETS, reverse=True))
def kernels(request):
    """Each kernel set in turn, as a module: reference first."""
    return get_kernels(request.param)


@pytest.fixture(scope="session", params=["float64", "float32"])
def dtype(request):
    """Each dtype in turn, by name."""
    return request.param


@pytest.fixture
def set_threads():
    """`set_num_threads`; the number is put back at the end."""
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)


@pytest.fixture(autouse=True)
def default_seed(monkeypatch):
    """The seed that `utils.set_random_seed` may have set, put back at the end."""
    monkeypatch.setattr(seeds, "default", seeds.default)


@pytest.fixture(autouse=True)
def default_dtype():
    """The dtypes that a test may have set in Keras, put back at the end."""
    yield
    if "keras" in sys.modules:
        config = sys.modules["keras"].config
        config.set_floatx("float32")
        config.set_dtype_policy("float32")


@pytest.fixture
def rng():
    """A generator that starts at the same place in every test."""
    return np.random.default_rng(12345)


@pytest.fixture(scope="session")
def keras():
    """Keras on TensorFlow: for tests marked slow, with `ignore::DeprecationWarning`."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tensorflow", reason="tensorflow is not installed: extra [parity]")
        return pytest.importorskip("keras", reason="keras is not installed: extra [parity]")
