"""The pool of threads: every part once, any number of callers, errors, Ctrl-C, fork and exit."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nanocnn.jit import pool as pools, spin, threads


@pytest.fixture(params=["spinning", "sleeping"])
def wait(request, monkeypatch):
    """Threads wait for one another in both ways: with the help of compiled code and without."""
    if request.param == "sleeping":
        monkeypatch.setattr(pools, "spin", lambda *args: False)


@pytest.fixture(params=[1, 2, 4])
def pool(wait, set_threads, request):
    set_threads(request.param)
    return request.param


@pytest.fixture
def two(wait, set_threads):
    set_threads(2)


def count(part, parts, done):
    done[part] += 1


def test_spinning_sees_a_change_and_gives_up():
    flags = np.zeros(2, np.int64)
    assert spin.spin(flags, 0, 1, 1000.0)
    assert not spin.spin(flags, 0, 0, 300.0, bump=1)
    assert flags.tolist() == [0, 1]
    other = threading.Timer(0.02, flags.__setitem__, (0, 5))
    other.start()
    assert spin.spin(flags, 0, 0, 10e6)
    other.join()


def python(code, *arguments):
    """Run `code` in a new process; its output, after it has ended well."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("parts", [0, 1, 2, 7, 64])
def test_every_part_is_done_once(pool, parts):
    done = np.zeros(parts, int)
    for _ in range(20):
        pools.run(count, parts, done)
    assert (done == 20).all()


def test_the_number_of_threads_is_used(pool):
    names, together = set(), threading.Barrier(pool)

    def kernel(part, parts):
        if part < pool:  # one thread cannot do two of these parts
            together.wait(60)
        names.add(threading.get_ident())

    pools.run(kernel, 12)
    assert len(names) == pool


def test_many_callers_at_once(pool):
    wrong = []

    def caller(i):
        for n in range(50):
            done = np.zeros(1 + (i + n) % 9, int)
            pools.run(count, len(done), done)
            if not (done == 1).all():
                wrong.append((i, n))

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(16)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(30)
    assert not wrong and not any(thread.is_alive() for thread in callers)


def test_a_kernel_may_call_kernels(pool):
    done = np.zeros((6, 5), int)
    pools.run(lambda part, parts: pools.run(count, 5, done[part]), 6)
    assert (done == 1).all()


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_an_error_is_raised_after_all_threads_have_left(pool, bad):
    inside = []

    def kernel(part, parts):
        inside.append(part)
        time.sleep(0.002)
        inside.remove(part)
        if part == bad:
            raise ArithmeticError(part)

    for _ in range(5):
        with pytest.raises(ArithmeticError, match=str(bad)):
            pools.run(kernel, 8)
        assert inside == []
    done = np.zeros(8, int)
    pools.run(count, 8, done)  # the pool has survived
    assert (done == 1).all()


def test_arrays_are_released(two):
    class Kept:
        alive = 0

        def __init__(self):
            Kept.alive += 1

        def __del__(self):
            Kept.alive -= 1

    pools.run(lambda part, parts, kept: time.sleep(0.001), 4, Kept())
    deadline = time.time() + 60
    while Kept.alive and time.time() < deadline:  # the other thread lets go a moment later
        time.sleep(0.001)
    assert Kept.alive == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
@pytest.mark.parametrize(
    "times, first, again, pause", [(60, 0.02, 0, 0.0002), (3, 0.05, 0.05, 0.01)]
)
def test_ctrl_c_returns_when_no_thread_writes_any_more(two, times, first, again, pause):
    """Interrupted at random moments, once or again and again: then the array changes no more."""
    array = np.zeros(40)

    def kernel(part, parts):
        for _ in range(20):
            time.sleep(pause)
            array[part] += 1

    def press(number, frame):
        """Ctrl-C, wherever `run` is; not in this test's own code, nor in a callback of the gc."""
        while frame is not None and frame.f_code is not pools.run.__code__:
            frame = frame.f_back
        if frame is not None:
            raise KeyboardInterrupt

    rng, interrupts = np.random.default_rng(0), 0
    before = signal.signal(signal.SIGALRM, press)
    gc.disable()
    try:
        for _ in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, first), again)
                pools.run(kernel, 40)
            except KeyboardInterrupt:
                interrupts += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            left = array.copy()
            time.sleep(3 * pause)
            np.testing.assert_array_equal(array, left)
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert interrupts > times // 2


WAITS = "", "pool.spin = lambda *args: False"  # in a process of its own
FORK = """
import os, sys, threading, time, warnings
import numpy as np
from nanocnn.jit import pool, threads
WAIT
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork with threads
threads.set_num_threads(3)
def busy(part, parts):
    time.sleep(0.01)
stop = False
def caller():
    while not stop:
        threads.single_threaded_blas(pool.run, busy, 6)
callers = [threading.Thread(target=caller, daemon=True) for _ in range(2)]
[t.start() for t in callers]
for i in range(20):
    time.sleep(0.003 * (i % 5))
    child = os.fork()
    if child == 0:
        done = np.zeros(9, int)
        seen, together = set(), threading.Barrier(3)
        def kernel(part, parts):
            if part < 3:  # one thread cannot do two of these parts
                together.wait(60)
            done[part] += 1
            seen.add(threading.get_ident())
        threads.single_threaded_blas(pool.run, kernel, 9)
        threads.set_num_threads(2)
        os._exit(0 if (done == 1).all() and len(seen) == 3 else 1)
    deadline = time.time() + 100
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.time() > deadline:
            os.kill(child, 9)
            sys.exit("the child hangs")
        time.sleep(0.005)
    assert status == 0, status
stop = True
[t.join() for t in callers]
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("wait", WAITS)
def test_a_child_forked_from_a_busy_process_has_its_own_pool(wait):
    assert python(FORK.replace("WAIT", wait)) == "fine\n"


@pytest.mark.parametrize("wait", WAITS)
def test_the_interpreter_ends_while_threads_work(wait):
    code = f"""
import threading, time
from nanocnn.jit import pool, threads
{wait}
threads.set_num_threads(4)
work = lambda part, parts: time.sleep(0.01)
def forever():
    while True:
        pool.run(work, 8)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.1)
print("end")
"""
    assert python(code) == "end\n"  # and does not hang


def test_the_number_of_threads_changes_while_others_run(two):
    stop, wrong = False, []

    def caller():
        while not stop:
            done = np.zeros(8, int)
            pools.run(count, 8, done)
            if not (done == 1).all():
                wrong.append(done)

    callers = [threading.Thread(target=caller) for _ in range(3)]
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
    deadline = time.time() + 60
    names = ["?"] * 9
    while len(names) > 2 and time.time() < deadline:  # the threads of the old pools have ended
        names = [t.name for t in threading.enumerate() if t.name.startswith("nanocnn")]
        time.sleep(0.01)
    assert len(names) <= 2, names


def test_without_compiled_code_threads_sleep():
    """Where numba compiles nothing, and where spinning cannot be compiled: that is said."""
    code = """if True:
        import os, sys, threading, warnings
        os.environ["NUMBA_DISABLE_JIT"] = sys.argv[1]
        import nanocnn.jit.compile
        if sys.argv[1] == "0":
            def broken(function):
                raise AttributeError("gone")
            nanocnn.jit.compile.kernel = broken
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from nanocnn.jit import pool, threads
        threads.set_num_threads(2)
        together = threading.Barrier(2)
        for _ in range(5):
            pool.run(lambda part, parts: together.wait(60), 2)
        print([str(each.message) for each in caught])"""
    for argument, said in (
        ("1", "[]"),
        ("0", """["threads sleep where they could spin: AttributeError('gone')"]"""),
    ):
        assert python(code, argument) == said + "\n"
