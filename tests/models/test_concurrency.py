"""Threads and processes: right answers from any number of them, and no crash."""

import multiprocessing
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np
import pytest

from nanocnn import Conv2D, Dense, Flatten, Sequential
from support.small_models import BOTH_SETS, bits, digits, every_layer, small_model

X, Y = digits(90)
SECONDS = float(os.environ.get("NANOCNN_ENDURANCE", "2"))


def in_threads(count, function):
    """Run function(i) in `count` threads that start together; their results."""
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait()
        return function(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@BOTH_SETS
def test_16_threads_predict_and_every_answer_is_right(kernels):
    """NANOCNN_ENDURANCE=60 makes it the minute that is promised."""
    model = every_layer(kernels)
    model.fit(X, Y, verbose=0)
    sizes = [1, 7, 32, 90]
    expected = {n: model.predict(X[:n]).tobytes() for n in sizes}
    end = monotonic() + SECONDS

    def work(i):
        count = 0
        while count < len(sizes) or monotonic() < end:
            n = sizes[(i + count) % 4]
            assert model.predict(X[:n]).tobytes() == expected[n]
            count += 1
        return count

    counts = in_threads(16, work)
    print(f"{kernels}: {sum(counts):,} predictions from 16 threads in {SECONDS:g} s, all right")


@BOTH_SETS
def test_several_models_train_at_once_with_the_bits_of_training_alone(kernels):
    def train(i):
        model = every_layer(kernels, seed=i)
        history = model.fit(X, Y, epochs=2, validation_data=(X, Y), verbose=0)
        return bits(model), history.history

    alone = [train(i) for i in range(4)]
    assert in_threads(4, train) == alone


@BOTH_SETS
def test_one_model_predicts_while_another_trains(kernels):
    ready, busy = small_model(kernels), every_layer(kernels)
    expected = ready.predict(X).tobytes()
    done = threading.Event()

    def work(i):
        if i == 0:
            busy.fit(X, Y, epochs=4, verbose=0)
            done.set()
            return True
        right = True
        while not done.is_set():
            right = right and ready.predict(X).tobytes() == expected
        return right

    assert all(in_threads(4, work))


@BOTH_SETS
def test_predicting_with_a_model_in_training_gives_probabilities(kernels):
    model = small_model(kernels)
    done = threading.Event()

    def work(i):
        if i == 0:
            model.fit(X, Y, epochs=10, verbose=0)
            done.set()
        while not done.is_set():
            np.testing.assert_allclose(model.predict(X).sum(axis=1), 1, rtol=1e-4)

    in_threads(4, work)


def test_a_model_is_trained_by_one_thread_at_a_time():
    model = small_model()
    errors = []

    class Intruder(threading.Thread):
        def run(self):
            try:
                model.train_on_batch(X, Y)
            except RuntimeError as error:
                errors.append(str(error))

    from nanocnn import Callback

    class Invite(Callback):
        def on_batch_end(self, batch, logs):
            if batch == 0:
                intruder = Intruder()
                intruder.start()
                intruder.join()

    model.fit(X, Y, callbacks=[Invite()], verbose=0)
    assert errors == ["model 'sequential' is being trained by another thread"]
    model.train_on_batch(X, Y)


@BOTH_SETS
def test_many_threads_may_build_a_model_by_their_first_prediction(kernels):
    for _ in range(5):
        model = Sequential(
            [Conv2D(4, 3, activation="relu"), Flatten(), Dense(10, "softmax")], kernels=kernels
        )
        answers = in_threads(8, lambda i, model=model: model.predict(X).tobytes())
        assert len(set(answers)) == 1
        assert len(model.layers) == 3


def test_fit_works_in_a_thread_that_is_not_the_main_one():
    whole, inside = small_model(), small_model()
    whole.fit(X, Y, verbose=0)
    in_threads(1, lambda i: inside.fit(X, Y, verbose=0))
    assert bits(whole) == bits(inside)


# --- Processes ---


def train_and_predict(model, queue):
    """What a child process does: predict with the parent's model, then train it on."""
    prediction = model.predict(X).tobytes()
    model.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
    queue.put((prediction, bits(model)))


@BOTH_SETS
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes_predict_and_train(method, kernels):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    model = every_layer(kernels)
    model.fit(X, Y, verbose=0)  # the threads of the pool run in the parent already
    expected = model.predict(X).tobytes()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    with warnings.catch_warnings():
        # Python warns of forking with threads; that it works all the same is what is tested.
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
        children = [
            context.Process(target=train_and_predict, args=(model, queue)) for _ in range(2)
        ]
        for child in children:
            child.start()
    results = [queue.get(timeout=120) for _ in children]
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    model.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
    assert results == [(expected, bits(model))] * 2
