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

from nanocnn.jit import spin, threads


@pytest.fixture(params=["watching", "sleeping"])
def wait(request, monkeypatch):
    """Threads wait for one another in both ways: with the help of compiled code and without."""
    monkeypatch.setattr(threads, "spin", spin.spin if request.param == "watching" else None)


@pytest.fixture(params=[1, 2, 4])
def pool(wait, request):
    before = threads.get_num_threads()
    threads.set_num_threads(request.param)
    yield request.param
    threads.set_num_threads(before)


@pytest.fixture
def two(wait):
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


def count(part, parts, done):
    done[part] += 1


def meet(part, parts, seconds):
    """A part that takes its time, so that other threads have to take the other parts."""
    time.sleep(seconds)


def test_watching_sees_a_change_and_gives_up():
    flags = np.zeros(2, np.int64)
    assert spin.spin(flags, 0, 1, 1000.0)
    assert not spin.spin(flags, 0, 0, 300.0, bump=1)
    assert flags.tolist() == [0, 1]
    other = threading.Timer(0.02, flags.__setitem__, (0, 5))
    other.start()
    assert spin.spin(flags, 0, 0, 10e6)
    other.join()


def python(code, **options):
    """Run `code` in a new process; its output, after it has ended well."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=180, **options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("parts", [0, 1, 2, 7, 64])
def test_every_part_is_done_once(pool, parts):
    done = np.zeros(parts, int)
    for _ in range(20):
        threads.run(count, parts, done)
    assert (done == 20).all()


def test_the_number_of_threads_is_used(pool):
    names, together = set(), threading.Barrier(pool)

    def kernel(part, parts):
        if part < pool:  # one thread cannot do two of these parts
            together.wait(60)
        names.add(threading.get_ident())

    threads.run(kernel, 12)
    assert len(names) == pool


def test_many_callers_at_once(pool):
    wrong = []

    def caller(i):
        for n in range(50):
            done = np.zeros(1 + (i + n) % 9, int)
            threads.run(count, len(done), done)
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
    threads.run(lambda part, parts: threads.run(count, 5, done[part]), 6)
    assert (done == 1).all()


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_an_error_comes_out_once_all_have_left(pool, bad):
    inside = []

    def kernel(part, parts):
        inside.append(part)
        time.sleep(0.002)
        inside.remove(part)
        if part == bad:
            raise ArithmeticError(part)

    for _ in range(5):
        with pytest.raises(ArithmeticError, match=str(bad)):
            threads.run(kernel, 8)
        assert inside == []
    done = np.zeros(8, int)
    threads.run(count, 8, done)  # the pool has survived
    assert (done == 1).all()


def test_arrays_are_let_go(two):
    class Kept:
        alive = 0

        def __init__(self):
            Kept.alive += 1

        def __del__(self):
            Kept.alive -= 1

    threads.run(lambda part, parts, kept: time.sleep(0.001), 4, Kept())
    deadline = time.time() + 60
    while Kept.alive and time.time() < deadline:  # the other thread lets go a moment later
        time.sleep(0.001)
    assert Kept.alive == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
@pytest.mark.parametrize(
    "times, first, again, pause", [(60, 0.02, 0, 0.0002), (3, 0.05, 0.05, 0.01)]
)
def test_ctrl_c_returns_when_nobody_writes_any_more(two, times, first, again, pause):
    """Interrupted at random moments, once or again and again: then the array changes no more."""
    array = np.zeros(40)

    def kernel(part, parts):
        for _ in range(20):
            time.sleep(pause)
            array[part] += 1

    def press(number, frame):
        """Ctrl-C, wherever `run` is; not in this test's own code, nor in a callback of the gc."""
        while frame is not None and frame.f_code is not threads.run.__code__:
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
                threads.run(kernel, 40)
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


FORK = """
import os, sys, threading, time, warnings
import numpy as np
from nanocnn import threads
IMPORT
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork with threads
threads.set_num_threads(3)
def busy(part, parts):
    time.sleep(0.01)
stop = False
def caller():
    while not stop:
        threads.single_threaded_blas(threads.run, busy, 6)
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
        threads.single_threaded_blas(threads.run, kernel, 9)
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
@pytest.mark.parametrize("load", ["", "import nanocnn.kernels.fast"])
def test_a_child_forked_from_a_busy_process_has_its_own_pool(load):
    assert python(FORK.replace("IMPORT", load)) == "fine\n"


@pytest.mark.parametrize("load", ["", "import nanocnn.kernels.fast"])
def test_the_interpreter_ends_while_threads_work(load):
    code = f"""
import threading, time
from nanocnn import threads
{load}
threads.set_num_threads(4)
work = lambda part, parts: time.sleep(0.01)
def forever():
    while True:
        threads.run(work, 8)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.1)
print("end")
"""
    assert python(code) == "end\n"  # and does not hang


def test_the_number_of_threads_is_checked():
    before = threads.get_num_threads()
    for bad in (0, -1, 1.5, "2", None, True, 10**6, float("nan")):
        with pytest.raises(ValueError, match="set_num_threads"):
            threads.set_num_threads(bad)
    threads.set_num_threads(np.int64(3))
    assert threads.get_num_threads() == 3
    threads.set_num_threads(before)


def test_changing_the_number_while_others_work(two):
    stop, wrong = False, []

    def caller():
        while not stop:
            done = np.zeros(8, int)
            threads.run(count, 8, done)
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
    deadline = time.time() + 60
    names = ["?"] * 9
    while len(names) > 2 and time.time() < deadline:  # the threads of the old pools have ended
        names = [t.name for t in threading.enumerate() if t.name.startswith("nanocnn")]
        time.sleep(0.01)
    assert len(names) <= 2, names


def test_the_default_is_the_usable_cores():
    code = "from nanocnn import get_num_threads; print(get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert int(python(code, env=environment)) == cores
    for asked, got in [("1", 1), ("999", cores), ("1,2", 1), ("no", cores), ("", cores)]:
        assert int(python(code, env={**environment, "OMP_NUM_THREADS": asked})) == got


def blas_threads():
    """Of NumPy's BLAS; numba may have loaded SciPy's since, which we don't call."""
    return [blas.get_num_threads() for blas in threads._blas()]


def test_single_threaded_blas(two):
    assert blas_threads() and set(blas_threads()) == {2}  # set_num_threads has set them too

    def inside(depth):
        assert set(blas_threads()) == {1}
        if depth:
            assert threads.single_threaded_blas(inside, depth - 1) == depth - 1
        else:
            threads.set_num_threads(3)
        assert set(blas_threads()) == {1}
        return depth

    assert threads.single_threaded_blas(inside, 2) == 2
    assert set(blas_threads()) == {3}
    with pytest.raises(ZeroDivisionError):
        threads.single_threaded_blas(lambda: 1 / 0)
    assert set(blas_threads()) == {3}


def test_single_threaded_blas_from_many_threads(two):
    wrong = []

    def caller():
        for _ in range(30):
            inside = threads.single_threaded_blas(blas_threads)
            if set(inside) != {1}:
                wrong.append(inside)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong and set(blas_threads()) == {2}


def test_threads_does_not_load_numba():
    assert python("import sys, nanocnn.jit.threads; print('numba' in sys.modules)") == "False\n"
