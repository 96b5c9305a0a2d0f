"""Callbacks written for Keras: every event is heard, in its order, whatever the method takes."""

import numpy as np
import pytest

from nanocnn import Callback, EarlyStopping, ModelCheckpoint, load_model
from nanocnn.callbacks.callback_list import KNOWN
from support.small_models import digits, small_model

X, Y = digits(20)


def recorder(names, take=lambda *given, **named: (given, named)):
    """A callback with these methods, and the list of (event, what it was given)."""
    calls = []

    def method(name):
        return lambda self, *given, **named: calls.append((name, take(*given, **named)))

    return type("Recorder", (Callback,), {name: method(name) for name in names})(), calls


def test_fit_calls_every_event_of_keras_in_its_order():
    callback, calls = recorder(KNOWN - {"on_batch_begin", "on_batch_end"})
    small_model().fit(X, Y, 10, validation_data=(X, Y), callbacks=callback, verbose=0)
    assert [name for name, _ in calls] == [
        "on_train_begin", "on_epoch_begin",
        "on_train_batch_begin", "on_train_batch_end", "on_train_batch_begin", "on_train_batch_end",
        "on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_batch_begin",
        "on_test_batch_end", "on_test_end",
        "on_epoch_end", "on_epoch_saved", "on_train_end",
    ]  # fmt: skip
    given = {name: arguments for name, (arguments, _) in calls}  # of the last call
    assert given["on_train_begin"] == ({},) and given["on_epoch_begin"] == (0, {})
    number, logs = given["on_train_batch_end"]
    assert number == 1 and sorted(logs) == ["accuracy", "loss"]
    assert given["on_test_batch_begin"] == (1, {})
    assert sorted(given["on_test_end"][0]) == ["accuracy", "loss"]
    assert given["on_train_end"][0]["val_loss"] == given["on_test_end"][0]["loss"]
    assert callback.params == {"epochs": 1, "steps": 2, "verbose": 0}


def test_evaluate_and_predict_call_their_own_events():
    model = small_model()
    callback, calls = recorder(KNOWN - {"on_batch_begin", "on_batch_end"})
    result = model.evaluate(X, Y, 12, callbacks=[callback], return_dict=True)
    test = ["on_test_begin", *["on_test_batch_begin", "on_test_batch_end"] * 2, "on_test_end"]
    assert [name for name, _ in calls] == test
    assert calls[-1][1][0] == (result,)
    calls.clear()
    y = model.predict(X, 12, callbacks=callback)
    predict = [name.replace("test", "predict") for name in test]
    assert [name for name, _ in calls] == predict
    outputs = [given[1]["outputs"] for name, (given, _) in calls if name.endswith("batch_end")]
    np.testing.assert_array_equal(np.concatenate(outputs), y)


@pytest.mark.parametrize("moment", ["begin", "end"])
def test_the_old_and_the_new_name_of_a_batch_are_one_event(moment):
    old, new = f"on_batch_{moment}", f"on_train_batch_{moment}"
    for name in (old, new):
        callback, calls = recorder([name])
        small_model().fit(X, Y, 10, callbacks=[callback], verbose=0)
        assert [name for name, _ in calls] == [name, name]
    callback, calls = recorder([old, new])
    with pytest.warns(UserWarning, match=rf"Recorder.{old} is not called: .* as {new}, which is"):
        small_model().fit(X, Y, 10, callbacks=[callback], verbose=0)
    assert [name for name, _ in calls] == [new, new]


def test_a_method_takes_the_logs_or_leaves_them_out():
    seen = []

    class Mixed(Callback):
        def on_train_begin(self):
            seen.append("begin")

        def on_epoch_begin(self, epoch):
            seen.append(epoch)

        def on_train_batch_end(self, batch, *, logs):
            seen.append(sorted(logs))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs["loss"] > 0)

        @staticmethod
        def on_train_end(logs=None):
            seen.append("end")

    mixed = Mixed()
    mixed.on_test_end = lambda logs: seen.append("of the object")  # as Keras's LambdaCallback does
    small_model().fit(X, Y, validation_data=(X, Y), callbacks=[mixed], verbose=0)
    assert seen == ["begin", 0, ["accuracy", "loss"], "of the object", True, "end"]


def test_a_method_that_cannot_be_called_is_refused_before_any_work():
    callback = type("Bad", (Callback,), {"on_epoch_end": lambda self, a, b, c: None})()
    with pytest.raises(ValueError, match=r"Bad\.on_epoch_end: expected to take a number and logs"):
        small_model().fit(X, Y, callbacks=[callback], verbose=0)
    callback.on_epoch_end, callback.on_train_end = None, None
    with pytest.raises(ValueError, match=r"Bad\.on_.*: expected to take"):
        small_model().fit(X, Y, callbacks=[callback], verbose=0)


def test_a_misspelt_event_suggests_the_nearest():
    callback = type("Mine", (Callback,), {"on_epoch_ends": lambda self, epoch, logs: None})()
    with pytest.warns(UserWarning, match=r"Mine\.on_epoch_ends is never called: .*'on_epoch_end'"):
        small_model().fit(X, Y, callbacks=[callback], verbose=0)


def test_a_subclass_is_not_called_before_the_training():
    class Mine(EarlyStopping):
        def on_train_begin(self, logs=None):
            super().on_train_begin()
            self.begun = self.model.name

    mine = Mine("loss")
    assert not hasattr(mine, "begun")
    small_model().fit(X, Y, callbacks=mine, verbose=0)
    assert mine.begun == "sequential"


# --- What was written down for a callback is given to the same one ---


class Say(Callback):
    def __init__(self, **values):
        self.values = values

    def on_epoch_end(self, epoch, logs):
        logs.update({name: values[epoch] for name, values in self.values.items()})


def interrupted(tmp_path, *callbacks):
    """A model that stopped after two epochs with these callbacks, out of its file."""
    say = Say(a=[5.0, 4.0, 3.0, 2.0], b=[1.0, 0.5, 0.9, 0.8])
    keep = ModelCheckpoint(tmp_path / "last.npz")
    small_model().fit(X, Y, epochs=2, callbacks=[say, *callbacks, keep], verbose=0)
    return load_model(tmp_path / "last.npz", kernels="reference"), say


def test_states_are_identified_by_monitor_and_mode(tmp_path):
    def callbacks():
        return [
            EarlyStopping("a", patience=9, mode="min"), EarlyStopping("b", patience=9, mode="min"),
            EarlyStopping("b", patience=9, mode="max"),
            EarlyStopping("b", patience=9, mode="min", restore_best_weights=True),
            ModelCheckpoint(tmp_path / "a.npz", "a", save_best_only=True, mode="min"),
            ModelCheckpoint(tmp_path / "b.npz", "b", save_best_only=True, mode="min"),
        ]  # fmt: skip

    model, say = interrupted(tmp_path, *callbacks())
    turned = callbacks()[::-1]
    model.fit(X, Y, epochs=3, initial_epoch=2, callbacks=[say, *turned], verbose=0)
    assert [each.best for each in turned[::-1]] == [3.0, 0.5, 1.0, 0.5, 3.0, 0.5]
    assert turned[2].best_weights is not None  # of epoch 1, out of the file


def test_another_monitor_or_mode_starts_with_a_new_state(tmp_path):
    _, say = interrupted(tmp_path, EarlyStopping("b", patience=1, mode="min"))
    for options in ({"monitor": "a", "mode": "min"}, {"monitor": "b", "mode": "max"}):
        twin = load_model(tmp_path / "last.npz", kernels="reference")
        other = EarlyStopping(**options)
        twin.fit(X, Y, epochs=3, initial_epoch=2, callbacks=[say, other], verbose=0)
        assert other.best == {"a": 3.0, "b": 0.9}[options["monitor"]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best", "x"),
        ("best", 10**400),
        ("wait", -1),
        ("wait", None),
        ("best_weights", 3),
        ("stopped_epoch", "2"),
    ],
)
def test_an_invalid_state_is_refused(tmp_path, name, value):
    model, say = interrupted(tmp_path, EarlyStopping("b", patience=9, mode="min"))
    model.progress["callbacks"][1]["state"][name] = value
    with pytest.raises(ValueError, match="cannot resume from the saved progress"):
        callbacks = [say, EarlyStopping("b", patience=9, mode="min")]
        model.fit(X, Y, epochs=3, initial_epoch=2, callbacks=callbacks, verbose=0)


# --- Nothing left to train is said ---


def test_fit_warns_if_all_epochs_are_done():
    model = small_model()
    model.fit(X, Y, epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="nothing is trained: initial_epoch=2 is epochs=2 already"):
        history = model.fit(X, Y, epochs=2, initial_epoch=2, verbose=0)
    assert history.epoch == [0, 1] and len(history.history["loss"]) == 2
    with pytest.raises(ValueError, match=r"initial_epoch=2, epochs=1, expected no more than epoc"):
        model.fit(X, Y, epochs=1, initial_epoch=2, verbose=0)


def test_fit_warns_of_an_early_stop_and_more_patience_continues():
    model, say = small_model(), Say(a=[1.0, 2.0, 3.0, 4.0])
    stop = EarlyStopping("a", patience=1, mode="min")
    assert model.fit(X, Y, epochs=4, callbacks=[say, stop], verbose=0).epoch == [0, 1]
    with pytest.warns(UserWarning, match="a callback had stopped the training after epoch 2"):
        history = model.fit(X, Y, epochs=4, initial_epoch=2, callbacks=[say, stop], verbose=0)
    assert history.epoch == [0, 1]
    stop.patience = 2
    history = model.fit(X, Y, epochs=4, initial_epoch=2, callbacks=[say, stop], verbose=0)
    assert history.epoch == [0, 1, 2]


def test_the_history_of_a_new_run_has_its_own_epochs():
    model = small_model()
    model.fit(X, Y, verbose=0)
    assert model.fit(X, Y, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]


def test_what_a_callback_adds_must_be_a_number():
    with pytest.raises(ValueError, match=r"logs\['note'\] = 'good', expected a number"):
        small_model().fit(X, Y, callbacks=[Say(note=["good"])], verbose=0)
