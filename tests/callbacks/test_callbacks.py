"""Callbacks: when they act, what they remember, and that an interruption changes nothing."""

import math

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Callback,
    CosineDecay,
    Dense,
    EarlyStopping,
    Input,
    LearningRateScheduler,
    MeanSquaredError,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Sequential,
    load_model,
)
from support.small_models import bits, digits, every_layer, small_model

X, Y = digits(60)
NAN = math.nan


class Stub:
    """As much of a model as a callback sees."""

    def __init__(self, rate=1.0):
        self.stop_training = False
        self.weights = {"w": np.zeros(1)}
        self.optimizer = SGD(rate)

    def set_weights(self, weights):
        self.weights["w"][:] = weights[0]


def run(callback, values, name="val_loss", model=None):
    """Feed a series of numbers, one an epoch; returns the model and the number of epochs run."""
    callback.model = model = model or Stub()
    callback.on_train_begin()
    logs = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.weights["w"][:] = epoch
        logs.append({name: value})
        callback.on_epoch_end(epoch, logs[-1])
        if model.stop_training:
            break
    callback.on_train_end()
    return model, logs


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({}, [3, 2, 2, 1], 3, 1),  # patience 0: the first epoch that is no better ends it
        ({"patience": 2}, [3, 2, 2, 2, 1], 4, 1),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 3),
        ({"patience": 1, "min_delta": 0.5}, [3, 2, 1.6, 0], 3, 1),
        ({"patience": 1}, [3, NAN, 1], 2, 0),  # NaN is no improvement
        ({"patience": 1}, [NAN, NAN, 1], 2, 0),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 1.5, 1.2], 4, 3),  # each better, none beats it
        ({"patience": 2, "baseline": 1.0}, [3, 0.5, 0.6, 0.7, 0.1], 4, 1),
        ({"start_from_epoch": 2, "patience": 1}, [1, 2, 3, 2, 3, 1], 5, 3),
        ({"monitor": "val_accuracy"}, [0.1, 0.5, 0.4, 0.9], 3, 1),  # auto: more is better
        ({"monitor": "x", "mode": "max"}, [1, 2, 1, 5], 3, 1),
    ],
)
def test_early_stopping(options, values, epochs, best):
    callback = EarlyStopping(restore_best_weights=True, **options)
    model, logs = run(callback, values, callback.monitor)
    beaten = options == {"baseline": 1.0, "patience": 2} and values[1] == 2
    assert len(logs) == epochs
    assert callback.best_epoch == best
    assert callback.stopped_epoch == (0 if beaten else epochs - 1)
    if callback.best is not None:
        assert model.weights["w"][0] == best


def test_early_stopping_restores_the_best_weights_also_when_it_did_not_stop():
    model, logs = run(EarlyStopping(patience=9, restore_best_weights=True), [3, 1, 2])
    assert len(logs) == 3 and model.weights["w"][0] == 1
    model, _ = run(EarlyStopping(patience=9), [3, 1, 2])
    assert model.weights["w"][0] == 2


def test_a_reused_callback_starts_with_a_new_state():
    callback = EarlyStopping()
    run(callback, [1, 2])
    _, logs = run(callback, [5, 4, 3])
    assert len(logs) == 3


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 2}, [3, 3, 3, 3, 3], [1, 1, 1, 0.5, 0.5]),
        ({"patience": 1}, [3, 3, 2, 2], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.4}, [3, 3, 3, 3], [1, 1, 0.5, 0.4]),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.8, 2.6], [1, 1, 0.5]),
        ({"patience": 1, "monitor": "acc"}, [0.1, 0.2, 0.2, 0.3], [1, 1, 1, 0.5]),
    ],
)
def test_reduce_on_plateau(options, values, rates):
    callback = ReduceLROnPlateau(factor=0.5, **options)
    _, logs = run(callback, values, callback.monitor)
    assert [each["learning_rate"] for each in logs] == rates


def test_learning_rate_scheduler_sets_the_rate_before_each_epoch():
    _, logs = run(LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else 8.0), [0, 0, 0])
    assert [each["learning_rate"] for each in logs] == [8.0, 4.0, 2.0]


@pytest.mark.parametrize("bad", [NAN, -1.0, "0.1", None])
def test_learning_rate_scheduler_rejects_invalid_rates(bad):
    with pytest.raises(ValueError, match=r"LearningRateScheduler: the rate=.*expected a num"):
        run(LearningRateScheduler(lambda epoch, rate: bad), [0])


@pytest.mark.parametrize("callback", [ReduceLROnPlateau(), LearningRateScheduler(lambda e, r: r)])
def test_a_rate_that_follows_a_schedule_is_not_changed_by_callbacks(callback):
    with pytest.raises(ValueError, match=r"learning rate is a CosineDecay, expected a number"):
        run(callback, [1], model=Stub(CosineDecay(0.1, 10)))


def test_an_unknown_monitor_names_the_known_ones():
    with pytest.raises(ValueError, match=r"EarlyStopping: monitor='val_loss' is not measured, "
                       r"expected one of loss, accuracy"):  # fmt: skip
        small_model().fit(X, Y, callbacks=[EarlyStopping()], verbose=0)


def test_callbacks_are_called_in_order_with_what_they_need():
    calls = []

    class Recorder(Callback):
        def on_train_begin(self):
            calls.append("begin")

        def on_epoch_begin(self, epoch):
            calls.append(f"epoch {epoch}")

        def on_batch_end(self, batch, logs):
            calls.append(f"batch {batch} {sorted(logs)}")

        def on_epoch_end(self, epoch, logs):
            calls.append(f"end {epoch} {sorted(logs)}")
            logs["mine"] = 1.5

        def on_epoch_saved(self, epoch, logs):
            calls.append(f"saved {self.model.progress['epoch']} {sorted(logs)}")

        def on_train_end(self):
            calls.append("done")

    history = small_model().fit(X, Y, 30, validation_split=0.5, callbacks=[Recorder()], verbose=0)
    assert calls == [
        "begin", "epoch 0", "batch 0 ['accuracy', 'loss']",
        "end 0 ['accuracy', 'loss', 'val_accuracy', 'val_loss']",
        "saved 1 ['accuracy', 'loss', 'mine', 'val_accuracy', 'val_loss']", "done",
    ]  # fmt: skip
    assert history.history["mine"] == [1.5]


# --- Checkpoints ---


def test_checkpoint_after_every_epoch_with_fields_in_its_name(tmp_path):
    path = tmp_path / "new" / "folder" / "{epoch:02d}-{val_accuracy:.2f}.npz"
    checkpoint = ModelCheckpoint(path)
    model = small_model()
    history = model.fit(X, Y, epochs=3, validation_data=(X, Y), callbacks=[checkpoint], verbose=0)
    accuracies = history.history["val_accuracy"]
    names = [f"{i + 1:02d}-{value:.2f}.npz" for i, value in enumerate(accuracies)]
    assert sorted(file.name for file in (tmp_path / "new/folder").iterdir()) == names
    assert checkpoint.saved.endswith(names[-1])
    last = load_model(checkpoint.saved, kernels="reference")
    assert bits(last) == bits(model)
    assert last.progress["epoch"] == 3 and last.progress["history"] == history.history


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_checkpoint_of_the_best_epoch_only(tmp_path, ending):
    path = tmp_path / f"best.{ending}"
    scores = iter([0.5, 0.9, 0.7])
    weights = []

    class Score(Callback):
        def on_epoch_end(self, epoch, logs):
            logs["score"] = next(scores)
            weights.append(self.model.get_weights())

    best = ModelCheckpoint(path, "score", save_best_only=True, mode="max")
    small_model().fit(X, Y, epochs=3, callbacks=[Score(), best], verbose=0)
    for saved, expected in zip(
        load_model(path, kernels="reference").get_weights(), weights[1], strict=True
    ):
        np.testing.assert_array_equal(saved, expected)


def test_a_checkpoint_without_a_format_is_refused_before_any_work(tmp_path):
    model = small_model()
    before = bits(model)
    with pytest.raises(ValueError, match=r"unknown kind of model file.*\.npz, \.h5"):
        model.fit(X, Y, callbacks=[ModelCheckpoint(tmp_path / "model.pkl")], verbose=0)
    assert bits(model) == before


def test_a_checkpoint_of_a_loss_that_cannot_be_described_is_refused_before_any_work(tmp_path):
    class Scaled(MeanSquaredError):
        def __init__(self, scale):
            self.factor = scale

    model = Sequential([Input((2,)), Dense(1)])
    model.compile("sgd", Scaled(2.0))
    before = model.get_weights()
    with pytest.raises(TypeError, match="Scaled: no attribute scale, expected one for each"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), callbacks=[ModelCheckpoint(tmp_path / "a.npz")])
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_a_checkpoint_with_an_unknown_field_names_the_known_ones(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{val_loss:.3f}.npz")
    with pytest.raises(
        ValueError, match=r"'val_loss'.*expected fields among epoch, loss, accuracy"
    ):
        small_model().fit(X, Y, callbacks=[checkpoint], verbose=0)


# --- Bad arguments ---


@pytest.mark.parametrize(("kind", "name", "value"), [
    (EarlyStopping, "verbose", 3), (EarlyStopping, "restore_best_weights", "yes"),
    (ModelCheckpoint, "filepath", None), (ModelCheckpoint, "filepath", 3),
    (EarlyStopping, "mode", "up"), (EarlyStopping, "monitor", 3), (EarlyStopping, "patience", "3"),
    (EarlyStopping, "patience", -1), (EarlyStopping, "min_delta", "0"),
    (EarlyStopping, "baseline", "low"), (EarlyStopping, "start_from_epoch", None),
    (ReduceLROnPlateau, "factor", 1.0), (ReduceLROnPlateau, "factor", 0),
    (ReduceLROnPlateau, "patience", None), (ReduceLROnPlateau, "cooldown", -1),
    (ReduceLROnPlateau, "min_lr", -1e-3), (LearningRateScheduler, "schedule", 0.1),
])  # fmt: skip
def test_bad_arguments(kind, name, value):
    with pytest.raises(ValueError, match=rf"{name}={value!r}, expected"):
        kind(**{name: value})


# --- Going on after an interruption ---


def series():
    """Numbers that improve, stall and improve, and are the same in a run that goes on."""
    return [5.0, 4.0, 4.5, 3.8, 3.0, 3.5, 3.6, 2.0]


class Scripted(Callback):
    """Logs the series instead of what was measured."""

    def on_epoch_end(self, epoch, logs):
        logs["score"] = series()[epoch]


def all_callbacks(folder):
    """Every callback that remembers something; two of the same kind among them."""
    return [
        Scripted(),
        ModelCheckpoint(folder / "last-{epoch}.npz"),
        ModelCheckpoint(folder / "best.npz", "score", save_best_only=True, mode="min"),
        ReduceLROnPlateau("score", mode="min", factor=0.5, patience=1, cooldown=1),
        EarlyStopping("score", mode="min", patience=2, restore_best_weights=True),
        EarlyStopping("score", mode="min", patience=9, min_delta=0.9),
    ]


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_run_resumed_after_any_epoch_ends_with_the_same_bits_and_files(tmp_path, stop):
    whole, part = tmp_path / "whole", tmp_path / "part"
    straight = every_layer()
    straight.fit(X, Y, epochs=8, callbacks=all_callbacks(whole), verbose=0)
    assert straight.progress["epoch"] == 7  # early stopping ended it after epoch 7

    every_layer().fit(X, Y, epochs=stop, callbacks=all_callbacks(part), verbose=0)
    resumed = load_model(part / f"last-{stop}.npz", kernels="reference")
    history = resumed.fit(
        X, Y, epochs=8, initial_epoch=stop, callbacks=all_callbacks(part), verbose=0
    )
    assert bits(resumed) == bits(straight)
    assert history.history == straight.history.history
    assert history.epoch == straight.history.epoch
    files = sorted(file.name for file in whole.iterdir())
    assert files == sorted(file.name for file in part.iterdir())
    for name in files:
        assert (whole / name).read_bytes() == (part / name).read_bytes(), name


def test_a_stopped_run_stays_stopped_unless_patience_is_raised(tmp_path):
    first = every_layer()
    first.fit(X, Y, epochs=8, callbacks=all_callbacks(tmp_path), verbose=0)
    again = load_model(tmp_path / "last-7.npz", kernels="reference")
    with pytest.warns(UserWarning, match="nothing is trained: a callback had stopped .* epoch 7"):
        history = again.fit(
            X, Y, epochs=8, initial_epoch=7, callbacks=all_callbacks(tmp_path), verbose=0
        )
    assert len(history.epoch) == 7
    assert bits(again) == bits(first)  # the best weights came out of the file

    again = load_model(tmp_path / "last-7.npz", kernels="reference")
    patient = all_callbacks(tmp_path)
    patient[4].patience = 5
    assert len(again.fit(X, Y, epochs=8, initial_epoch=7, callbacks=patient, verbose=0).epoch) == 8


def test_a_checkpoint_from_elsewhere_in_the_run_is_not_mistaken_for_the_state(tmp_path):
    model = small_model()
    model.fit(X, Y, epochs=2, callbacks=[ModelCheckpoint(tmp_path / "a.npz")], verbose=0)
    loaded = load_model(tmp_path / "a.npz", kernels="reference")
    assert loaded.fit(X, Y, epochs=6, initial_epoch=5, verbose=0).epoch == [5]
