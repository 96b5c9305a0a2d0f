"""The pool's threads: how they wait, how many there are, fork, and the end of the interpreter."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nanocnn.jit import pool as pools, threads
from nanocnn.jit.compile import kernel
from support.pool_kernels import all_meet, count, together, within
from support.processes import ENVIRONMENT


@pytest.fixture(params=[1, 2, 4])
def pool(set_threads, request):
    set_threads(request.param)
    return request.param


def python(code):
    """Run `code` in a new process, with these kernels; it must print "fine"."""
    start = "import os, sys, threading, time\nimport numpy as np\n"
    start += "from nanocnn.jit import pool, threads\n"
    start += "from support.pool_kernels import all_meet, count, slowly, within\n"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", start + code],
        capture_output=True, text=True, timeout=180, env=ENVIRONMENT,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr


# --- Waiting ---


def test_threads_sleep_and_wake(pool):
    for _ in range(5):
        assert all_meet(pool)
        assert within(60, lambda: len(pools._pool.sleeping) == pool - 1)


def test_idle_threads_take_no_processor_time(pool):
    shares = []
    for _ in range(5):  # other threads of this process may wake up meanwhile
        all_meet(pool)
        time.sleep(0.01)
        used, start = time.process_time(), time.monotonic()
        time.sleep(0.2)
        shares.append((time.process_time() - used) / (time.monotonic() - start))
    assert min(shares) < 0.01


def rate(callers, seconds=0.1):
    """Runs per second by that many Python threads."""
    counts, end = [0] * callers, time.monotonic() + seconds

    def caller(i):
        done = np.zeros(8, int)
        while time.monotonic() < end:
            pools.run(slowly_by_computing, 8, 20_000, done)
            counts[i] += 1

    together(caller, callers)
    return sum(counts) / seconds


@kernel
def slowly_by_computing(part, parts, times, done):
    number = done[part]
    for i in range(times):
        number = (number * 5 + i) ^ part
    done[part] = number


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 4])
def test_sixteen_callers_get_as_much_done_as_one(set_threads, n):
    set_threads(n)
    rate(1)
    assert any(rate(16) >= 0.95 * rate(1) for _ in range(20))  # other processes disturb it


@pytest.mark.slow
def test_more_threads_than_cores_do_not_block_each_other(set_threads):
    def with_threads(n):
        set_threads(n)
        rate(1, 0.01)
        return rate(1)

    most = 4 * threads.usable_cores()
    assert any(with_threads(most) >= 0.5 * with_threads(1) for _ in range(20))


def test_a_process_that_is_pinned_to_fewer_cores():
    python("""if True:
        if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
            print("fine")
            sys.exit()
        cores = os.sched_getaffinity(0)
        threads.set_num_threads(2)
        assert all_meet(2)
        for wanted, helpers in (({min(cores)}, 0), (cores, 1)):
            os.sched_setaffinity(0, wanted)
            for thread in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(thread), wanted)
            time.sleep(pool.LOOK)
            done = np.zeros(8, int)
            pool.run(count, 8, done)
            assert (done == 1).all()
            assert pool._pool.helpers == helpers
        assert all_meet(2)
        print("fine")""")


def test_without_threads_the_caller_does_all(set_threads, monkeypatch):
    """As at the limit of the system, or when the interpreter ends."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    set_threads(5)
    done = np.zeros(8, int)
    pools.run(count, 8, done)
    assert (done == 1).all() and pools._pool.helpers == 0


# --- Processes ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_from_a_busy_process_has_its_own_pool():
    python("""if True:
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork with threads
        threads.set_num_threads(3)
        busy, stop = np.zeros(6), False
        def caller():
            while not stop:
                threads.single_threaded_blas(pool.run, slowly, 6, 100, busy)
        callers = [threading.Thread(target=caller, daemon=True) for _ in range(2)]
        [t.start() for t in callers]
        for i in range(20):
            time.sleep(0.003 * (i % 5))
            child = os.fork()
            if child == 0:
                done = np.zeros(9, int)
                threads.single_threaded_blas(pool.run, count, 9, done)
                met = all_meet(3)
                threads.set_num_threads(2)
                os._exit(0 if (done == 1).all() and met and all_meet(2) else 1)
            status = []
            def ended():
                pid, code = os.waitpid(child, os.WNOHANG)
                status.append(code)
                return pid
            if not within(100, ended):
                os.kill(child, 9)
                sys.exit("the child hangs")
            assert status[-1] == 0, status
        stop = True
        [t.join() for t in callers]
        print("fine")""")


def test_the_interpreter_ends_while_threads_work():
    python("""if True:
        threads.set_num_threads(4)
        def forever():
            done = np.zeros(8)
            while True:
                pool.run(slowly, 8, 100, done)
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1)
        print("fine")""")  # and does not hang


def test_kernels_run_while_the_interpreter_ends():
    python("""if True:
        import atexit
        threads.set_num_threads(3)
        def last():
            done = np.zeros(8, int)
            pool.run(count, 8, done)
            print("fine" if (done == 1).all() else done)
        pool.run(count, 8, np.zeros(8, int))
        atexit.unregister(pool._at_exit)
        atexit.register(last)
        atexit.register(pool._at_exit)  # before `last`: the threads are gone then""")
