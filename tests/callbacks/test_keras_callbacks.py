"""Callbacks by Keras's words: what they do, say and write is what Keras 3 did (golden/)."""

import csv
import json
import sys

import numpy as np
import pytest

import nanocnn
from golden.callback_cases import CASES, answers, overflow, record
from nanocnn import (
    SGD,
    Callback,
    CSVLogger,
    Dense,
    EarlyStopping,
    History,
    Input,
    LambdaCallback,
    LearningRateScheduler,
    MissingExtraError,
    ModelCheckpoint,
    NonFiniteError,
    ReduceLROnPlateau,
    Sequential,
    TerminateOnNaN,
    callbacks,
    load_model,
)
from support.paths import TESTS
from support.small_models import bits, digits, small_model

X, Y = digits(20)
KERAS = json.loads((TESTS / "golden" / "keras_callbacks.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_callbacks_do_and_say_what_those_of_keras_do(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = answers(callbacks, name)
    for what, value in KERAS["cases"][name].items():
        if value is not None:
            assert found[what] == value, what


def test_events_come_in_the_order_of_keras_with_the_same_logs_and_params():
    model = Sequential([Input((2,)), Dense(3, activation="softmax")], kernels="reference")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert record(callbacks, model, np.zeros((20, 2)), np.zeros(20, int)) == KERAS["record"]


# --- TerminateOnNaN ---


def line():
    model = Sequential([Input((2,)), Dense(1)], kernels="reference")
    model.compile("sgd", "mse")
    return model


def test_terminate_on_nan_ends_the_training_as_in_keras():
    assert overflow(callbacks, line()) == KERAS["overflow"]


def test_terminate_on_nan_keeps_the_parameters_of_before_the_batch():
    x, y = np.ones((12, 2), np.float32), np.ones((12, 1), np.float32)
    x[5] = 1e30
    alone, ended = line(), line()
    alone.fit(x[:4], y[:4], batch_size=4, verbose=0)
    stop = TerminateOnNaN()
    history = ended.fit(x, y, batch_size=4, epochs=3, shuffle=False, callbacks=stop, verbose=0)
    assert bits(ended) == bits(alone)
    assert history.epoch == [0] and np.isnan(history.history["loss"]).all()
    for again in (None, TerminateOnNaN(raise_error=True)):
        with pytest.raises(
            NonFiniteError, match=r"epoch 1, batch 2: the loss is inf, .* before this batch"
        ):
            line().fit(x, y, batch_size=4, shuffle=False, callbacks=again, verbose=0)


# --- LambdaCallback ---


def test_lambda_callback_takes_every_event_and_refuses_others():
    seen = []
    callback = LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_epoch_end=lambda epoch: seen.append(epoch),
        on_batch_end=lambda batch, logs: seen.append(sorted(logs)),
    )
    small_model().fit(X, Y, callbacks=[callback], verbose=0)
    assert seen == ["begin", ["accuracy", "loss"], 0]
    with pytest.raises(ValueError, match=r"'on_epoch_ends'; did you mean 'on_epoch_end'"):
        LambdaCallback(on_epoch_ends=print)
    with pytest.raises(ValueError, match="on_test_end='x', expected a function"):
        LambdaCallback(on_test_end="x")


# --- CSVLogger ---


def test_a_csv_log_goes_on_where_training_resumes(tmp_path):
    path = tmp_path / "new" / "log.csv"
    small_model().fit(
        X, Y, epochs=2, verbose=0,
        callbacks=[CSVLogger(path), ModelCheckpoint(tmp_path / "a.npz")],
    )  # fmt: skip
    model = load_model(tmp_path / "a.npz", kernels="reference")
    rate = LearningRateScheduler(lambda epoch: 0.5)
    log = CSVLogger(path, append=True)
    history = model.fit(X, Y, epochs=4, initial_epoch=2, callbacks=[log, rate], verbose=0)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]
    assert {row["val_loss"] for row in rows} == {"NA"}
    small_model().fit(X, Y, callbacks=CSVLogger(path), verbose=0)
    assert len(path.read_text().splitlines()) == 2


def test_a_csv_log_that_cannot_be_written_is_found_before_the_first_step(tmp_path):
    model = small_model()
    before = bits(model)
    with pytest.raises(OSError, match="folder"):
        model.fit(X, Y, callbacks=CSVLogger(tmp_path), verbose=0)
    assert bits(model) == before
    for bad in ("", ", ", '"', "\n", 1):
        with pytest.raises(ValueError, match=r"separator=.*expected one character"):
            CSVLogger("a.csv", bad)


# --- History ---


def test_a_history_among_the_callbacks_is_filled_and_returned():
    given, model = History(), small_model()
    add = type("Add", (Callback,), {"on_epoch_end": lambda s, epoch, logs: logs.update(mine=epoch)})
    history = model.fit(X, Y, epochs=2, callbacks=[given, add()], verbose=0)
    assert history is given is model.history
    assert given.epoch == [0, 1] and given.history["mine"] == [0.0, 1.0]
    assert given.params == {"epochs": 2, "steps": 1, "verbose": 0} and given.model is None
    model.fit(X, Y, callbacks=given, verbose=0)  # a record of one training
    assert given.epoch == [0] and len(given.history["loss"]) == 1
    assert isinstance(given, Callback) and nanocnn.models.history.History is History


# --- Arguments ---


def test_one_argument_or_two_for_a_schedule_by_its_signature():
    def broken(epoch, rate):
        raise TypeError("from inside")

    for schedule in (lambda epoch: 2.0 / 2**epoch, lambda epoch, rate: rate / 2 if epoch else 2.0):
        set_rates = LearningRateScheduler(schedule)
        history = small_model().fit(X, Y, epochs=3, callbacks=set_rates, verbose=0)
        assert history.history["learning_rate"] == [2.0, 1.0, 0.5]
    with pytest.raises(TypeError, match="from inside"):
        small_model().fit(X, Y, callbacks=LearningRateScheduler(broken), verbose=0)
    for bad in (lambda: 0.1, lambda a, b, c: 0.1, "0.1"):
        with pytest.raises(ValueError, match=r"expected a function of \(epoch, rate\) or of \(ep"):
            LearningRateScheduler(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReduceLROnPlateau(epsilon=0.1), "'epsilon'; did you mean 'min_delta'"),
        (lambda: ModelCheckpoint("a.h5", period=5), "'period'; use save_freq, 'epoch' or a number"),
        (lambda: ModelCheckpoint("a.h5", save_weights_only=True), r"a\.h5.*end in \.weights\.h5"),
        (
            lambda: ModelCheckpoint("a.h5", save_freq="batch"),
            "save_freq other than 'epoch'='batch'",
        ),
    ],
)
def test_old_and_wrong_words_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_direction_of_an_unknown_metric_is_asked_for():
    score = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(score=1.0))
    for kind in (EarlyStopping, ReduceLROnPlateau):
        with pytest.raises(ValueError, match=r"'score': cannot tell whether more or less .* mode="):
            small_model().fit(X, Y, callbacks=[score, kind("score")], verbose=0)
        small_model().fit(X, Y, callbacks=[score, kind("score", mode="max")], verbose=0)
    for name, mode in {"val_acc": "max", "precision": "max", "val_mae": "min"}.items():
        assert EarlyStopping(name).mode == mode


def test_a_value_to_beat_first():
    best = ModelCheckpoint("a.npz", "loss", save_best_only=True, initial_value_threshold=1e-9)
    small_model().fit(X, Y, callbacks=best, verbose=0)
    assert best.saved is None and best.best == 1e-9


def test_an_epoch_without_validation_does_not_count(tmp_path):
    other = LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    rest = [
        stop := EarlyStopping(patience=2, min_delta=1e9),
        ReduceLROnPlateau(patience=2, min_delta=1e9, factor=0.5),
        ModelCheckpoint(tmp_path / "{epoch}.npz", save_best_only=True),
    ]
    for first in ([], [other]):
        model = small_model(optimizer=SGD(1e-3))
        history = model.fit(
            X, Y, epochs=9, validation_data=(X, Y), validation_freq=2, callbacks=[*first, *rest],
            verbose=0,
        )  # fmt: skip
        assert history.epoch == [*range(6)] and stop.stopped_epoch == 5
        assert history.history["learning_rate"] == [1e-3] * 6
        assert model.optimizer.learning_rate == 5e-4
    assert {path.name for path in tmp_path.iterdir()} <= {"2.npz", "4.npz", "6.npz"}
    with pytest.raises(ValueError, match="monitor='val_loss' is not measured"):
        small_model().fit(X, Y, callbacks=[other, EarlyStopping()], verbose=0)


# --- ModelCheckpoint: weights only, and after some batches ---


def test_weights_only_calls_save_weights(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Sequential, "save_weights", lambda self, path: saved.append(path), False)
    path = str(tmp_path / "new" / "{epoch}.weights.h5")
    keep = ModelCheckpoint(path, save_weights_only=True)
    small_model().fit(X, Y, epochs=2, callbacks=keep, verbose=0)
    assert saved == [path.format(epoch=1), path.format(epoch=2)] and keep.saved == saved[-1]


def test_weights_that_cannot_be_saved_are_found_before_the_first_step(tmp_path, monkeypatch):
    model = small_model()
    before = bits(model)
    monkeypatch.setitem(sys.modules, "h5py", None)
    keep = ModelCheckpoint(tmp_path / "a.weights.h5", save_weights_only=True)
    with pytest.raises(MissingExtraError, match="h5py"):
        model.fit(X, Y, callbacks=keep, verbose=0)
    assert bits(model) == before


def test_a_model_saved_after_some_batches_resumes_with_its_epoch(tmp_path):
    model = small_model()
    keep = ModelCheckpoint(tmp_path / "{epoch}-{batch}-{loss:.3f}.npz", save_freq=3)
    model.fit(X, Y, 5, epochs=2, callbacks=keep, verbose=0)  # of 4 batches
    names = sorted(path.name[:4] for path in tmp_path.iterdir())
    assert names == ["1-3-", "2-2-"]
    again = load_model(keep.saved, kernels="reference")
    assert again.progress["epoch"] == 1 and again.optimizer.iterations == 6
    assert again.fit(X, Y, 5, epochs=2, initial_epoch=1, verbose=0).epoch == [0, 1]
    plain = ModelCheckpoint(tmp_path / "a.npz")
    assert "on_train_batch_end" not in vars(plain)  # it does not listen to batches


def test_a_model_that_has_diverged_does_not_replace_the_last_file(tmp_path):
    def spoil(batch, logs):
        if batch == 2:
            keep.model.layers[-1].params["kernel"][:] = np.nan

    keep = ModelCheckpoint(tmp_path / "a.npz", save_freq=1)
    with pytest.raises(NonFiniteError, match="batch 4"):
        small_model().fit(
            X, Y, 5, callbacks=[LambdaCallback(on_train_batch_end=spoil), keep], verbose=0
        )
    assert load_model(keep.saved, kernels="reference").optimizer.iterations == 2


def test_what_a_batch_does_not_measure_is_found_before_the_first_step(tmp_path):
    for options, message in (
        ({"save_best_only": True}, "monitor='val_loss' is not measured, expected one of loss, acc"),
        ({"filepath": "{val_loss}.npz"}, "expected fields among epoch, batch, loss, accuracy"),
    ):
        with pytest.raises(ValueError, match=message):
            keep = ModelCheckpoint(**{"filepath": "a.npz", **options}, save_freq=1)
            small_model().fit(X, Y, validation_data=(X, Y), callbacks=keep, verbose=0)
