"""The pool of threads: every part once, any number of callers, signals, fork and exit."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from nanocnn.jit import executor, pool as pools, scratch, threads
from nanocnn.jit.atomics import add, read, sleep
from nanocnn.jit.compile import kernel


@pytest.fixture(params=[1, 2, 4])
def pool(set_threads, request):
    set_threads(request.param)
    return request.param


@pytest.fixture
def two(set_threads):
    set_threads(2)


@kernel
def count(part, parts, done):
    done[part] += 1


@kernel
def meet(part, parts, place, met):
    """Wait, up to a minute, until all parts are being run: a thread can only be in one of them."""
    add(place, 1)
    for _ in range(600_000):
        if read(place) == parts:
            met[part] = 1
            break
        sleep()


@kernel
def slowly(part, parts, times, done):
    for _ in range(times):
        sleep()
        done[part] += 1


@kernel
def own(part, parts, buffers, mark, wrong, x):
    """Write the work memory; if another thread writes it too, that is seen. x: of its dtype."""
    for buffer in buffers:
        buffer[:] = mark + part
    sleep()
    for buffer in buffers:
        for number in buffer:
            wrong[part] += number != mark + part


def all_meet(number):
    """Whether that many threads run parts at the same time."""
    place, met = np.zeros(1, np.int64), np.zeros(number, np.int64)
    pools.run(meet, number, place.ctypes.data, met)
    return met.all()


def within(seconds, condition):
    """Whether `condition` becomes true; how long that takes is not what is tested."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return held


def together(function, times):
    """function(i) on that many threads; they must end."""
    callers = [threading.Thread(target=function, args=(i,)) for i in range(times)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert not any(thread.is_alive() for thread in callers)


def python(code):
    """Run `code` in a new process, with the kernels of this file; it must print "fine"."""
    start = f"import sys; sys.path.append({os.path.dirname(__file__)!r})\n"
    start += "import os, threading, time\nimport numpy as np\n"
    start += "from nanocnn.jit import executor, pool, threads\n"
    start += "from test_pool import all_meet, count, slowly, within\n"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", start + code],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr


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
            assert pool._pool.state[executor.LIMIT // 8] == helpers
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
    assert (done == 1).all() and pools._pool.state[executor.LIMIT // 8] == 0


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
