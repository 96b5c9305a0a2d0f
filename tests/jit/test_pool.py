"""The pool of threads: every part once, any number of callers, and signals between."""

import gc
import signal
import threading
import time
import weakref

import numpy as np
import pytest

from nanocnn.jit import executor, pool as pools, scratch, threads
from support.pool_kernels import all_meet, count, own, slowly, together, within


@pytest.fixture(params=[1, 2, 4])
def pool(set_threads, request):
    set_threads(request.param)
    return request.param


@pytest.fixture
def two(set_threads):
    set_threads(2)


# --- Parts ---


@pytest.mark.parametrize("parts", [0, 1, 2, 7, 64])
def test_every_part_is_done_once(pool, parts):
    done = np.zeros(parts, int)
    for _ in range(20):
        pools.run(count, parts, done)
    assert (done == 20).all()


def test_the_number_of_threads_is_used(pool):
    assert all_meet(pool)


def test_a_kernel_can_be_called_for_one_part():
    done = np.zeros(3, int)
    count(1, 3, done)
    assert done.tolist() == [0, 1, 0]


def test_arrays_are_released(two):
    array = np.zeros(4, int)
    seen = weakref.ref(array)
    pools.run(count, 4, array)
    del array
    assert seen() is None


# --- Callers ---


@pytest.mark.parametrize("callers", [16, executor.SLOTS + 8])
def test_many_callers_at_once(pool, callers):
    wrong = []

    def caller(i):
        for n in range(50):
            done = np.zeros(1 + (i + n) % 9, int)
            pools.run(count, len(done), done)
            if not (done == 1).all():
                wrong.append((i, n))

    together(caller, callers)
    assert not wrong


def test_threads_give_back_what_they_had(two):
    pools.run(count, 2, np.zeros(2, int))
    free = len(pools._pool.free)
    for _ in range(5):
        together(lambda i: pools.run(count, 2, np.zeros(2, int)), executor.SLOTS)
    assert within(60, lambda: len(pools._pool.free) == free)
    assert sorted(pools._pool.free) == list(range(executor.SLOTS - free, executor.SLOTS))


def test_each_thread_has_its_own_work_memory(pool):
    """Also if callers need more and more of it, each another amount."""
    wrong = np.zeros((6, 8), int)

    def caller(i):
        for n in range(40):
            size = (n * (i + 1) * 997) % 60_000
            scratch.run(own, 8, {"a": 100, "b": size}, 1000.0 * i + n, wrong[i], np.zeros(1))

    together(caller, 6)
    assert not wrong.any()


def test_the_number_of_threads_changes_while_others_run(two):
    stop, wrong = False, []

    def caller(i):
        while not stop:
            done = np.zeros(8, int)
            pools.run(count, 8, done)
            if not (done == 1).all():
                wrong.append(done)

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(3)]
    for thread in callers:
        thread.start()
    for n in [1, 4, 2, 3] * 10:
        threads.set_num_threads(n)
        time.sleep(0.002)
    stop = True
    for thread in callers:
        thread.join(30)
    assert not wrong
    pools.run(count, 8, np.zeros(8, int))  # the last number may have been set after the last run
    helpers = lambda: [t for t in threading.enumerate() if t.name.startswith("nanocnn")]  # noqa: E731
    assert within(60, lambda: len(helpers()) <= 2)  # the threads of the old pools have ended
    assert all_meet(3)


# --- Signals ---

needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")


@pytest.fixture
def on_alarm():
    """Sets a handler of SIGALRM."""
    before = signal.getsignal(signal.SIGALRM)
    gc.disable()  # its callbacks cannot be interrupted
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    gc.enable()


@needs_timers
@pytest.mark.parametrize("times, first, again, pause", [(60, 0.02, 0, 2), (3, 0.05, 0.05, 100)])
def test_ctrl_c_returns_when_no_thread_writes_any_more(
    set_threads, on_alarm, times, first, again, pause
):
    """Interrupted at random moments, once or again and again: then the array changes no more.

    Also while threads are started and stopped. And all goes on as before.
    """
    array = np.zeros(40)

    def press(number, frame):
        """Ctrl-C, wherever `run` is; not in this test's own code."""
        while frame is not None and frame.f_code is not pools.run.__code__:
            frame = frame.f_back
        if frame is not None:
            raise KeyboardInterrupt

    set_threads(2)
    pools.run(slowly, 40, pause, array)  # compiled
    rng, interrupts = np.random.default_rng(0), 0
    on_alarm(press)
    for i in range(times):
        set_threads(2 + i % 2)
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, first), again)
            for _ in range(100):
                pools.run(slowly, 40, pause, array)
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        left = array.copy()
        time.sleep(0.001)
        np.testing.assert_array_equal(array, left)
    assert interrupts > times // 2
    for n in (2, 3):
        set_threads(n)
        assert all_meet(n)


@needs_timers
def test_a_signal_handler_may_run_kernels(pool, on_alarm):
    """Wherever it interrupts: nothing is lost, and both have their own work memory."""
    done, wrong, calls = np.zeros(8, int), np.zeros(8, int), 0
    x = np.zeros(1)

    def handler(number, frame):
        nonlocal calls
        calls += 1
        pools.run(count, 8, done)
        scratch.run(own, 8, {"a": 2_000 * calls}, -1.0, wrong, x)
        if calls < 40:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

    scratch.run(own, 8, {"a": 1}, 1.0, wrong, x)
    on_alarm(handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    rounds, end = 0, time.monotonic() + 60
    while calls < 40 and time.monotonic() < end:
        pools.run(count, 8, done)
        scratch.run(own, 8, {"a": 500 * (rounds % 100)}, 1.0, wrong, x)
        rounds += 1
    assert calls == 40 and (done == rounds + calls).all() and not wrong.any()
