"""Grey morphology of the fast set: the reference's bits, `out=`, threads, bad arguments."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanocnn.common.errors import ShapeError
from nanocnn.jit.capture import capture
from nanocnn.jit.program import programs
from nanocnn.kernels import fast, reference

WAYS = "morphology_forward", "morphology_backward"
HOSTILE = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 1e38, -1e38, 1.0]


def keys(first=0, key=0x123456789ABCDEF0):
    return np.array([key, first], np.uint64)


def arrays(name, x, dy):
    return (x,) if name.endswith("forward") else (dy, x)


@given(
    st.integers(1, 5), st.integers(1, 35), st.integers(1, 35), st.integers(1, 4),
    st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 2**32 - 1), st.integers(0, 2),
)  # fmt: skip
@settings(max_examples=150)
def test_both_sets_have_the_same_bits(dtype, N, H, W, C, low, high, seed, digits):
    """Of numbers with 0 to 2 digits, so that some neighbours are equal."""
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, N, H, W, C)).round(digits).astype(dtype)
    factors = *sorted((low, high)), keys(*rng.integers(2**32, size=2).tolist())
    for name in WAYS:
        both = [getattr(each, name)(*arrays(name, x, dy), *factors) for each in (reference, fast)]
        assert both[0].dtype == both[1].dtype == dtype
        assert both[0].tobytes() == both[1].tobytes(), name


@pytest.mark.parametrize(
    "shape", [(3, 1, 1, 1), (3, 1, 1, 3), (1, 17, 33, 1), (2, 33, 17, 5), (2, 3, 4, 37)]
)
def test_odd_sizes_have_the_same_bits(dtype, rng, shape):
    """The last has more channels than a vector."""
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    for name in WAYS:
        given = *arrays(name, x, dy), -1.0, 1.0, keys(2**32 - 1)
        assert getattr(fast, name)(*given).tobytes() == getattr(reference, name)(*given).tobytes()


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("a", [-1.0, -0.3, 0.0, 0.6, 1.0])
def test_huge_and_missing_numbers_give_what_the_reference_gives(dtype, rng, name, a):
    for _ in range(20):
        x, dy = rng.choice(HOSTILE, (2, 3, 7, 19, 2)).astype(dtype)
        given = *arrays(name, x, dy), a, a, keys()
        with np.errstate(all="ignore"):
            expected = getattr(reference, name)(*given)
        np.testing.assert_array_equal(getattr(fast, name)(*given), expected)


@pytest.mark.parametrize("name", WAYS)
def test_out_is_filled_and_the_bits_do_not_depend_on_the_number_of_threads(
    dtype, rng, name, set_threads
):
    x, dy = rng.standard_normal((2, 50, 28, 28, 2)).astype(dtype)
    copies, call, given = (x.copy(), dy.copy()), getattr(fast, name), (-1.0, 1.0, keys())
    expected = getattr(reference, name)(*arrays(name, x, dy), *given).tobytes()
    for n in (1, 2, 3, 4):
        set_threads(n)
        whole = np.full(x.nbytes + 256, 0xA5, np.uint8)
        out = whole[128:-128].view(dtype).reshape(x.shape)
        assert call(*arrays(name, x, dy), *given, out=out) is out
        assert out.tobytes() == expected
        assert (whole[:128] == 0xA5).all() and (whole[-128:] == 0xA5).all()
    for array, before in zip((x, dy), copies, strict=True):
        np.testing.assert_array_equal(array, before)
    x, dy = map(np.asfortranarray, copies)
    assert call(*arrays(name, x, dy), *given).tobytes() == expected
    for place in range(len(arrays(name, x, dy))):  # `out` may be an input
        inputs = [each.copy() for each in arrays(name, *copies)]
        assert call(*inputs, *given, out=inputs[place]).tobytes() == expected


RIGHT = {"dy": np.zeros((2, 3, 4, 1)), "x": np.zeros((2, 3, 4, 1)), "keys": keys()}
BAD = [
    {"out": np.empty((2, 4, 3, 1))},
    {"out": np.empty((2, 3, 4, 1), "float32")},
    {"out": np.empty((1, 4, 3, 2)).T},
    {"x": np.zeros((3, 4, 1))},
    {"x": np.zeros((2, 3, 4, 1), int)},
    {"keys": np.zeros((1, 2), np.uint64)},
    {"keys": np.zeros(2, np.int64)},
    {"dy": np.zeros((2, 4, 3, 1))},
    {"dy": np.zeros((2, 3, 4, 1), "float32")},
]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_arguments_that_do_not_fit_are_refused_before_any_loop_runs(name, bad):
    if name.endswith("forward") and "dy" in bad:
        return
    given = {**RIGHT, **bad}
    first = arrays(name, given["x"], given["dy"])
    with pytest.raises(ShapeError, match=next(iter(bad))):
        getattr(fast, name)(*first, -1.0, 1.0, given["keys"], out=given.get("out"))


def test_a_captured_morphology_reads_its_keys_at_each_replay(dtype, rng):
    x, dy = rng.standard_normal((2, 4, 9, 6, 1)).astype(dtype)
    now, y, dx = keys(), np.empty_like(x), np.empty_like(x)
    with capture() as calls:
        fast.morphology_forward(x, -1, 1, now, out=y)
        fast.morphology_backward(dy, x, -1, 1, now, out=dx)
    (program,) = programs([calls])
    for key in range(3):
        now[:] = key, 7
        program.replay()
        for name, found in zip(WAYS, (y, dx), strict=True):
            expected = getattr(reference, name)(*arrays(name, x, dy), -1, 1, now)
            assert found.tobytes() == expected.tobytes()
