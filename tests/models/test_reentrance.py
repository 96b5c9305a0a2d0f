"""Code that comes in between: signal handlers and finalizers that predict, and forks.

They come at every moment of a prediction, by a trace function, instead of at random ones.
"""

import functools
import gc
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import nanocnn
from nanocnn import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.jit import pool, scratch, threads
from nanocnn.jit.atomics import add, pause, read
from nanocnn.jit.compile import kernel
from nanocnn.models import structure
from support.small_models import BOTH_SETS

HERE = str(Path(nanocnn.__file__).parent), threadpoolctl.__file__
X = np.random.default_rng(0).random((20, 12, 12, 16), "f")


def model(seed, kernels):
    layers = [Input((12, 12, 16)), Conv2D(16, 3, activation="relu"), MaxPooling2D(2),
              Conv2D(4, 3, activation="tanh"), Flatten(), Dense(30, activation="relu"),
              Dense(3, activation="softmax")]  # fmt: skip
    return Sequential(layers, seed=seed, kernels=kernels)


class Between:
    """Calls `guest` before the k-th line of the package that runs."""

    def __init__(self, guest, k=None):
        self.guest, self.k, self.count = guest, k, 0

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        self.count += event == "line"
        if self.count == self.k and event == "line":
            sys.settrace(None)
            self.guest()
        return self

    def during(self, function, *args):
        before = sys.gettrace()
        try:
            sys.settrace(self)
            return function(*args)
        finally:
            sys.settrace(before)


@BOTH_SETS
@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("m", [1, 20])
def test_a_prediction_between_any_two_lines_of_another(kernels, n, m, set_threads):
    """Of another model; the first passes are captured, later ones replayed."""
    set_threads(2)
    outer, inner = model(1, kernels), model(2, kernels)
    want, other = outer.predict(X[:n]), inner.predict(X[:m])
    inside = []
    guest = lambda: inside.append(inner.predict(X[:m]))  # noqa: E731
    for warm in (False, True):
        k, end = 1, 2
        while k < end:
            if not warm:
                outer._spare.clear()
                inner._spare.clear()
            at = Between(guest, k)
            np.testing.assert_array_equal(at.during(outer.predict, X[:n]), want)
            assert at.count < k or np.array_equal(inside.pop(), other)
            np.testing.assert_array_equal(outer.predict(X[:n]), want)  # what was captured is right
            k, end = k + 3, end + (3 if at.count >= k else 0)


Y = np.arange(20) % 3
GUESTS = {
    "predict": lambda inner: functools.partial(inner.predict, X),
    "evaluate": lambda inner: functools.partial(inner.evaluate, X, Y),
    "train_on_batch": lambda inner: functools.partial(inner.train_on_batch, X, Y),
    "fit": lambda inner: functools.partial(inner.fit, X, Y, verbose=0),
    "trace": lambda inner: functools.partial(inner.trace, X, Y),
}


def captured(model):
    """How many calls its programs have."""
    return {
        len(each.run.__self__.calls) if each.is_captured else 0
        for memory in model._spare
        for each in memory.passes.values()
    }


def test_what_a_handler_runs_is_not_captured(set_threads):
    outer, inner, counts = model(1, "fast"), model(2, "fast"), set()
    want = outer.predict(X[:1])
    for k in range(1, 1700, 11):
        outer._spare.clear()
        Between(lambda: inner.predict(X), k).during(outer.predict, X[:1])
        np.testing.assert_array_equal(outer.predict(X[:1]), want)
        counts |= captured(outer)
    assert len(counts) == 1 and 0 not in counts, counts


@pytest.mark.parametrize("guest", GUESTS)
def test_a_public_method_run_as_a_handler_is_not_captured(guest, set_threads):
    """As a finalizer: between it and the captured pass is nothing but this package's own code."""
    outer, inner, counts = model(1, "fast"), model(2, "fast"), set()
    inner.compile("sgd", "sparse_categorical_crossentropy")
    guest, want, before = GUESTS[guest](inner), outer.predict(X[:1]), gc.get_threshold()

    class Last:
        __del__ = functools.partial(guest)

    for k in range(1, 200, 3):
        outer._spare.clear()
        last = [Last()]
        last.append(last)
        del last
        try:
            gc.set_threshold(k)  # it is found by the collector after k more objects
            outer.predict(X[:1])
        finally:
            gc.set_threshold(*before)
        np.testing.assert_array_equal(outer.predict(X[:1]), want)
        counts |= captured(outer)
    assert len(counts) == 1 and 0 not in counts, counts


def test_a_finalizer_that_predicts(set_threads):
    outer, inner = model(1, "fast"), model(2, "fast")
    want = outer.predict(X)

    class Last:
        def __del__(self):
            inner.predict(X)

    for _ in range(20):
        last = [Last()]
        last.append(last)  # a circle: found by the collector, wherever that runs
        del last
        np.testing.assert_array_equal(outer.predict(X), want)


@BOTH_SETS
def test_a_handler_may_build_and_use_the_model_that_is_being_built(kernels):
    def fresh():
        return Sequential([Conv2D(4, 3), Flatten(), Dense(3)], seed=3, kernels=kernels)

    want = fresh().predict(X)
    for k in range(1, 300, 11):
        made, inside = fresh(), []
        at = Between(lambda made=made, inside=inside: inside.append(made.predict(X)), k)
        np.testing.assert_array_equal(at.during(made.predict, X), want)
        assert all(np.array_equal(each, want) for each in inside)


def test_a_buffer_has_one_user_at_a_time():
    first = scratch.scratch("test", 10, "f")
    part = first[2:4]
    del first
    second = scratch.scratch("test", 10, "f")  # while a part of the first is held
    assert not np.shares_memory(second, part)
    address = part.__array_interface__["data"][0]
    del part
    third = scratch.scratch("test", 10, "f")
    assert address - third.ctypes.data == 2 * third.itemsize  # used again
    assert third.ctypes.data % scratch.ALIGN == 0
    assert len(scratch.scratch("test", 1000, "f")) >= 1000


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
@BOTH_SETS
def test_predictions_in_a_real_handler(kernels):
    outer, inner = model(1, kernels), model(2, kernels)
    want, other, wrong, busy = outer.predict(X), inner.predict(X), [], []

    def handler(number, frame):
        if not busy:
            busy.append(1)
            wrong.append(not np.array_equal(inner.predict(X), other))
            busy.clear()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        while len(wrong) < 30:
            np.testing.assert_array_equal(outer.predict(X), want)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not any(wrong)


# --- Forks ---

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def child_ends_well(work):
    """Fork; whether the child returns from `work` within 30 seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork with threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@fork
@BOTH_SETS
def test_a_child_forked_while_a_thread_builds_the_model(kernels, monkeypatch):
    made = Sequential([Conv2D(4, 3), Flatten(), Dense(3)], seed=3, kernels=kernels)
    building, go_on, original = threading.Event(), threading.Event(), structure.make_names_unique

    def slow(layers):
        building.set()
        go_on.wait(60)
        original(layers)

    monkeypatch.setattr(structure, "make_names_unique", slow)
    thread = threading.Thread(target=made.predict, args=(X,))
    thread.start()
    building.wait(60)
    monkeypatch.setattr(structure, "make_names_unique", original)
    assert child_ends_well(lambda: made.predict(X))
    go_on.set()
    thread.join()


@fork
@BOTH_SETS
def test_a_child_forked_while_another_thread_trains_can_train(kernels):
    made, y = model(1, kernels), np.arange(20) % 3
    made.compile("sgd", "sparse_categorical_crossentropy")
    inside, go_on = threading.Event(), threading.Event()

    class Wait(nanocnn.Callback):
        def on_batch_end(self, batch, logs):
            inside.set()
            go_on.wait(60)

    fit = functools.partial(made.fit, X, y, verbose=0)
    thread = threading.Thread(target=fit, kwargs={"callbacks": [Wait()]})
    thread.start()
    inside.wait(60)
    assert child_ends_well(fit)
    with pytest.raises(RuntimeError, match="by another thread"):
        fit()
    go_on.set()
    thread.join()
    fit()


# --- Threads that cannot be started ---


@pytest.mark.parametrize("started", [0, 1])
def test_without_new_threads_the_caller_works_alone(monkeypatch, set_threads, started):
    original, left = threading.Thread.start, [None] * started

    def start(self):
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        original(self)

    set_threads(4)
    mine = pool.Pool(3)
    monkeypatch.setattr(pool, "_pool", mine)
    monkeypatch.setattr(threading.Thread, "start", start)
    done = np.zeros(9, int)
    for _ in range(3):
        pool.run(count, 9, done)
    assert (done == 3).all() and mine.helpers == started
    assert threads.get_num_threads() == 4
    model(1, "fast").predict(X)
    mine.stop()


def test_a_process_pinned_to_one_core_is_noticed(monkeypatch, set_threads):
    set_threads(2)
    mine = pool.Pool(1)
    monkeypatch.setattr(pool, "_pool", mine)
    for now, helpers in ((mine.cores, 1), (1, 0 if mine.cores > 1 else 1), (mine.cores, 1)):
        monkeypatch.setattr(threads, "allowed_cores", lambda now=now: now)
        mine.next_look = 0.0  # the last look may be that of a moment ago
        arrived = np.zeros(1, int)
        # One thread cannot do two of these parts: it waits in the first for the second
        arguments = meet, 2, arrived.ctypes.data
        meeting = threading.Thread(target=pool.run, args=arguments, daemon=True)
        meeting.start()
        meeting.join(60 if helpers else 0.5)
        assert meeting.is_alive() == (helpers == 0)
        arrived[0] += 2  # let them go
        meeting.join(60)
        assert not meeting.is_alive()
    mine.stop()


@kernel
def count(part, parts, done):
    done[part] += 1


@kernel
def meet(part, parts, arrived):
    """Wait until both parts have begun; `arrived`: where that is counted."""
    add(arrived, 1)
    while read(arrived) < 2:
        pause()
