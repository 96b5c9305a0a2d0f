"""What can be known to fail is found before the first step: places, names, monitors, optimizers."""

import copy
import pickle
import sys

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Adam,
    Callback,
    CosineDecay,
    Dense,
    EarlyStopping,
    Flatten,
    Input,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Sequential,
)
from nanocnn.common.errors import MissingExtraError, ModelFileError
from support.small_models import bits, digits, small_model

X, Y = digits(40)


def before_the_first_step(callbacks, error, message, **options):
    """fit refuses these callbacks with nothing changed and no batch begun."""
    begun = []
    count = type("Count", (Callback,), {"on_batch_begin": lambda self, *_: begun.append(1)})()
    model = options.pop("model", None) or small_model()
    before = bits(model)
    with pytest.raises(error, match=message):
        model.fit(X, Y, callbacks=[count, *callbacks], verbose=0, **options)
    assert bits(model) == before and begun == []


PLACES = {
    "a file for a folder": "file/a.npz", "below a file": "file/b/c/a.npz",
    "a folder for a file": "folder.npz", "no such device": "/proc/none/a.npz",
    "a name too long": "n" * 300 + ".npz",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_cannot_be_written_is_found_before_the_first_step(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    if place == "no such device" and sys.platform != "linux":
        pytest.skip("no /proc")
    error = ModelFileError if place == "a folder for a file" else OSError
    before_the_first_step([ModelCheckpoint(tmp_path / PLACES[place])], error, "npz")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.npz"]


@pytest.mark.parametrize(
    "name",
    ["{val_loss:.2f}", "{acc}", "{}", "{0}", "{epoch:.2x}", "{loss:d}", "{epoch.day}", "{loss[0]}",
     "{loss", "{learning_rate}"],
)  # fmt: skip
def test_a_name_that_cannot_be_made_is_found_before_the_first_step(name, tmp_path):
    before_the_first_step(
        [ModelCheckpoint(tmp_path / f"{name}.npz")], ValueError,
        r"ModelCheckpoint: filepath=.*expected fields among epoch, loss, accuracy",
    )  # fmt: skip


@pytest.mark.parametrize(
    "callback",
    [EarlyStopping(), EarlyStopping("acuracy"), ReduceLROnPlateau("val_acc"),
     ModelCheckpoint("a.npz", "val_loss", save_best_only=True)],
    ids=lambda callback: type(callback).__name__,
)  # fmt: skip
def test_a_monitor_that_is_not_measured_is_found_before_the_first_step(callback):
    message = rf"{type(callback).__name__}: monitor='{callback.monitor}' is not measured, "
    before_the_first_step([callback], ValueError, message + "expected one of loss, accuracy")
    if callback.monitor.startswith("val"):
        before_the_first_step([callback], ValueError, "; val_ needs validation data or")
    if callback.monitor != "val_loss":
        message += "expected one of loss, accuracy, val_loss, val_accuracy"
        before_the_first_step([callback], ValueError, message, validation_split=0.2)


@pytest.mark.parametrize("callback", [ReduceLROnPlateau("loss"), LearningRateScheduler(abs)])
def test_a_schedule_beside_a_callback_that_sets_the_rate_is_found_before_the_first_step(callback):
    model = small_model(optimizer=SGD(CosineDecay(0.1, 10)))
    before_the_first_step([callback], ValueError, "learning rate is a CosineDecay", model=model)


def test_a_monitor_that_a_callback_may_add_is_no_error_before_training(tmp_path):
    class Add(Callback):
        def on_epoch_end(self, epoch, logs):
            logs["mine"] = 3

    path = tmp_path / "{mine:03d}-{learning_rate}.npz"
    best = ModelCheckpoint(path, "mine", save_best_only=True, mode="min")
    rate = LearningRateScheduler(lambda epoch: 0.5)
    small_model().fit(
        X, Y, callbacks=[Add(), best, EarlyStopping("mine", mode="max"), rate], verbose=0
    )
    assert best.saved == str(tmp_path / "003-0.5.npz")
    small_model().fit(X, Y, callbacks=[rate, EarlyStopping("learning_rate", mode="min")], verbose=0)
    # what stands before it cannot see what it adds; its name may hold it
    before_the_first_step([best, Add()], ValueError, "monitor='mine' is not measured")
    small_model().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(best.filepath), Add(), rate])


# --- An optimizer belongs to one model ---


@pytest.mark.parametrize(
    "make", [Adam, lambda: SGD(momentum=0.9), lambda: SGD(CosineDecay(0.1, 10))]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_optimizer_that_has_trained_another_model_is_refused(make, dtype):
    optimizer = make()
    first, second = small_model(optimizer=optimizer), small_model(dtype=dtype, seed=1)
    second.compile(optimizer, second.loss)  # it has trained none yet
    first.fit(X, Y, verbose=0)
    before = first.snapshot().optimizer
    for use in (second.fit, second.train_on_batch, lambda x, y: second.compile(optimizer, "mse")):
        with pytest.raises(ValueError, match="make a new optimizer for each model"):
            use(X, Y)
    second.predict(X)
    del first
    with pytest.raises(ValueError, match="make a new optimizer for each model"):
        small_model(optimizer=optimizer)
    for name, array in optimizer.get_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_plain_sgd_keeps_nothing_and_may_serve_several_models():
    shared = SGD(0.1)
    models = [small_model(optimizer=optimizer) for optimizer in (shared, shared, SGD(0.1))]
    losses = [model.fit(X, Y, epochs=2, verbose=0).history["loss"] for model in models]
    assert losses[0] == losses[1] == losses[2]


def test_a_model_compiled_again_with_its_optimizer_trains_on():
    once, twice = small_model(), small_model()
    once.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    twice.fit(X, Y, shuffle=False, verbose=0)
    twice.compile(twice.optimizer, twice.loss, metrics=["accuracy"])
    twice.fit(X, Y, shuffle=False, verbose=0)
    assert bits(once)[0] == bits(twice)[0]


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy,
                                  lambda o: pickle.loads(pickle.dumps(o))])  # fmt: skip
def test_a_copy_of_an_optimizer_is_free_but_its_state_must_fit(make):
    model = small_model()
    model.fit(X, Y, verbose=0)
    before = model.snapshot().optimizer
    twin = small_model(optimizer=make(model.optimizer))
    twin.fit(X, Y, verbose=0)
    assert twin.optimizer.iterations == 2 * model.optimizer.iterations
    for name, array in model.optimizer.get_state().items():
        np.testing.assert_array_equal(array, before[name])
    other = Sequential([Input((3,)), Dense(2)], kernels="reference")
    with pytest.raises(ValueError, match=r"keeps conv2d/kernel/m, float32 .* of another model"):
        other.compile(make(model.optimizer), "mse")


def test_a_model_built_anew_forgets_what_belonged_to_its_old_weights():
    model = Sequential([Input((3,)), Dense(4)], kernels="reference")
    model.compile("adam", "mse")
    x = np.ones((8, 3))
    model.fit(x, np.ones((8, 4)), epochs=2, verbose=0)
    model.add(Dense(2))
    assert model.optimizer.iterations == 0 and model.progress == {}
    assert model.fit(x, np.ones((8, 2)), epochs=3, initial_epoch=2, verbose=0).epoch == [2]


# --- Keras's words ---


def test_none_is_the_usual_batch_size():
    model, usual = small_model(), small_model()
    model.fit(X, Y, batch_size=None, verbose=0)
    usual.fit(X, Y, batch_size=32, verbose=0)
    assert bits(model) == bits(usual)
    assert model.evaluate(X, Y, batch_size=None) == model.evaluate(X, Y)


def test_the_batch_size_is_checked_before_callbacks_count_batches():
    for use in (
        small_model().predict,
        lambda x, **options: small_model().evaluate(x, Y, **options),
    ):
        with pytest.raises(ValueError, match="batch_size=0, expected an integer"):
            use(X, batch_size=0, callbacks=[Callback()])


class Mine(Flatten):
    """A layer that no file knows."""


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_a_model_no_file_can_hold_is_found_before_the_first_step(ending, tmp_path, monkeypatch):
    checkpoint = ModelCheckpoint(tmp_path / f"a.{ending}")
    model = Sequential([Input((12, 10, 1)), Mine(), Dense(10, "softmax")], kernels="reference")
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(ValueError, match="Mine"):
        model.fit(X, Y, callbacks=checkpoint, verbose=0)
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)
    if ending != "npz":
        monkeypatch.setitem(sys.modules, "h5py", None)
        before_the_first_step([checkpoint], MissingExtraError, "h5py")
    assert list(tmp_path.iterdir()) == []


def test_a_path_with_a_zero_byte_is_named():
    with pytest.raises(ValueError, match=r"ModelCheckpoint: filepath='a\\x00\.npz', .* null char"):
        ModelCheckpoint("a\0.npz")


def test_return_dict_gives_results_by_name():
    model = small_model()
    loss, accuracy = model.evaluate(X, Y)
    assert model.evaluate(X, Y, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert list(model.train_on_batch(X, Y, return_dict=True)) == ["accuracy", "loss"]
    for use in (model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match="return_dict='yes', expected True or False"):
            use(X, Y, return_dict="yes")
    with pytest.raises(ValueError, match="shuffle='batch', expected True or False"):
        model.fit(X, Y, shuffle="batch")
