"""Programs: what is captured, and that a replay does the same as the calls did."""

import threading

import numpy as np
import pytest

from nanocnn.jit import pool, scratch
from nanocnn.jit.capture import (
    capture,
    each_time,
    when,
)
from nanocnn.jit.compile import kernel
from nanocnn.jit.program import programs


@kernel
def add(part, parts, x, n):
    for i in range(part, x.size, parts):
        x[i] += n


@kernel
def double(part, parts, x):
    for i in range(part, x.size, parts):
        x[i] *= 2


@kernel
def total(part, parts, x, out):
    out[part] = x.sum()


@kernel
def through_buffers(part, parts, buffers, x, out):
    """out[part] = the sum of x and of its positions, by way of both buffers."""
    numbers, where = buffers
    for i in range(x.size):
        numbers[i] = x[i]
        where[i] = i
    out[part] = numbers[: x.size].sum() + where[: x.size].sum()


@pytest.fixture(params=[1, 2, 4])
def number(set_threads, request):
    set_threads(request.param)
    return request.param


def program(function, *args, **how):
    """function(*args) as a program."""
    with capture(**how) as calls:
        function(*args)
    (made,) = programs([calls])
    return made


# --- Replays ---


def test_nothing_is_executed_before_the_replay_and_then_all_in_order(number):
    x, out = np.zeros(100), np.zeros(3)

    def steps():
        for n in range(5):
            pool.run(add, 3, x, n)
            pool.run(double, 1 + n, x)
        pool.run(total, 3, x, out)

    made = program(steps)
    assert not x.any() and len(made.calls) == 11
    expected = np.zeros(100)
    for _ in range(3):
        made.replay()
        for n in range(5):
            expected = (expected + n) * 2
        assert (x == expected).all() and (out == expected.sum()).all()
    x[:], expected = 1, np.ones(100)  # it reads what is there now
    made.replay()
    for n in range(5):
        expected = (expected + n) * 2
    assert (x == expected).all()


def test_many_threads_replay_programs_at_once(number):
    wrong = []

    def caller(i):
        x = np.zeros(50)
        made = program(lambda: [pool.run(add, 7, x, n) for n in range(6)])
        for n in range(100):
            made.replay()
            if not (x == 15 * (n + 1)).all():
                wrong.append((i, n))

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in callers)


def test_the_number_of_threads_may_change(set_threads):
    x = np.zeros(50)
    set_threads(1)
    made = program(lambda: [pool.run(add, 7, x, n) for n in range(6)])
    for n in (1, 4, 2, 3):
        set_threads(n)
        made.replay()
    assert (x == 60).all()


def test_a_program_of_nothing():
    made = program(lambda: None)
    made.replay()
    assert made.calls == [] and made.count == 0


def test_kernels_get_work_memory(number):
    x, out = np.arange(1000.0), np.zeros(4)
    calls = lambda: scratch.run(through_buffers, 4, {"n": 1000, "where": 5000}, x, out)  # noqa: E731
    calls()
    expected = out.copy()
    assert (expected == 2 * x.sum()).all()
    made = program(calls)
    for _ in range(3):
        out[:] = 0
        made.replay()
        np.testing.assert_array_equal(out, expected)


# --- Python functions and conditions ---


def test_python_functions_are_called_in_their_places(number):
    x, seen = np.zeros(10), []
    look = lambda name: seen.append((name, x[0]))  # noqa: E731

    def steps():
        each_time(look, "first")
        pool.run(add, 2, x, 1.0)
        each_time(look, "second")
        each_time(look, "third")
        pool.run(add, 2, x, 10.0)
        each_time(look, "last")

    made = program(steps)
    assert seen == []
    made.replay()
    assert seen == [("first", 0), ("second", 1), ("third", 1), ("last", 11)]
    seen.clear()
    steps()  # not captured: at once
    assert seen == [("first", 11), ("second", 12), ("third", 12), ("last", 22)]


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_conditions_depend_on_what_kernels_wrote(number, dtype):
    flags, x, seen = np.zeros(3, dtype), np.zeros(3), []

    def steps():
        pool.run(add, 3, x, 1.0)
        when(flags, seen.append, "a")
        pool.run(add, 3, x, 1.0)
        when(flags[2:], seen.append, "b")
        pool.run(add, 3, flags, 1)  # seen by the next replay

    made = program(steps)
    for expected in ([], ["a", "b"]):
        seen.clear()
        made.replay()
        assert seen == expected
    flags[:] = 0, -1, 0
    seen.clear()
    made.replay()
    assert seen == ["a"] and (x == 6).all()
    seen.clear()
    flags[:] = 0
    steps()
    assert seen == []
    steps()
    assert seen == ["a", "b"]


def test_flags_are_checked():
    for bad in (np.zeros(2, np.float32), np.zeros((4, 4))[:, 0], np.zeros(8, bool)):
        with pytest.raises(ValueError, match="expected contiguous items of 8 bytes"):
            when(bad, print)


def test_a_python_function_may_run_kernels_and_programs(number):
    x, y = np.zeros(4), np.zeros(4)
    inner = program(lambda: pool.run(add, 2, y, 1.0))

    def between():
        pool.run(add, 2, x, 5.0)  # nothing is captured in a replay
        inner.replay()

    made = program(lambda: (pool.run(double, 2, x), each_time(between), pool.run(double, 2, x)))
    made.replay()
    made.replay()
    assert (x == (10 * 2 + 5) * 2).all() and (y == 2).all()


def test_an_error_of_a_python_function_ends_the_replay(number):
    x, fails = np.zeros(4), [True]

    def between():
        if fails:
            raise ArithmeticError

    made = program(
        lambda: (pool.run(add, 2, x, 1.0), each_time(between), pool.run(add, 2, x, 10.0))
    )
    with pytest.raises(ArithmeticError):
        made.replay()
    assert (x == 1).all()
    fails.clear()
    made.replay()
    assert (x == 12).all()
