"""fit, evaluate, predict and train_on_batch: Keras's meanings, word for word."""

import copy
import pickle
import sys
import tracemalloc

import numpy as np
import pytest

from nanocnn import SGD, Callback, Dense, Input, ModelCheckpoint, Sequential, load_model, presets
from nanocnn.common.errors import NonFiniteError
from nanocnn.losses import SparseCategoricalCrossentropy
from nanocnn.models import history as history_module, step
from support.small_models import BOTH_SETS, SPARSE, bits, digits, every_layer, small_model

X, Y = digits(70)
VX, VY = digits(30, seed=1)


def still(**options):
    """A model whose weights do not move: training numbers can be compared with evaluation."""
    return small_model(optimizer=SGD(0.0), **options)


def test_history_has_the_keys_and_params_of_keras():
    history = small_model().fit(X, Y, 32, 2, validation_data=(VX, VY), verbose=0)
    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 2 for values in history.history.values())
    assert history.params == {"verbose": 0, "epochs": 2, "steps": 3}
    assert history.epoch == [0, 1]
    assert all(type(v) is float for values in history.history.values() for v in values)


def test_history_without_validation_or_metrics():
    model = small_model()
    model.compile("sgd", SPARSE)
    history = model.fit(X, Y, verbose=0)
    assert list(history.history) == ["loss"]
    assert model.evaluate(X, Y) == pytest.approx(model.evaluate(X, Y, batch_size=7))
    assert isinstance(model.evaluate(X, Y), float)


@BOTH_SETS
def test_training_numbers_are_means_over_all_samples_the_last_short_batch_too(kernels):
    model = still(kernels=kernels)
    history = model.fit(X, Y, batch_size=32, verbose=0)  # 32 + 32 + 6
    loss, accuracy = model.evaluate(X, Y, batch_size=70)
    assert history.history["loss"] == pytest.approx([loss])
    assert history.history["accuracy"] == pytest.approx([accuracy])


def test_evaluate_is_the_loss_and_accuracy_of_predict():
    model = small_model()
    model.fit(X, Y, verbose=0)
    p = model.predict(X)
    loss, accuracy = model.evaluate(X, Y)
    assert loss == pytest.approx(-np.log(p[np.arange(len(Y)), Y]).mean(), rel=1e-5)
    assert loss == pytest.approx(SparseCategoricalCrossentropy()(Y, p), rel=1e-5)
    assert accuracy == (p.argmax(axis=1) == Y).mean()


@BOTH_SETS
def test_predict_gives_new_arrays_that_do_not_depend_on_the_batch_size(kernels):
    model = small_model(kernels)
    whole = model.predict(X)
    kept = whole.copy()
    for size in (1, 7, 70, 1000):
        np.testing.assert_allclose(model.predict(X, batch_size=size), whole, rtol=2e-5)
    model.predict(VX)
    np.testing.assert_array_equal(whole, kept)
    assert whole.shape == (70, 10) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-5)


def test_uint8_is_scaled_and_floats_are_not():
    model = small_model()
    np.testing.assert_allclose(
        model.predict(X), model.predict((X / 255)[..., None].astype("float32")), rtol=1e-5
    )
    assert not np.allclose(model.predict(X), model.predict(X.astype("float32")))


def test_validation_split_is_the_last_rows_before_any_shuffle():
    split = small_model().fit(X, Y, epochs=2, validation_split=0.25, verbose=0)
    cut = int(70 * 0.75)
    given = small_model().fit(
        X[:cut], Y[:cut], epochs=2, validation_data=(X[cut:], Y[cut:]), verbose=0
    )
    assert split.history == given.history


def test_class_weight_is_a_sample_weight_and_stays_out_of_validation():
    weights = {0: 3.0, 4: 0.0, 7: 0.5}
    each = np.array([weights.get(int(label), 1.0) for label in Y])
    by_class, by_sample, plain = small_model(), small_model(), small_model()
    a = by_class.fit(X, Y, class_weight=weights, verbose=0)
    b = by_sample.fit(X, Y, sample_weight=each, verbose=0)
    c = plain.fit(X, Y, verbose=0)
    assert a.history == b.history != c.history
    assert bits(by_class) == bits(by_sample)

    weights = dict.fromkeys(range(10), 5.0)
    a = still().fit(X, Y, validation_split=0.5, class_weight=weights, verbose=0)
    b = still().fit(X, Y, validation_split=0.5, verbose=0)
    assert a.history["val_loss"] == b.history["val_loss"]
    assert a.history["loss"][0] == pytest.approx(5 * b.history["loss"][0], rel=1e-5)


def test_class_and_sample_weights_multiply():
    model = small_model()
    one = np.eye(10)[Y]
    model.compile("sgd", "categorical_crossentropy")
    loss = model.train_on_batch(X, one, sample_weight=np.full(70, 2.0), class_weight={3: 3.0})
    each = -np.log(small_model().predict(X)[np.arange(70), Y]) * np.where(Y == 3, 6, 2)
    assert loss == pytest.approx(each.mean(), rel=1e-4)


def test_sample_weights_divide_by_the_count_not_by_their_sum():
    model = small_model()
    p = model.predict(X)
    weight = np.linspace(0, 2, 70)
    each = -np.log(p[np.arange(70), Y])
    loss, accuracy = model.evaluate(X, Y, sample_weight=weight)
    assert loss == pytest.approx((weight * each).sum() / 70, rel=1e-5)
    assert accuracy == (p.argmax(axis=1) == Y).mean()  # metrics are not weighted, as in Keras


@BOTH_SETS
def test_a_sample_of_weight_zero_has_no_influence(kernels):
    weight = np.r_[np.ones(32), np.zeros(32)]
    with_noise, alone = (small_model(kernels, optimizer=SGD(rate)) for rate in (0.2, 0.1))
    with_noise.train_on_batch(X[:64], Y[:64], sample_weight=weight)
    alone.train_on_batch(X[:32], Y[:32])
    for a, b in zip(with_noise.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_one_hot_and_class_numbers_are_the_same():
    sparse, dense = small_model(), small_model(loss="categorical_crossentropy")
    sparse.fit(X, Y, epochs=2, verbose=0)
    dense.fit(X, np.eye(10)[Y], epochs=2, verbose=0)
    assert bits(sparse) == bits(dense)


def orders(monkeypatch, shuffle, epochs=2):
    """The rows of each batch of a training."""
    seen, run = [], step.Step.run

    def spy(self, data, index):
        seen.append(np.arange(len(data.x))[index])
        run(self, data, index)

    monkeypatch.setattr(step.Step, "run", spy)
    small_model().fit(X, Y, 32, epochs, shuffle=shuffle, verbose=0)
    return [np.concatenate(seen[i : i + 3]) for i in range(0, 3 * epochs, 3)]


def test_shuffle_gives_each_row_once_and_each_epoch_its_own_order(monkeypatch):
    first, second = orders(monkeypatch, shuffle=True)
    assert sorted(first) == sorted(second) == list(range(70))
    assert list(first) != list(second) != list(range(70))


def test_without_shuffle_rows_come_in_order(monkeypatch):
    for order in orders(monkeypatch, shuffle=False):
        assert list(order) == list(range(70))


def test_the_seed_decides_everything_and_nothing_else_does():
    runs = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        np.random.seed(noise)  # NumPy's global state: not used, not touched
        before = np.random.get_state()[1].tolist()
        model = every_layer(seed=seed)
        model.fit(X, Y, epochs=2, verbose=0)
        assert np.random.get_state()[1].tolist() == before
        runs.append(bits(model))
    assert runs[0] == runs[1] != runs[2]


@BOTH_SETS
def test_overfits_32_images(kernels):
    x, y = digits(32, seed=2)
    model = small_model(kernels)
    model.fit(x, y, batch_size=8, epochs=60, verbose=0)
    assert model.evaluate(x, y)[1] == 1.0


@BOTH_SETS
def test_overfits_32_images_with_every_layer(kernels):
    x, y = digits(32, seed=2)
    model = every_layer(
        kernels, optimizer={"class_name": "Adam", "config": {"learning_rate": 0.01}}
    )
    model.fit(x, y, batch_size=32, epochs=150, verbose=0)
    assert model.evaluate(x, y)[1] == 1.0


def test_train_on_batch_gives_the_loss_before_its_update():
    model = small_model()
    before = model.evaluate(X, Y)
    assert model.train_on_batch(X, Y) == pytest.approx(before, rel=1e-5)
    assert model.evaluate(X, Y)[0] < before[0]
    assert model.optimizer.iterations == 1


def test_l2_terms_are_in_the_loss_of_fit_and_evaluate():
    def loss(l2):
        regularizer = {"class_name": "L2", "config": {"l2": l2}} if l2 else None
        model = Sequential([Input((4,)), Dense(3, kernel_regularizer=regularizer)])
        model.kernel_set = "reference"
        model.build((4,))
        model.compile(SGD(0.0), "mse")
        x, y = np.ones((5, 4), "float32"), np.zeros((5, 3))
        fitted = model.fit(x, y, verbose=0).history["loss"][0]
        return fitted, model.evaluate(x, y), np.square(model.get_weights()[0]).sum()

    (fit0, evaluate0, squares), (fit1, evaluate1, _) = loss(None), loss(0.1)
    assert fit1 - fit0 == pytest.approx(0.1 * squares, rel=1e-4)
    assert evaluate1 - evaluate0 == pytest.approx(0.1 * squares, rel=1e-4)


def test_a_second_fit_goes_on_and_initial_epoch_keeps_the_history():
    once, twice = every_layer(), every_layer()
    whole = once.fit(X, Y, epochs=4, verbose=0)
    twice.fit(X, Y, epochs=2, verbose=0)
    rest = twice.fit(X, Y, epochs=4, initial_epoch=2, verbose=0)
    assert bits(once) == bits(twice)
    assert rest.history == whole.history
    assert rest.epoch == whole.epoch == [0, 1, 2, 3]
    again = twice.fit(X, Y, epochs=1, verbose=0)  # from epoch 0: a new history
    assert again.epoch == [0]


def test_each_number_of_the_history_stands_at_its_epoch():
    class Odd(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch % 2:
                logs["odd"] = epoch

    model = small_model()
    model.fit(X, Y, epochs=1, verbose=0)
    more = {"validation_data": (X, Y), "callbacks": Odd()}
    history = model.fit(X, Y, epochs=4, initial_epoch=1, verbose=0, **more).history
    np.testing.assert_equal(history["odd"], [np.nan, 1, np.nan, 3])
    assert list(np.isnan(history["val_loss"])) == [True, False, False, False]
    history = model.fit(X, Y, epochs=5, initial_epoch=4, verbose=0).history
    assert list(np.isnan(history["val_loss"])) == [True, False, False, False, True]


def test_stop_training_ends_the_epoch_at_the_batch():
    class Stop(Callback):
        batches = 0

        def on_batch_end(self, batch, logs):
            self.batches += 1
            self.model.stop_training = batch == 1

    stop = Stop()
    history = small_model().fit(X, Y, 8, 5, callbacks=[stop], verbose=0)
    assert stop.batches == 2 and history.epoch == [0]


# --- What is shown ---


def test_verbose_0_prints_nothing(capfd):
    small_model().fit(X, Y, epochs=2, verbose=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_without_a_terminal_one_quiet_line_an_epoch(capfd, verbose):
    small_model().fit(X, Y, epochs=2, validation_data=(VX, VY), verbose=verbose)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == "" and len(lines) == 2
    assert lines[1].startswith("Epoch 2/2 - ")
    for part in ("images/s", "loss: ", "accuracy: ", "val_loss: ", "val_accuracy: "):
        assert part in lines[1]


def test_on_a_terminal_a_bar_with_loss_accuracy_speed_and_time_left(monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    moment = iter(range(10**6))
    monkeypatch.setattr(history_module, "perf_counter", lambda: next(moment))
    small_model().fit(X, Y, 16, verbose="auto")
    bar = capfd.readouterr().err
    for part in ("Epoch 1/1", "/70 images", "<", "img/s", "loss=", "accuracy="):
        assert part in bar, part


# --- NaN ---


def test_a_loss_that_becomes_nan_names_epoch_batch_and_layer_and_keeps_the_checkpoint(tmp_path):
    path = tmp_path / "last.npz"

    class Explode(Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 2:
                self.model.layers[3].params["kernel"][:] = 3e38

    model = small_model()
    checkpoint = ModelCheckpoint(path)
    with pytest.raises(NonFiniteError, match=r"epoch 3, batch 1: the loss is (nan|inf), first seen "
                       r"in the output of layer 'dense'"):  # fmt: skip
        model.fit(X, Y, epochs=5, callbacks=[checkpoint, Explode()], verbose=0)
    saved = load_model(path, kernels="reference")
    assert saved.progress["epoch"] == 2
    assert saved.evaluate(X, Y)[0] > 0
    assert len(model.history.epoch) == 2


@BOTH_SETS
def test_an_update_that_breaks_the_weights_is_never_saved(kernels, tmp_path):
    path = tmp_path / "last.npz"
    model = small_model(kernels, optimizer=SGD(0.1))
    model.fit(X, Y, batch_size=70, callbacks=[ModelCheckpoint(path)], verbose=0)
    before = path.read_bytes()
    model.optimizer.learning_rate = 1e300
    with pytest.raises(NonFiniteError, match="epoch 2, batch 1: its update made conv2d/kernel NaN"):
        model.fit(X, Y, 70, 2, initial_epoch=1, callbacks=[ModelCheckpoint(path)], verbose=0)
    assert path.read_bytes() == before


@BOTH_SETS
def test_validation_and_evaluation_name_what_is_not_finite(kernels):
    model = small_model(kernels)
    model.layers[0].params["kernel"][:] = 1
    big = np.full((3, 12, 10, 1), 3e38, "float32")
    message = r"epoch 1, validation: batch 1: the loss is .*'conv2d'"
    other_scale = pytest.warns(UserWarning, match=r"validation x: values up to 3e\+38, where model")
    with other_scale, pytest.raises(NonFiniteError, match=message):
        model.fit(X, Y, validation_data=(big, [0, 1, 2]), verbose=0)
    with pytest.raises(NonFiniteError, match=r"batch 1: the loss is .*'conv2d'"):
        model.evaluate(big, [0, 1, 2])
    with pytest.raises(NonFiniteError, match=r"predict: .*'conv2d'"):
        model.predict(big)


# --- Copies ---


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
                         ids=["deepcopy", "pickle"])  # fmt: skip
def test_a_copy_trains_on_with_the_same_bits_and_on_its_own(make):
    model = every_layer()
    model.fit(X, Y, verbose=0)
    twin = make(model)
    assert bits(twin) == bits(model)
    twin.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
    assert bits(twin) != bits(model)
    model.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
    assert bits(twin) == bits(model)
    assert model.history.history == twin.history.history


# --- memory ---


def test_a_training_step_of_the_fast_kernels_allocates_no_array(monkeypatch, set_threads):
    set_threads(1)  # another thread makes its buffers when it is first in time to help
    rng = np.random.default_rng(0)
    x, y = rng.random((256, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, 256)
    model = presets.build("two-block", 0, "fast", "float32")
    model.fit(x, presets.labels_for(model, y), 64, verbose=0)
    run, most = step.Step.run, []

    def traced(*args):
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        result = run(*args)
        most.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
        return result

    monkeypatch.setattr(step.Step, "run", traced)
    model.fit(x, presets.labels_for(model, y), 64, verbose=0)
    assert len(most) == 4
    # the labels of a batch and Python's own objects; the smallest activation has 100 times as much
    assert max(most) < 32_000
    most.clear()
    set_threads(2)
    model.fit(x, presets.labels_for(model, y), 64, epochs=4, verbose=0)
    assert sorted(most)[len(most) // 2] < 32_000
