"""Ctrl-C at every single moment of a step and of a prediction: nothing is left behind.

A trace function presses it at the k-th moment at which Python looks for signals, for
one k after the other, so that no moment has to be hit by chance.
"""

import collections
import contextlib
import dis
import functools
import inspect
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import nanocnn
from nanocnn import Conv2D, Dense, Flatten, Input, Sequential
from nanocnn.jit import capture, threads
from support.small_models import BOTH_SETS

HERE = Path(nanocnn.__file__).parent
WATCHED = {contextlib.__file__, inspect.getfile(np.errstate)} | {
    str(HERE / f"{name}.py")
    for name in (
        "common/arrays", "jit/pool", "jit/precompile", "jit/capture", "jit/program",
        "jit/scratch", "jit/threads", "models/interrupts", "models/inference", "models/passes",
        "models/plan", "models/predictor", "models/sequential", "models/step", "models/trainer",
    )
}  # fmt: skip
X, Y = np.random.default_rng(0).random((8, 12, 12, 16), "f"), np.arange(8) % 3


def model(kernels):
    """With a convolution by Winograd's algorithm, part of whose work is done by Python at times."""
    layers = [Input((12, 12, 16)), Conv2D(16, 3, padding="same"), Flatten(), Dense(3, "softmax")]
    made = Sequential(layers, kernels=kernels)
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


@functools.cache
def opcodes(code):
    return code.co_code


class At:
    """Presses Ctrl-C at the k-th moment, or counts them.

    Python looks for signals after each call, at the beginning of a function and of each round of a
    loop: those are the moments, in the watched files. `rounds` is how often one place counts.
    """

    LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD", "YIELD", "SEND")

    def __init__(self, rounds, k=None):
        self.k, self.count, self.place, self.last = k, 0, "", {}
        self.rounds, self.seen = rounds, collections.Counter()

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename not in WATCHED:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            last, self.last[frame] = self.last.get(frame), opcodes(frame.f_code)[frame.f_lasti]
            if last is None or not dis.opname[last].startswith(self.LOOKS):
                return self
            self.seen[frame.f_code, frame.f_lasti] += 1
            self.count += self.seen[frame.f_code, frame.f_lasti] <= self.rounds
            if self.count == self.k and not self.place:
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)
        return self

    def during(self, work):
        before = sys.gettrace()
        try:
            sys.settrace(self)
            work()
        except KeyboardInterrupt as error:
            return error  # with its traceback, as a notebook keeps it
        finally:
            sys.settrace(before)
        return None


def blas():
    return [each.get_num_threads() for each in threads._blas()]


def handlers():
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


def usable_by_another_thread(made):
    """Whether another thread can train and predict: no lock is left locked."""
    done = []

    def work():
        made.train_on_batch(X, Y)
        threads.single_threaded_blas(made.predict, X)
        done.append(True)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    return bool(done)


@BOTH_SETS
@pytest.mark.parametrize("rounds", [2, pytest.param(np.inf, marks=pytest.mark.slow)])
@pytest.mark.parametrize("work", ["train_on_batch", "predict", "fit"])
def test_an_interruption_at_any_moment_leaves_nothing_locked_or_changed(
    kernels, work, rounds, set_threads
):
    set_threads(2)
    made, counts, before, warned = model(kernels), blas(), handlers(), np.geterr()
    weights = made.get_weights()
    calls = {
        "train_on_batch": lambda: made.train_on_batch(X, Y),
        "predict": lambda: (made.predict(X), made.predict(X[:1])),
        "fit": lambda: made.fit(X, Y, batch_size=8, verbose=0),
    }

    def fresh():
        made.set_weights(weights)
        made.stop_training = False
        made.progress = {}
        made.rng = np.random.default_rng(0)
        made._spare.clear()

    def whole():
        fresh()
        calls["fit"]()
        after = made.get_weights(), made.predict(X), made.predict(X[:3])
        return [array.tobytes() for array in (*after[0], *after[1:])]

    expected = whole()
    fresh()
    counter = At(rounds)
    assert counter.during(calls[work]) is None
    assert all(map(os.path.exists, WATCHED))
    for k in range(1, counter.count + 1):
        fresh()
        at = At(rounds, k)
        error = at.during(calls[work])
        assert isinstance(error, KeyboardInterrupt) or not at.place, at.place
        assert blas() == counts, at.place
        assert handlers() == before, at.place
        assert np.geterr() == warned, at.place
        assert not made._training.locked() and capture.capturing() is None, at.place
        assert k % 10 > 1 or whole() == expected, at.place
    assert usable_by_another_thread(made)
    assert not [t for t in threading.enumerate() if t.name == "nanocnn-interrupt"]
