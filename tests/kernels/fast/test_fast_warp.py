"""Random image transforms of the fast set: the reference's bits, `out=`, threads, bad arguments."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanocnn.common.errors import ShapeError
from nanocnn.jit.capture import capture
from nanocnn.jit.program import programs
from nanocnn.kernels import fast, reference, transforms as formulas
from support.transforms import ROWS, SIZES, TOGETHER, keys_for, rows

WAYS = "warp_forward", "warp_backward"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", formulas.FILL_MODES)
@pytest.mark.parametrize("letters", TOGETHER)
def test_both_sets_have_the_same_bits(dtype, rng, letters, mode, channels):
    for H, W in SIZES:
        x = rng.standard_normal((5, H, W, channels)).astype(dtype)
        given = x, rows(letters), keys_for(letters, first=2**32 - 2), mode, 0.3
        for name in WAYS:
            expected = getattr(reference, name)(*given)
            found = getattr(fast, name)(*given)
            assert found.tobytes() == expected.tobytes(), (name, H, W)


@given(
    st.text(alphabet="".join(ROWS), min_size=1, max_size=5), st.sampled_from(formulas.FILL_MODES),
    st.integers(1, 4), st.integers(1, 33), st.integers(1, 33), st.integers(1, 4),
    st.integers(0, 2**32 - 1), st.floats(-2, 2, width=32),
)  # fmt: skip
@settings(max_examples=150)
def test_any_of_them_together_have_the_reference_s_bits(
    dtype, letters, mode, N, H, W, C, seed, value
):
    """At most one is elastic and one an erasure: the last of them."""
    letters = [
        each for i, each in enumerate(letters) if each not in "ex" or letters.rfind(each) == i
    ]
    rng = np.random.default_rng(seed)
    transforms = rows(letters)
    transforms[:, 1:5] *= rng.uniform(0, 3, (len(letters), 1))
    transforms[:, 1:5] = np.clip(transforms[:, 1:5], -0.99, 1)
    x = rng.standard_normal((N, H, W, C)).astype(dtype)
    keys = keys_for(letters, int(rng.integers(2**32)), seed)
    for name in WAYS:
        given = x, transforms, keys, mode, value
        assert getattr(fast, name)(*given).tobytes() == getattr(reference, name)(*given).tobytes()


@pytest.mark.parametrize("name", WAYS)
def test_out_is_filled_and_the_bits_do_not_depend_on_the_number_of_threads(
    dtype, rng, name, set_threads
):
    x = rng.standard_normal((50, 28, 28, 2)).astype(dtype)
    before, call = x.copy(), getattr(fast, name)
    given = rows("trzsex"), keys_for("trzsex"), "wrap", 0.0
    expected = getattr(reference, name)(x, *given).tobytes()
    for n in (1, 2, 3, 4):
        set_threads(n)
        whole = np.full(x.nbytes + 256, 0xA5, np.uint8)
        out = whole[128:-128].view(dtype).reshape(x.shape)
        assert call(x, *given, out=out) is out
        assert out.tobytes() == expected
        assert (whole[:128] == 0xA5).all() and (whole[-128:] == 0xA5).all()
    np.testing.assert_array_equal(x, before)
    assert call(x, *given, out=x) is x and x.tobytes() == expected  # each sample is copied first
    x = np.asfortranarray(before)
    assert call(x, *given).tobytes() == expected


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    "bad",
    [
        {"out": np.empty((2, 4, 3, 1))},
        {"out": np.empty((2, 3, 4, 1), "float32")},
        {"out": np.empty((1, 4, 3, 2)).T},
        {"transforms": np.zeros((1, 5))},
        {"transforms": np.zeros(6)},
        {"transforms": np.zeros((2, 6))},
        {"transforms": np.zeros((1, 6), "float32")},
        {"keys": np.zeros((1, 1), np.uint64)},
        {"keys": np.zeros((1, 2), np.int64)},
        {"x": np.zeros((3, 4, 1))},
        {"x": np.zeros((2, 3, 4, 1), int)},
        {"transforms": rows("ee"), "keys": keys_for("ee")},
        {"transforms": rows("xx"), "keys": keys_for("xx")},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused_before_any_loop_runs(name, bad):
    right = {"x": np.zeros((2, 3, 4, 1)), "transforms": rows("t"), "keys": keys_for("t")}
    given = {**right, **bad}
    with pytest.raises(ShapeError, match=next(iter(bad))):
        getattr(fast, name)(*map(given.get, right), "wrap", 0.0, out=given.get("out"))


def test_an_unknown_fill_mode_is_refused():
    with pytest.raises(ValueError):
        fast.warp_forward(np.zeros((2, 3, 4, 1)), rows("t"), keys_for("t"), "mirror", 0.0)


def test_a_captured_warp_reads_its_keys_at_each_replay(dtype, rng):
    x = rng.standard_normal((4, 9, 6, 1)).astype(dtype)
    keys, y, dx = keys_for("tex"), np.empty_like(x), np.empty_like(x)
    with capture() as calls:
        fast.warp_forward(x, rows("tex"), keys, "reflect", 0.0, out=y)
        fast.warp_backward(x, rows("tex"), keys, "reflect", 0.0, out=dx)
    (program,) = programs([calls])
    for seed in range(3):
        keys[...] = keys_for("tex", seed, seed)
        program.replay()
        for name, found in zip(WAYS, (y, dx), strict=True):
            expected = getattr(reference, name)(x, rows("tex"), keys, "reflect", 0.0)
            assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", WAYS)
def test_huge_and_missing_numbers_give_what_the_reference_gives(dtype, rng, name):
    hostile = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 1e38, -1e38, 1.0]
    for letters in TOGETHER:
        x = rng.choice(hostile, (3, 9, 6, 2)).astype(dtype)
        for mode in formulas.FILL_MODES:
            given = x, rows(letters), keys_for(letters), mode, 0.5
            with np.errstate(all="ignore"):
                expected = getattr(reference, name)(*given)
            np.testing.assert_array_equal(getattr(fast, name)(*given), expected)
