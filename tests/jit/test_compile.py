"""`kernel`: arguments of every type, compiled once, and never interrupted."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest

from nanocnn.jit import arguments, claims, compile as compiler, pool
from nanocnn.jit.arguments import Arguments
from nanocnn.jit.cache import counts
from nanocnn.jit.compile import kernel, variants


@kernel
def put(part, parts, value, out):
    out[part] = value


@kernel
def put_items(part, parts, values, out):
    (a, (b, c)), (d,), nothing, e = values
    out[0], out[1], out[2], out[3], out[4] = a[0], b, c[1, 0], d, e
    out[5] = len(nothing)


@kernel
def shape(part, parts, x, out):
    out[0] = x.size
    for i in range(x.ndim):
        out[1 + i] = x.shape[i]


@variants
def make_add(n):
    @kernel
    def add(part, parts, x):
        x[part] += n

    return add


# --- Arguments ---


@pytest.mark.parametrize("value", [
    7, -7, 2**63 - 1, -(2**63), True, False, 0.1, -0.0, float("inf"),
    np.int8(-3), np.uint8(200), np.int16(-300), np.uint16(60_000), np.int32(-5), np.uint32(4 << 29),
    np.int64(-9), np.uint64(2**63 + 11), np.float32(0.1), np.float64(1e300), np.True_, np.False_,
])  # fmt: skip
def test_a_number_reaches_the_kernel_with_its_type(value):
    out = np.zeros(2, np.asarray(value).dtype)
    put(1, 2, value, out)
    assert out.tolist() == [0, value] and str(out[1]) == str(out.dtype.type(value))


class Pair(NamedTuple):
    a: object
    b: object


@pytest.mark.parametrize("first", [tuple, lambda pair: Pair(*pair)])
def test_nested_tuples(first):
    out = np.zeros(6)
    values = (first((np.array([1.5]), (2, np.array([[3], [4]], np.int32)))), (5,), (), 6.5)
    pool.run(put_items, 1, values, out)
    assert out.tolist() == [1.5, 2, 4, 5, 6.5, 0]


@pytest.mark.parametrize("size", [(), (1,), (0,), (3, 0, 2), (2, 3, 4, 5, 6)])
def test_arrays_of_any_shape(size):
    out = np.zeros(8, int)
    pool.run(shape, 1, np.zeros(size, np.float32), out)
    assert out[: 1 + len(size)].tolist() == [np.prod(size, dtype=int), *size]


def test_views_are_read_where_they_are_and_others_as_copies():
    x = np.arange(12.0).reshape(3, 4)
    for each in (x[1], x[1:], x[:, 1], x.T, x[::-1]):
        given, out = Arguments((each,)), np.zeros(1)
        assert given.is_copied != each.flags.c_contiguous
        assert (given.arrays[0] is each) == each.flags.c_contiguous
        put(0, 1, each.reshape(-1)[0], out)
        assert out[0] == each.flat[0]
        pool.run(first_number, 1, each, out)
        assert out[0] == each.flat[0]


@kernel
def first_number(part, parts, x, out):
    out[0] = x.flat[0]


def test_addresses_are_those_that_numpy_says():
    for x in (np.zeros(5), np.zeros(5)[3:], np.zeros(0), np.array(1.0), np.zeros((2, 3)).T):
        assert arguments.address_of(x) == x.ctypes.data == arguments._address(x)
    assert arguments.address_of is arguments._address_in_object


@pytest.mark.parametrize("value", [None, "text", 1j, np.complex64(1), [1], np.datetime64("now"),
                                   (1, None), object()])  # fmt: skip
def test_other_arguments_are_refused(value):
    with pytest.raises(TypeError, match=r"kernel argument .* expected an array, a number"):
        pool.run(put, 1, value, np.zeros(1))
    with pytest.raises(OverflowError):
        pool.run(put, 1, 2**64, np.zeros(1))


def test_equal_types_are_one_object():
    """Whatever they come from: another process, or values of other Python types."""
    x = np.zeros((2, 3))
    a, b = Arguments((x, 1, (2.0, True))).types, Arguments((x + 1, 5, (3.0, False))).types
    assert a is b
    assert Arguments((x, np.int64(1), (np.float64(2), np.True_))).types is a
    assert pickle.loads(pickle.dumps([a, a])) == [a, a]
    assert pickle.loads(pickle.dumps(a)) is a
    others = [(x, 1, (2.0, 1)), (x, 1.0, (2.0, True)), (x[0], 1, (2.0, True)),
              (x.astype("f"), 1, (2.0, True)), (x, 1, 2.0, True)]  # fmt: skip
    assert len({Arguments(each).types for each in others} | {a}) == 6


def test_a_kernel_is_compiled_once_for_equal_types():
    @kernel
    def fresh(part, parts, x, n):
        x[part] += n

    x = np.zeros(3)
    for n in (1, np.int64(2)):
        fresh(0, 3, x, n)
    pool.run(fresh, 3, x, 3)
    fresh.address(pickle.loads(pickle.dumps(Arguments((x, 1)).types)), 0)
    assert x.tolist() == [6, 3, 3] and len(fresh.entries) == 1
    pool.run(fresh, 3, x, 3.0)
    assert len(fresh.entries) == 2


# --- Names ---


def test_kernels_are_pickled_by_name_or_by_what_makes_them():
    for each in (put, make_add(3), make_add(4)):
        assert pickle.loads(pickle.dumps(each)) is each
    assert make_add(3) is make_add(3) is not make_add(4)
    x = np.zeros(2, int)
    make_add(3)(1, 2, x)
    make_add(4)(1, 2, x)
    assert x.tolist() == [0, 7]

    @kernel
    def local(part, parts):
        pass

    with pytest.raises(pickle.PicklingError, match="cannot be imported"):
        pickle.dumps(local)


# --- Compiling ---

ALONE = """if True:
    import threading
    import numpy as np
    from nanocnn.jit import cache, pool
    from nanocnn.jit.compile import kernel
    @kernel
    def add(part, parts, x):
        x[part] += 1
    x, start = np.zeros(8), threading.Barrier(4)
    def caller(i):
        start.wait()
        pool.run(add, 2, x[2 * i : 2 * i + 2])
    callers = [threading.Thread(target=caller, args=(i,)) for i in range(4)]
    [each.start() for each in callers]
    [each.join() for each in callers]
    print(cache.counts["compiled"], x.tolist())"""


def test_threads_that_need_a_kernel_at_the_same_time_compile_it_once():
    environment = os.environ | {"NANOCNN_CACHE": "0"}
    command = [sys.executable, "-W", "error", "-c", ALONE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == f"1 {[1.0] * 8}\n", done.stderr


def new_kernel(n):
    """One that is compiled, not loaded."""

    @kernel
    def fresh(part, parts, x):
        for i in range(n):
            x[part] += i

    fresh.cache.folder = None
    return fresh


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_numba_is_not_interrupted():
    """Ctrl-C at random moments: it is raised when the kernel is compiled, and all goes on."""
    interrupted = 0

    def press(number, frame):
        raise KeyboardInterrupt

    rng, before = np.random.default_rng(0), signal.signal(signal.SIGALRM, press)
    try:
        for i in range(10):
            fresh, x, compiled = new_kernel(i), np.zeros(1), counts["compiled"]
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, 0.1))
                fresh.address(Arguments((x,)).types, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += counts["compiled"] > compiled  # it was deferred
            fresh(0, 1, x)
            assert x[0] == sum(range(i)) and not claims._held
            assert signal.getsignal(signal.SIGALRM) is press
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted >= 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_waiting_for_another_process_can_be_interrupted(monkeypatch, tmp_path):
    def press(number, frame):
        raise KeyboardInterrupt

    fresh, x = new_kernel(3), np.zeros(1)
    fresh.cache.folder = tmp_path
    before = signal.signal(signal.SIGALRM, press)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(claims, "take", lambda entry: False)  # claimed elsewhere
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            start = time.monotonic()
            fresh(0, 1, x)
        assert time.monotonic() - start < claims.TIMEOUT / 2 and not fresh.entries
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    fresh(0, 1, x)
    assert x[0] == 3 and not claims._held


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_deferred_handlers_are_called_afterwards_and_put_back():
    called = []

    def fail(number, frame):
        called.append(number)
        raise ArithmeticError

    before = {n: signal.signal(n, fail) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(ArithmeticError), compiler.deferring_handlers():
            signal.raise_signal(signal.SIGTERM)
            assert called == []
        assert called == [signal.SIGTERM]
        assert all(signal.getsignal(n) is fail for n in before)
        seen = []
        with compiler.deferring_handlers():  # only the main thread is interrupted
            thread = threading.Thread(target=lambda: seen.append(elsewhere()))
            thread.start()
            thread.join()
        assert seen == [True]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_a_handler_that_raises_while_the_others_are_put_back(monkeypatch):
    called, once, put = [], set(), signal.signal

    def fail(number, frame):
        called.append(number)
        raise ArithmeticError

    def interrupted(number, handler):
        found = put(number, handler)
        if handler is fail and number not in once:
            once.add(number)
            signal.raise_signal(number)
        return found

    before = {n: put(n, fail) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        monkeypatch.setattr(signal, "signal", interrupted)
        with pytest.raises(ArithmeticError), compiler.deferring_handlers():
            signal.raise_signal(signal.SIGTERM)
        assert sorted(called) == [signal.SIGINT, signal.SIGTERM, signal.SIGTERM]
        assert all(signal.getsignal(n) is fail for n in before)
    finally:
        for number, handler in before.items():
            put(number, handler)


def elsewhere():
    with compiler.deferring_handlers():
        return True


def test_a_kernel_that_cannot_be_compiled_says_so_each_time():
    @kernel
    def broken(part, parts, x):
        x[part] = x.no_such_attribute

    for _ in range(2):
        with pytest.raises(Exception, match="no_such_attribute"):
            pool.run(broken, 2, np.zeros(2))
        assert not claims._held
