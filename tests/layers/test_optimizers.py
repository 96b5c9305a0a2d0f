"""Optimizers in steps: what is prepared, what is captured, what keeps its place in memory."""

from copy import copy, deepcopy

import numpy as np
import pytest

import nanocnn
from nanocnn.jit.capture import capture
from nanocnn.jit.program import programs
from nanocnn.kernels import fast

OPTIMIZERS = [
    nanocnn.SGD(0.1),
    nanocnn.SGD(nanocnn.ExponentialDecay(0.1, 2, 0.5), momentum=0.9, nesterov=True, clipnorm=0.5),
    nanocnn.RMSprop(0.01, centered=True, momentum=0.5, form="pytorch", weight_decay=0.1),
    nanocnn.Adam(nanocnn.CosineDecay(0.1, 9), amsgrad=True, clipvalue=0.3, weight_decay=0.01),
    nanocnn.AdamW(0.01, global_clipnorm=0.7, form="pytorch"),
    nanocnn.Adadelta(nanocnn.CosineDecay(1.0, 9), rho=0.9, weight_decay=0.01),
    nanocnn.Nadam(0.01, clipnorm=0.7, weight_decay=0.1, form="pytorch"),
    nanocnn.SGD(nanocnn.OneCycle(0.1, 4), use_ema=True, ema_momentum=0.6),
    nanocnn.Adam(0.1, clipnorm=0.5, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
]


def drawn(seed, dtype="float32"):
    rng = np.random.default_rng(seed)
    shapes = {"a/kernel": (5, 7), "a/bias": (7,), "b/kernel": (200, 300)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def bits(arrays):
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
def test_a_captured_update_is_replayed_with_the_numbers_of_each_step(dtype, optimizer):
    eager, captured = deepcopy(optimizer), deepcopy(optimizer)
    params, others = drawn(0, dtype), drawn(0, dtype)
    grads = drawn(1, dtype)
    for step in range(5):
        new = drawn(step + 1, dtype)
        eager.apply(params, deepcopy(new), fast)
        for name, grad in grads.items():
            grad[...] = new[name]
        captured.prepare()
        if step == 0:
            captured.allocate(others)
            with capture() as calls:
                captured.update(others, grads, fast)
            (program,) = programs([calls])
        program.replay()
        captured.advance()
        assert bits(params) == bits(others), step
        assert bits(eager.get_state()) == bits(captured.get_state()), step
    assert len(program.calls) <= 3 + optimizer.use_ema


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
def test_prepare_changes_nothing_but_the_numbers(optimizer):
    optimizer = deepcopy(optimizer)
    optimizer.apply(drawn(0), drawn(1), fast)
    state = bits(optimizer.get_state())
    optimizer.prepare()
    found = optimizer.numbers.copy()
    optimizer.prepare()
    assert bits(optimizer.get_state()) == state and (optimizer.numbers == found).all()


def test_the_numbers_stay_where_they_are_and_replaced_slots_are_another_dict():
    optimizer, params = nanocnn.Adam(), drawn(0)
    at, slots = optimizer.numbers, optimizer.slots
    optimizer.apply(params, drawn(1), fast)
    optimizer.apply(params, drawn(1), fast)
    assert optimizer.slots is slots
    optimizer.set_state(optimizer.get_state())
    assert optimizer.slots is not slots
    slots = optimizer.slots
    optimizer.reset()
    assert optimizer.slots is not slots and optimizer.numbers is at
    for twin in (copy(optimizer), deepcopy(optimizer)):
        assert twin.numbers is not at


def test_slots_and_weights_may_be_replaced_between_two_updates(kernels):
    optimizer, params = nanocnn.Adam(0.1), drawn(0)
    optimizer.apply(params, drawn(1), kernels)
    state, before = optimizer.get_state(), deepcopy(params)
    optimizer.apply(params, drawn(2), kernels)
    expected = bits(params)
    optimizer.set_state(state)
    optimizer.apply(before, drawn(2), kernels)
    assert bits(before) == expected


@pytest.mark.parametrize("clip", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_clipping_changes_the_gradients_in_place(kernels, dtype, clip):
    grads = drawn(1, dtype)
    before = {name: grad.astype(float) for name, grad in grads.items()}
    nanocnn.SGD(0.1, **{clip: 0.5}).apply(drawn(0, dtype), grads, kernels)
    norms = {name: np.sqrt((grad**2).sum()) for name, grad in before.items()}
    whole = np.sqrt(sum(norm**2 for norm in norms.values()))
    for name, grad in grads.items():
        norm = whole if clip == "global_clipnorm" else norms[name]
        scaled = before[name] * (0.5 / max(norm, 0.5))
        expected = np.clip(before[name], -0.5, 0.5) if clip == "clipvalue" else scaled
        np.testing.assert_allclose(grad, expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("form", ["keras", "pytorch"])
def test_nadams_product_follows_from_the_number_of_steps(form):
    decay = 1 if form == "keras" else 0.004
    factors = 0.9 * (1 - 0.5 * 0.96 ** (decay * np.arange(1, 301)))
    optimizer = nanocnn.Nadam(form=form)
    found = [optimizer.product(t) for t in range(1, 301)]
    np.testing.assert_allclose(found, np.cumprod(factors), rtol=1e-12)
    assert [nanocnn.Nadam(form=form).product(t) for t in (7, 300)] == [found[6], found[299]]


def test_a_number_of_steps_that_no_training_takes_is_no_endless_loop():
    optimizer = nanocnn.Nadam(0.5, beta_1=1 - 1e-9)
    optimizer.set_state({"iteration": np.int64(2**62)})
    optimizer.prepare()
    assert optimizer.numbers[4:6] == pytest.approx([0.5, 0.5 * 1e-9])
