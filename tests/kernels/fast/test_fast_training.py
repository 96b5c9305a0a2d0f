"""Kernels that update all parameters by one call: tables of addresses, optimizers, clipping, L2."""

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanocnn.common.errors import ShapeError
from nanocnn.jit.compile import kernel
from nanocnn.jit.simd import pointer
from nanocnn.kernels import fast, reference
from nanocnn.kernels.fast.addresses import address_table, item_range, row_pointers, row_range
from support.compare import TOLERANCE, assert_close
from support.updates import numbers

MANY = [(1 + i % 3,) for i in range(3000)]  # thousands of tiny parameters
ONE = [(1_000_003,)]
MIXED = [(16,), (), (0,), (5, 5, 1, 6), (1,), (0, 3), (300, 77), (17,), (0,)]
SHAPES = {"many": MANY, "one": ONE, "mixed": MIXED}


@kernel
def _count(part, parts, table, like):
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        x, y, _, _, _ = row_pointers(pointer(like), table, row)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop):
            x[i] += 1
            y[i] -= 1


@given(st.lists(st.integers(0, 70), min_size=1, max_size=12), st.integers(1, 64))
@settings(max_examples=60)
@example([0], 3)
@example([0, 0, 1, 0], 64)
@example([16, 16, 32], 4)
def test_the_parts_of_a_table_have_every_item_once(sizes, parts):
    x, y = ([np.zeros(size) for size in sizes] for _ in range(2))
    table, _ = address_table({"x": x, "y": y})
    for part in range(parts):
        _count(part, parts, table, x[0])
    assert [array.tolist() for array in x] == [[1] * size for size in sizes]
    assert [array.tolist() for array in y] == [[-1] * size for size in sizes]


def test_the_arrays_of_a_table_are_checked():
    x, frozen = np.zeros((2, 3)), np.zeros((2, 3))
    frozen.flags.writeable = False
    address_table({"x": [x, x], "frozen": [frozen, frozen], "none": []}, ["x"])
    for other in ([x], [x, x[:1]], [x, x.astype("float32")], [x, x.T.copy().T], [x, frozen]):
        with pytest.raises(ShapeError, match="other"):
            address_table({"x": [x, x], "other": other}, ["x", "other"])


# --- Optimizers


def arrays(rng, dtype, shapes, least=None):
    drawn = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    return drawn if least is None else [np.asarray(abs(x) + least, dtype) for x in drawn]


# fmt: off
def updates(rng, dtype, shapes):
    """(name, arguments) of the updates with every option at least once."""
    draw = lambda least=None: arrays(rng, dtype, shapes, least)  # noqa: E731
    scales = rng.uniform(0.1, 1, len(shapes))
    changes = {"shrink": 0.01, "decay": 0.1, "clipvalue": 0.5}
    yield "sgd_update", (draw(), draw(), [], numbers(0.1))
    yield "sgd_update", (draw(), draw(), draw(), numbers(0.1, 0.9))
    yield "sgd_update", (draw(), draw(), draw(), numbers(0.1, 0.9, **changes), True, False, scales)
    yield "rmsprop_update", (draw(), draw(), draw(0), [], [], numbers(0.1, 0.9, 0.5, 1e-7))
    yield "rmsprop_update", (draw(), draw(), draw(99), draw(), draw(),
                             numbers(0.1, 0.9, 0.5, 1e-7, **changes), False, None, True)
    yield "adam_update", (draw(), draw(), draw(), draw(0), [], numbers(0.1, 1, 0.9, 0.999, 1e-7))
    yield "adam_update", (draw(), draw(), draw(), draw(0), draw(0),
                          numbers(0.1, 1.1, 0.9, 0.999, 1e-7, **changes), scales, True)
    yield "adadelta_update", (draw(), draw(), draw(0), draw(0), numbers(0.1, 0.9, 1e-7))
    yield "adadelta_update", (draw(), draw(), draw(0), draw(0),
                              numbers(0.1, 0.9, 1e-7, **changes), scales, True)
    yield "nadam_update", (draw(), draw(), draw(), draw(0), numbers(0.1, 0.02, 0.9, 0.999, 1e-7))
    yield "nadam_update", (draw(), draw(), draw(), draw(0),
                           numbers(0.1, 0.02, 0.9, 0.999, 1e-7, **changes), scales, True)
    yield "ema_update", (draw(), draw(), numbers(ema=(0.9, 0)))
    yield "ema_update", (draw(), draw(), numbers(ema=(0.99, 1)))
    yield "ema_update", (draw(), draw(), numbers(ema=(0.0, 0)))


# fmt: on
def results(kernels, name, arguments):
    arguments = deepcopy(arguments)
    assert getattr(kernels, name)(*arguments) is None
    return [x for each in arguments if isinstance(each, list) for x in each]


@pytest.mark.parametrize("shapes", SHAPES)
def test_updates_are_the_reference_s_and_have_the_same_bits_for_any_number_of_threads(
    dtype, rng, shapes, set_threads
):
    for name, arguments in updates(rng, dtype, SHAPES[shapes]):
        expected, bits = results(reference, name, arguments), set()
        for n in (1, 2):
            set_threads(n)
            found = results(fast, name, arguments)
            bits.add(b"".join(x.tobytes() for x in found))
        assert len(bits) == 1, f"{name} depends on the number of threads"
        for x, y in zip(found, expected, strict=True):
            assert_close(x, y, TOLERANCE[dtype], name, scale=1.0)


def test_nothing_beside_the_arrays_is_touched(dtype, rng):
    shapes = [(1,), (15,), (33,), (8, 9)]
    for name, arguments in updates(rng, dtype, shapes):
        wholes, inner = [], []
        for each in arguments:
            if isinstance(each, list):
                margins = [np.concatenate([[7.0] * 40, x.ravel(), [7.0] * 40]).astype(dtype)
                           for x in each]  # fmt: skip
                wholes += margins
                each = [w[40:-40].reshape(x.shape) for w, x in zip(margins, each, strict=True)]
            inner.append(each)
        getattr(fast, name)(*inner)
        assert all((w[:40] == 7).all() and (w[-40:] == 7).all() for w in wholes), name


HOSTILE = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 1e38, -1e38, 1.0, -1e4, 1e4]


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_hostile_numbers_give_what_the_reference_gives(dtype, rng):
    for name, arguments in updates(rng, dtype, [(500,), (3,)]):
        for array in (x for each in arguments if isinstance(each, list) for x in each):
            # v - average^2 depends on rounding: there, only numbers without any
            centered = name == "rmsprop_update" and arguments[3]
            array[...] = rng.choice(HOSTILE[:5] if centered else HOSTILE, array.shape)
        found, expected = results(fast, name, arguments), results(reference, name, arguments)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-37, err_msg=name)


def test_no_parameters():
    fast.sgd_update([], [], [], numbers(0.1))
    fast.ema_update([], [], numbers())
    fast.l2_gradient([], [], np.ones(0))
    fast.clip_scales([], numbers(clipnorm=1.0), True, np.ones(0))
    assert fast.l2_penalty([], np.ones(0)) == [0]


# --- Norms


@pytest.mark.parametrize("shapes", SHAPES)
def test_norms_and_penalties(dtype, rng, shapes, set_threads):
    shapes = SHAPES[shapes]
    params, grads = arrays(rng, dtype, shapes), arrays(rng, dtype, shapes)
    factors = rng.uniform(0, 1, len(shapes))
    squares = np.array([(x.astype(float) ** 2).sum() for x in grads])
    penalty = sum(f * (x.astype(float) ** 2).sum() for f, x in zip(factors, params, strict=True))
    for together in (False, True):
        norms = np.sqrt(squares.sum() if together else squares)
        expected = np.broadcast_to(0.9 / np.maximum(norms, 0.9), len(shapes))
        for kernels in (reference, fast):
            bits = set()
            for n in (1, 2):
                set_threads(n)
                scales = np.full(len(shapes), np.nan)
                kernels.clip_scales(grads, numbers(clipnorm=0.9), together, scales)
                bits.add(scales.tobytes() + kernels.l2_penalty(params, factors).tobytes())
            assert len(bits) == 1
            assert_close(scales, expected, 1e-12)
            assert_close(kernels.l2_penalty(params, factors), [penalty], 1e-12)
    expected = deepcopy(grads)
    fast.l2_gradient(params, grads, factors)
    for grad, before, param, factor in zip(grads, expected, params, factors, strict=True):
        assert_close(grad, before + 2 * factor * param, TOLERANCE[dtype])


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_norms_of_nan_and_infinity(dtype, bad):
    grads = [np.ones(40, dtype), np.ones(3, dtype)]
    grads[0][21] = bad
    for together in (False, True):
        scales = np.zeros(2), np.zeros(2)
        reference.clip_scales(grads, numbers(clipnorm=1.0), together, scales[0])
        fast.clip_scales(grads, numbers(clipnorm=1.0), together, scales[1])
        np.testing.assert_allclose(scales[1], scales[0], rtol=1e-15)
        assert np.isnan(scales[0][0]) if np.isnan(bad) else scales[0][0] == 0
