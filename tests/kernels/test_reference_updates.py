"""Optimizer updates of both kernel sets against loops: ten steps, each number on its own."""

import numpy as np
import pytest

from nanocnn import Nadam
from support import naive
from support.loops import close
from support.updates import numbers


def path(update, gradients, dtype, *states):
    """Ten steps of a vector, each element its own scalar problem."""
    w = np.ones(gradients.shape[1], dtype)
    slots = [[np.zeros_like(w)] if used else [] for used in states]
    steps = []
    for t, g in enumerate(gradients, 1):
        update(t, [w], [g.copy()], *slots)
        steps.append(w.copy())
    return np.array(steps)


def drawn_gradients(dtype):
    gradients = np.random.default_rng(9).standard_normal((10, 37)) / 4
    gradients[3, ::5] = 0
    return gradients.astype(dtype)


def expected_path(function, gradients, **options):
    columns = [function(1.0, column.astype("float64"), **options) for column in gradients.T]
    return np.array(columns).T


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_update(kernels, dtype, momentum, nesterov):
    if nesterov and not momentum:
        return
    gradients = drawn_gradients(dtype)

    def update(_, w, g, velocity):
        kernels.sgd_update(w, g, velocity, numbers(0.05, momentum), nesterov)

    options = {"learning_rate": 0.05, "momentum": momentum, "nesterov": nesterov}
    expected = expected_path(naive.sgd, gradients, **options)
    close(path(update, gradients, dtype, momentum > 0), expected, dtype)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("inside", [True, False], ids=["keras", "pytorch"])
def test_rmsprop_update(kernels, dtype, momentum, centered, inside):
    gradients = drawn_gradients(dtype)

    def update(_, w, g, v, average, buffer):
        kernels.rmsprop_update(w, g, v, average, buffer, numbers(0.01, 0.8, momentum, 1e-3), inside)

    options = {"rho": 0.8, "momentum": momentum, "epsilon": 1e-3, "centered": centered}
    expected = expected_path(
        naive.rmsprop, gradients, learning_rate=0.01, pytorch=not inside, **options
    )
    close(path(update, gradients, dtype, True, centered, momentum > 0), expected, dtype)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("form", ["keras", "pytorch"])
def test_adam_update(kernels, dtype, amsgrad, form):
    gradients, b1, b2 = drawn_gradients(dtype), 0.9, 0.999

    def update(t, w, g, m, v, vmax):
        root = np.sqrt(1 - b2**t)
        step, v_scale = 0.01 / (1 - b1**t), 1 / root
        if form == "keras":
            step, v_scale = step * root, 1.0
        kernels.adam_update(w, g, m, v, vmax, numbers(step, v_scale, b1, b2, 1e-4))

    options = {"beta1": b1, "beta2": b2, "epsilon": 1e-4, "amsgrad": amsgrad}
    expected = expected_path(
        naive.adam, gradients, learning_rate=0.01, pytorch=form == "pytorch", **options
    )
    close(path(update, gradients, dtype, True, True, amsgrad), expected, dtype)


def test_adadelta_update(kernels, dtype):
    gradients = drawn_gradients(dtype)

    def update(_, w, g, v, delta):
        kernels.adadelta_update(w, g, v, delta, numbers(0.5, 0.8, 1e-3))

    options = {"learning_rate": 0.5, "rho": 0.8, "epsilon": 1e-3}
    expected = expected_path(naive.adadelta, gradients, **options)
    close(path(update, gradients, dtype, True, True), expected, dtype)


def test_ema_update(kernels, dtype):
    """An average that begins as the weights after the first step, and replaces them at last."""
    path = drawn_gradients(dtype)
    average, expected = np.full(37, 7, dtype), path[0].astype(float)
    for step, weights in enumerate(path):
        before = weights.copy()
        momentum, overwrites = 0.8 * (step > 0), step == 9
        kernels.ema_update([weights], [average], numbers(ema=(momentum, overwrites)))
        expected = momentum * expected + (1 - momentum) * before.astype(float)
        close(average, expected, dtype)
        assert step or (average == before).all()
        assert (weights == (average if overwrites else before)).all()


def test_nadam_update(kernels, dtype):
    """The numbers are those of `Nadam`, whose bias corrections are checked with it."""
    gradients, optimizer = drawn_gradients(dtype), Nadam(0.01, epsilon=1e-4)

    def update(_, w, g, m, v):
        optimizer.prepare()
        kernels.nadam_update(w, g, m, v, optimizer.numbers)
        optimizer.advance()

    expected = expected_path(naive.nadam, gradients, learning_rate=0.01, epsilon=1e-4)
    close(path(update, gradients, dtype, True, True), expected, dtype)
