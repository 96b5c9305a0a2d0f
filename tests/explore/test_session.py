"""A session is one reader's own: its trace is the model's, nothing is shared, nothing is left."""

import threading
from concurrent.futures import CancelledError
from threading import Event

import numpy as np
import pytest

from nanocnn.explore.digits import Digits
from nanocnn.explore.session import Session
from support.explored import TESTS, arrays, ask, session_of, small, weights


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture
def session(model):
    with session_of(model) as session:
        yield session


def test_the_trace_is_that_of_the_model_bit_for_bit(model, session):
    ask(session, "digit", test=17)
    expected = model.trace(TESTS[0][17:18], TESTS[1][17:18], training=False)
    for layer in expected:
        found = arrays(session, *[(layer.name, what) for what in ("x", "y", "z", "dx", "dz")])
        for what, array in zip(("x", "y", "z", "dx", "dz"), found, strict=True):
            assert array.tobytes() == getattr(layer, what)[0].tobytes(), (layer.name, what)
            assert array.dtype == np.float32
        for name, gradient in layer.grads.items():
            (found,) = arrays(session, (layer.name, f"grad:{name}"))
            assert found.tobytes() == gradient.tobytes()
    x, dx = arrays(session, (None, "x"), (None, "dx"))
    assert x.tobytes() == expected.x.tobytes() and dx.tobytes() == expected.dx.tobytes()
    state = ask(session, "state")
    assert state["loss"] == expected.loss and state["prediction"] == expected.prediction[0].tolist()


def test_a_training_pass_drops_the_same_units_until_the_seed_is_another(session):
    request = ("dropout", "saved:mask")
    ask(session, "mode", training=True, seed=5)
    first, version = arrays(session, request)[0], session.version
    assert 0 < first.mean() < 1
    ask(session, "digit", test=3)
    assert session.version > version
    assert np.array_equal(arrays(session, request)[0], first)
    ask(session, "mode", training=True, seed=6)
    assert not np.array_equal(arrays(session, request)[0], first)


def test_a_trace_leaves_the_random_numbers_of_a_training_as_they_were(session):
    before = session.model.rng.bit_generator.state
    ask(session, "mode", training=True)
    assert session.model.rng.bit_generator.state == before


def test_two_sessions_and_the_model_do_not_see_each_other(model):
    before = [array.copy() for array in model.get_weights()]
    digits = Digits(model, tests=TESTS)
    one, two = Session(model, digits), Session(model, digits)
    try:
        untouched = weights(two)
        ask(one, "edit", kind="weight", layer="dense", name="bias", index=[0], value=9)
        ask(one, "digit", test=4)
        assert weights(two) == untouched != weights(one)
        assert ask(two, "state")["digit"] == {"kind": "test", "index": 0}
        assert all(map(np.array_equal, before, model.get_weights()))
    finally:
        one.close()
        two.close()


def test_a_session_goes_on_from_where_the_training_of_the_model_is():
    model = small()
    model.fit(*TESTS, epochs=1, batch_size=250, verbose=0)
    with session_of(model) as session:
        for _ in range(2):  # again after a reset
            assert ask(session, "state")["step"] == 4
            session.call(session.model.fit, *TESTS, 250, 1, 0)
            trained = weights(session)
            ask(session, "reset")
        model.fit(*TESTS, epochs=1, batch_size=250, verbose=0)
        assert trained == [array.tobytes() for array in model.get_weights()]
        assert trained != weights(session)


def test_the_version_counts_up_at_every_change_and_at_nothing_else(session):
    def version():
        return ask(session, "state")["version"]

    now = version()
    ask(session, "accuracy")
    ask(session, "pick", by="hardest")
    ask(session, "nudge", layer="dense", name="bias", index=[1], e=0.1)
    assert version() == now
    for action, body in [
        ("digit", {"test": 2}), ("label", {"label": 1}), ("mode", {"training": True}),
        ("edit", {"kind": "freeze", "layer": "dense", "on": True}), ("undo", {}), ("reset", {}),
    ]:  # fmt: skip
        ask(session, action, body)
        assert version() > now, action
        now = version()


def test_predictions_of_the_test_digits_are_those_of_predict_and_kept(session, monkeypatch):
    expected = session.model.predict(TESTS[0])
    found = session.call(session.predictions, 2000)
    assert np.array_equal(found, expected)
    monkeypatch.setattr(session.model, "predict", None)
    assert np.array_equal(session.call(session.predictions, 700), expected[:700])


def test_a_slow_model_predicts_fewer_digits_and_more_when_asked_again(session, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("nanocnn.explore.session.perf_counter", lambda: next(clock) * 0.5)
    first = len(session.call(session.predictions, 1000))
    assert 0 < first < 1000
    assert len(session.call(session.predictions, 1000)) > first


def test_the_thread_ends_when_the_session_is_closed(model):
    before = threading.active_count()
    session = Session(model, Digits(model, tests=TESTS))
    assert threading.active_count() == before + 1
    held, go = Event(), Event()
    running = session.submit(lambda: (held.set(), go.wait(10))[1])
    held.wait(10)
    waiting = session.submit(lambda: 1)
    session.submit(go.set)  # never runs
    threading.Timer(0.05, go.set).start()
    session.close()
    assert running.result(1) is True
    with pytest.raises(CancelledError):
        waiting.result(1)
    assert threading.active_count() <= before + 1  # the timer may still be ending
    with pytest.raises(RuntimeError, match="closed"):
        session.submit(int)
    session.close()


def test_what_is_idle_runs_between_requests_until_it_has_nothing_to_do(session):
    steps = []

    def step():
        steps.append(threading.current_thread())
        return len(steps) < 50

    session.call(setattr, session, "idle", step)
    while session.call(lambda: session.idle):
        assert ask(session, "state")["version"]
    assert len(steps) == 50 and len(set(steps)) == 1
    assert steps[0] is not threading.current_thread()


def test_an_error_of_what_is_idle_is_told(session):
    def step():
        raise ValueError("the rate is wrong")

    session.call(setattr, session, "idle", step)
    while session.call(lambda: session.idle):
        pass
    assert ask(session, "state")["problem"] == "the rate is wrong"


def test_an_error_of_a_request_reaches_who_asked_and_the_next_one_is_answered(session):
    with pytest.raises(ZeroDivisionError):
        session.call(lambda: 1 // 0)
    assert session.call(lambda: 7) == 7


def test_a_request_that_takes_too_long_is_given_up(session):
    go = Event()
    held = session.submit(go.wait, 10)
    with pytest.raises(TimeoutError):
        session.call(int, timeout=0.02)
    go.set()
    assert held.result(5)


@pytest.mark.parametrize("wrong", [None, 7, "lenet"])
def test_only_a_model_is_explored(wrong):
    with pytest.raises(ValueError, match="expected a Sequential"):
        Session(wrong)
