"""What is captured, and which memory a program has."""

import gc
import threading
import types
import weakref

import numpy as np
import pytest

from nanocnn.jit import pool, scratch
from nanocnn.jit.capture import (
    abort_capture,
    capture,
    capturing,
    each_time,
    keep,
    keeps_weights,
    never_captured,
    when,
)
from nanocnn.jit.compile import kernel
from nanocnn.jit.program import programs


@kernel
def add(part, parts, x, n):
    for i in range(part, x.size, parts):
        x[i] += n


@kernel
def total(part, parts, x, out):
    out[part] = x.sum()


def program(function, *args, **how):
    """function(*args) as a program."""
    with capture(**how) as calls:
        function(*args)
    (made,) = programs([calls])
    return made


# --- What is captured ---


def test_a_capture_within_a_capture_is_another():
    x, y = np.zeros(4), np.zeros(4)
    with capture() as outer:
        pool.run(add, 1, x, 1.0)
        with capture() as inner:
            pool.run(add, 1, y, 1.0)
        pool.run(add, 1, x, 2.0)
    assert len(outer.calls) == 2 and len(inner.calls) == 1
    pool.run(add, 1, x, 100.0)  # captured no more
    assert (x == 100).all() and not y.any()
    for made in programs([outer, inner]):
        made.replay()
    assert (x == 103).all() and (y == 1).all()


def test_a_capture_that_fails_ends():
    x = np.zeros(4)
    with pytest.raises(ArithmeticError), capture():
        raise ArithmeticError
    pool.run(add, 1, x, 1.0)
    assert (x == 1).all()


def test_other_threads_are_not_captured():
    x = np.zeros(4)
    with capture() as calls:
        other = threading.Thread(target=pool.run, args=(add, 1, x, 1.0))
        other.start()
        other.join()
    assert calls.calls == [] and (x == 1).all()


def module(name, **names):
    """A module with `step`, which calls `run` or, with a function, that one."""
    made = types.ModuleType(name)
    vars(made).update(run=pool.run, add=add, never_captured=never_captured, **names)
    code = "def step(x, then=None):\n    then(x) if then else run(add, 1, x, 1.0)\n"
    exec(code + "@never_captured\ndef entry(x):\n    step(x)\n", vars(made))
    return made


def test_only_calls_by_the_package_are_captured():
    """Not by others that it calls or that call it, as in a signal handler; nor by entry points."""
    ours, theirs, named_alike = module("ours.a"), module("theirs.a"), module("ours_too.a")
    steps = [
        (1, ours.step, None), (1, ours.step, ours.step), (0, theirs.step, None),
        (0, ours.step, theirs.step), (0, theirs.step, ours.step), (0, named_alike.step, None),
        (0, ours.entry, None), (0, ours.step, ours.entry),
    ]  # fmt: skip
    for captured, function, then in steps:
        x = np.zeros(1)
        with capture("ours") as calls:
            function(*[x, then] if then else [x])
        assert (len(calls.calls), x[0]) == (captured, 1 - captured), (function, then)


def test_an_aborted_capture_is_empty():
    x = np.zeros((3, 4))
    with capture() as calls:
        pool.run(add, 1, x, 1.0)
        assert capturing(0) is calls
        abort_capture()
        pool.run(add, 1, x, 1.0)
    assert calls.aborted and calls.calls == [] and capturing(0) is None
    abort_capture()  # nothing is captured
    with capture() as calls:
        pool.run(add, 1, x.T, 1.0)  # a replay would not copy it again
    assert calls.aborted and calls.calls == []
    with capture() as calls:
        pool.run(add, 1, x, 1.0)
    assert not calls.aborted and len(calls.calls) == 1


def test_whether_weights_are_kept():
    assert not keeps_weights()
    with capture(keeps=True):
        assert keeps_weights()
        with capture():
            assert not keeps_weights()
        assert keeps_weights()
    assert not keeps_weights()


# --- Memory ---


def test_a_program_keeps_alive_what_it_uses():
    arrays = {name: np.zeros(4) for name in ("argument", "in a tuple", "flags", "kept")}
    seen = {name: weakref.ref(array) for name, array in arrays.items()}
    out = np.zeros(1)

    def steps():
        pool.run(add, 1, arrays["argument"], 1.0)
        pool.run(total_of_pair, 1, (arrays["argument"], (arrays["in a tuple"],)), out)
        when(arrays["flags"], print)
        keep(arrays["kept"])

    made = program(steps)
    del steps
    arrays.clear()
    gc.collect()
    assert all(each() is not None for each in seen.values())
    made.replay()
    assert out[0] == 4
    del made
    gc.collect()
    assert all(each() is None for each in seen.values())


@kernel
def total_of_pair(part, parts, pair, out):
    out[part] = pair[0].sum() + pair[1][0].sum()


def place(array):
    return array.ctypes.data


def test_work_memory_is_used_again_within_a_program():
    places = []

    def step(size, value):
        buffer = scratch.scratch("a", size, "f8")
        places.append(place(buffer))
        pool.run(add, 1, buffer[:size], value)

    with capture() as calls:
        step(100, 1.0)
        step(50, 2.0)
        held = scratch.scratch("b", 10, "f8")  # another name, but the same memory is free
        step(100, 3.0)  # which is in use now
        del held
        step(100, 4.0)
        step(5000, 5.0)  # too small
    assert places[0] == places[1] != places[2]
    assert places[3] in places[:3] and places[4] not in places[:4]
    assert len(calls.buffers) == 3
    (made,) = programs([calls])
    del calls
    gc.collect()
    made.replay()  # the memory is alive
    outside = [scratch.scratch("a", 100, "f8") for _ in range(4)]
    assert not {place(each) for each in outside} & set(places)


def test_what_a_later_replay_reads_is_in_no_other_use():
    """A result that is computed again only if its input has changed."""
    result, places = np.zeros(1), []

    def renew(kept):
        if not kept.any():
            pool.run(add, 1, kept, 7.0)

    def steps():
        before = scratch.scratch("other", 100, "f8")
        pool.run(add, 1, before, 1.0)
        del before
        kept = scratch.lasting("kept", 4, "f8")
        assert not kept.any()
        places.append(place(kept))
        each_time(renew, kept[:4])
        pool.run(total, 1, kept[:4], result)
        del kept
        after = scratch.scratch("other", 4, "f8")
        assert place(after) not in places
        pool.run(add, 1, after, 1.0)

    made = program(steps, keeps=True)
    for _ in range(3):
        result[:] = 0
        made.replay()
        assert result[0] == 28
    before = place(scratch.scratch("kept", 4, "f8"))
    assert place(scratch.lasting("kept", 4, "f8")) == before  # elsewhere it is ordinary


def test_eager_work_memory_is_the_callers_while_it_is_held():
    a = scratch.scratch("name", 10, "f4")
    b = scratch.scratch("name", 10, "f4")
    assert place(a) != place(b) and a.ctypes.data % 64 == 0 and a.size >= 10 + 64
    view, where = a[3:], place(a)
    del a
    c = scratch.scratch("name", 10, "f4")
    assert place(c) not in (where, place(b))  # a part of it is in use
    del view, c
    assert place(scratch.scratch("name", 10, "f4")) == where


def test_zeros_are_shared_and_long_enough():
    for size, dtype in ((5, np.float32), (5000, np.float32), (10, np.float64)):
        found = scratch.zeros(size, dtype)
        assert found.size >= size and found.dtype == dtype and not found.any()
    assert scratch.zeros(5, np.float32) is scratch.zeros(5000, np.float32)
