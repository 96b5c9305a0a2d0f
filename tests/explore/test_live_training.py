"""Training in a session: `fit`'s bits, taken step by step, changed while it runs, and scrubbed."""

import time

import numpy as np
import pytest

from nanocnn import Dense, Flatten, Input, Sequential
from nanocnn.explore import feed, training as module, watched
from nanocnn.explore.digits import Digits
from nanocnn.explore.recorder import Budget, Recorder
from nanocnn.explore.session import Session
from nanocnn.explore.training import Training
from nanocnn.explore.watched import Following
from support.small_models import SPARSE, bits, digits, every_layer, small_model

X, Y = digits(100)


def session_of(model, x=X, y=Y):
    made = Session(model, Digits(model, x, y))
    made.training = Training(made)
    return made


@pytest.fixture
def session():
    made = session_of(every_layer())
    yield made
    made.close()


@pytest.fixture
def training(session):
    """One that is advanced by the test itself, and keeps every step."""
    made = Training(session)
    made.recorder._budgets = Budget(1e9), Budget(1e9)
    session.training = made
    return made


def fitted(model, **options):
    model.fit(X, Y, 16, verbose=0, **options)
    return bits(model)


def advance(training, steps):
    training.control("start", batch_size=16)
    for _ in range(steps):
        training.advance()
    training.control("pause")


def test_an_epoch_has_the_bits_of_fit(training, session):
    advance(training, 14)  # two epochs of seven batches, the last of them smaller
    assert bits(session.model) == fitted(every_layer(), epochs=2)
    assert training.state()["epoch"] == 2 and training.state()["batch"] == 0


def test_it_goes_on_where_a_fit_has_ended():
    model, other = every_layer(), every_layer()
    fitted(model, epochs=1)
    session = session_of(model)
    advance(session.training, 7)
    fitted(other, epochs=1)
    assert bits(session.model) == fitted(other, epochs=2, initial_epoch=1)
    session.close()


def test_the_curves_are_those_of_each_batch(training):
    advance(training, 3)
    result, (steps, losses, accuracies, tests) = training.run()
    other, expected = every_layer(), []
    order = np.random.default_rng((0, 0)).permutation(100)
    for start in (0, 16, 32):
        index = order[start : start + 16]
        expected.append(other.train_on_batch(X[index], Y[index]))
    assert steps.tolist() == [1, 2, 3] and steps.dtype == np.int32
    np.testing.assert_array_equal(np.array([losses, accuracies]).T, np.float32(expected))
    assert result["step"] == 3 and result["batch"] == 3 and result["batches"] == 7
    assert training.run(2)[1][0].tolist() == [3]
    assert tests.shape[1] == 3 and tests[0, 0] == 1


def test_one_step_and_one_epoch_pause_by_themselves(training, session):
    training.control("step", batch_size=16)
    assert not training.running and training.recorder.step == 1
    training.control("epoch")
    assert training.running
    for _ in range(6):
        training.advance()
    assert not training.running and training.advance() is False
    assert training.state()["epoch"] == 1 and training.recorder.step == 7
    training.control("start")
    for _ in range(9):
        assert training.advance()
    assert training.running


def test_it_runs_in_the_sessions_thread_between_requests(session):
    session.call(session.training.control, "start", None, None, 16)
    before, deadline = session.version, time.monotonic() + 60
    while session.call(session.training.run)[0]["epoch"] < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    session.call(session.training.control, "pause")
    step = session.call(session.training.run)[0]["step"]
    assert step >= 14 and session.version > before
    time.sleep(0.05)
    result, _ = session.call(session.training.run)
    assert result["step"] == step == result["kept"][-1] and not result["running"]


def test_rate_optimizer_and_batch_size_change_while_it_runs(training, session):
    advance(training, 2)
    training.control("start")
    training.control("set", learning_rate=0.5)
    assert training.running and training.state()["learning_rate"] == 0.5
    training.control("set", optimizer="SGD")
    assert training.state()["optimizer"] == "SGD"
    assert training.state()["learning_rate"] == pytest.approx(0.01)
    training.control("set", learning_rate=0.1, optimizer="sgd", batch_size=50)
    made = session.model.optimizer
    assert made.learning_rate == 0.1 and training.state()["batch_size"] == 50
    training.advance()
    training.advance()
    assert session.model.optimizer is made and made.iterations == 2
    assert training.recorder.step == 4 and training.state()["epoch"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        dict(do="run"), dict(do=None), dict(do=["start"]), dict(learning_rate=-1),
        dict(learning_rate=float("nan")), dict(learning_rate="x"), dict(learning_rate=True),
        dict(optimizer="sgdd"), dict(optimizer={"class_name": "SGD"}), dict(batch_size=0),
        dict(batch_size=10**6), dict(batch_size=1.5),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_refused_by_name_and_change_nothing(training, session, wrong):
    before = training.state(), session.model.optimizer
    given = {"do": "start", "learning_rate": 0.3, "optimizer": "sgd", "batch_size": 9, **wrong}
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        training.control(**given)
    assert (training.state(), session.model.optimizer) == before


def test_a_loss_that_is_nan_pauses_with_a_message(training, session):
    advance(training, 2)
    kernel = session.model.get_layer("dense").params["kernel"]
    kernel[...] = np.nan
    training.control("start")
    assert training.advance() is False and not training.running
    result, _ = training.run()
    assert result["message"].startswith("step 3, batch 3: ") and "dense" in result["message"]
    assert result["step"] == 2
    training.scrub(2)
    assert np.isfinite(kernel).all() and training.run()[0]["message"] is None
    training.control("step")
    assert training.recorder.step == 3


def test_an_error_in_a_step_pauses_and_is_told(session, monkeypatch):
    def fail(*_):
        raise MemoryError("no memory for this batch")

    session.call(session.training.control, "step")
    monkeypatch.setattr(session.training._feed, "batch", fail)
    session.call(session.training.control, "start")
    deadline = time.monotonic() + 60
    while not session.problem and time.monotonic() < deadline:
        time.sleep(0.01)
    assert session.problem == "no memory for this batch" and not session.training.running


def test_scrubbing_shows_the_weights_of_a_step_and_loses_nothing(training, session):
    advance(training, 8)
    last, version = bits(session.model), session.version
    assert training.run()[0]["kept"] == [*range(9)]
    training.scrub(3)
    assert bits(session.model) != last and session.version > version
    result, (steps, *_) = training.run()
    assert result["at"] == result["step"] == 3 and result["epoch"] == 0 and result["batch"] == 3
    assert steps[-1] == 8 and result["branch"] == 0
    session.edits.make({"kind": "filter", "layer": "dense", "filter": 1, "on": False})
    training.scrub(8)
    assert bits(session.model) == last and len(session.edits) == 0 and not session.edits.off


def test_scrubbing_pauses(training):
    advance(training, 3)
    training.control("start")
    training.advance()
    training.scrub(1)
    assert not training.running and training.advance() is False
    assert training.run()[0]["kept"][-1] == 4, "the last step can be gone back to"


def test_training_on_from_a_kept_step_repeats_it_bit_for_bit(training, session):
    advance(training, 10)
    last = bits(session.model)
    training.scrub(5)
    training.control("start")
    training.advance()
    result, (steps, *_) = training.run()
    assert steps.tolist() == [1, 2, 3, 4, 5, 6] and result["branch"] == 1 and result["at"] is None
    for _ in range(4):
        training.advance()
    assert bits(session.model) == last


def test_a_step_of_another_optimizer_begins_it_anew_and_says_so(training, session):
    advance(training, 4)
    training.control("set", optimizer="sgd")
    training.scrub(2)
    assert "begins anew" in training.run()[0]["message"]
    assert type(session.model.optimizer).__name__ == "SGD"


@pytest.mark.parametrize("step", [-1, 99, 1.5, None, "1", True])
def test_a_step_that_was_not_kept_is_refused(training, session, step):
    advance(training, 2)
    before = bits(session.model)
    with pytest.raises(ValueError, match="step="):
        training.scrub(step)
    assert bits(session.model) == before


@pytest.mark.parametrize("since", [-2, 1.5, "1", None])
def test_a_wrong_since_is_refused(training, since):
    with pytest.raises(ValueError, match="since"):
        training.run(since)


def test_distributions_have_a_row_a_step(training):
    advance(training, 3)
    names = training.run()[0]["layers"]
    assert "conv2d/kernel" in names and "dense/bias" in names
    for of in ("weights", "gradients"):
        _, (steps, edges, counts) = training.history("conv2d/kernel", of)
        assert steps.tolist() == [1, 2, 3] and counts.shape == (3, len(edges) - 1)


def test_tests_are_measured_at_an_epochs_end_and_not_more_often(training, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 1e9)
    training._tests, training._tested = Budget(1e9), time.perf_counter()
    advance(training, 15)
    tests = training.run()[1][3]
    assert tests[:, 0].tolist() == [7, 14]
    x, y = training.session.digits.x, training.session.digits.y
    advance(training, 6)
    loss, accuracy = training.session.model.evaluate(x, y)
    assert training.run()[1][3][-1].tolist() == [21, np.float32(loss), np.float32(accuracy)]


def test_a_model_that_is_loaded_anew_starts_a_new_record(training, session):
    advance(training, 3)
    training.control("start")
    session.reset()
    assert training.advance() is False
    result, (steps, *_) = training.run()
    assert steps.tolist() == [] and result["step"] == 0 and not result["running"]
    training.control("step")
    assert training.recorder.model is session.model


def test_pixels_that_a_model_takes_as_floats_are_converted_batch_by_batch(monkeypatch):
    def build():
        layers = [Input((28, 28, 1)), Flatten(), Dense(5, activation="softmax")]
        model = Sequential(layers, scale_uint8=False, kernels="reference")
        model.compile("sgd", SPARSE)
        return model

    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 28, 28), np.uint8), rng.integers(0, 10, 60)
    monkeypatch.setattr(feed, "training_digits", lambda: (pixels, labels.astype(np.uint8)))
    session = Session(build(), Digits(build()))
    training = Training(session)
    training.control("epoch", batch_size=16)
    while training.advance():
        pass
    known, model = labels < 5, build()
    model.fit(pixels[known] / np.float32(255), labels[known], 16, verbose=0)
    assert bits(session.model) == bits(model), "digits of classes that it lacks are left out"
    assert "accuracy" in session.model.metrics
    session.close()


def test_without_labels_or_with_all_layers_frozen_it_says_why():
    model = small_model()
    session = Session(model, Digits(model, X))
    training = Training(session)
    assert not training.can_train
    with pytest.raises(ValueError, match="samples x and y"):
        training.control("start")
    session.close()
    session = session_of(model)
    session.model.trainable = False
    assert session.training.can_train
    with pytest.raises(ValueError, match="frozen"):
        session.training.control("step")
    session.close()


# --- Watching a fit ---


@pytest.fixture
def followed():
    """A fit's recorder and a reader of it."""
    model = small_model()
    recorder = Recorder(model)
    recorder._budgets = Budget(1e9), Budget(1e9)
    recorder.begin()
    session = Session(model, Digits(model, X, Y))
    session.training = Following(session, recorder)
    yield model, recorder, session
    session.close()


def go_on(model, recorder, steps=1):
    for _ in range(steps):
        recorder.batch(*model.train_on_batch(X, Y), (0, recorder.step + 1))


def weights(model):
    return bits(model)[0]


def test_a_reader_follows_the_newest_step_once_a_second(followed, monkeypatch):
    model, recorder, session = followed
    go_on(model, recorder, 2)
    assert weights(session.model) != weights(model)
    session.training.run()
    assert weights(session.model) != weights(model), "not yet: a second has not passed"
    monkeypatch.setattr(watched, "FOLLOW", 0.0)
    version = session.version
    result, _ = session.training.run()
    assert weights(session.model) == weights(model) and session.version > version
    assert result["running"] and result["live"] and result["batch"] == 2
    version = session.version
    session.training.run()
    assert session.version == version, "there is nothing newer"


def test_a_reader_scrubs_and_follows_again(followed, monkeypatch):
    model, recorder, session = followed
    monkeypatch.setattr(watched, "FOLLOW", 0.0)
    first = weights(model)
    go_on(model, recorder, 3)
    session.training.scrub(0)
    session.training.run()
    assert session.training.run()[0]["at"] == 0 and weights(session.model) == first
    session.training.scrub(None)
    assert weights(session.model) == weights(model)
    assert session.training.run()[0]["at"] is None


def test_a_reader_who_changes_the_model_stays_at_its_step(followed, monkeypatch):
    model, recorder, session = followed
    monkeypatch.setattr(watched, "FOLLOW", 0.0)
    session.edits.make({"kind": "filter", "layer": "dense", "filter": 1, "on": False})
    edited = weights(session.model)
    go_on(model, recorder, 2)
    assert session.training.run()[0]["at"] == 0 and weights(session.model) == edited
    session.training.scrub(None)
    assert weights(session.model) == weights(model)
    assert len(session.edits) == 0 and session.edits.off == {}


def test_a_reader_cannot_steer_a_fit(followed):
    with pytest.raises(ValueError, match="a script"):
        followed[2].training.control("pause")
    assert not followed[2].training.can_train
