"""`SwapEMAWeights`: what is measured and saved has the averages as weights, what is trained not."""

from copy import deepcopy

import numpy as np
import pytest

import nanocnn
from nanocnn import Callback, ModelCheckpoint, RMSprop, SwapEMAWeights, load_model
from support.small_models import BOTH_SETS, bits, digits, small_model

X, Y = digits(60)
VALIDATION = digits(20, seed=1)


def averaged(kernels="reference"):
    return small_model(kernels, optimizer=RMSprop(0.01, use_ema=True, ema_momentum=0.8))


def fit(model, *callbacks, **options):
    given = {"batch_size": 20, "epochs": 3, "validation_data": VALIDATION, "verbose": 0}
    return model.fit(X, Y, callbacks=list(callbacks), **given | options)


class Watch(Callback):
    """Weights and averages at each event of an epoch."""

    def __init__(self):
        self.seen = {}

    def see(self, event):
        params = self.model.trainable_weights
        both = params, self.model.optimizer.averages(params)
        self.seen.setdefault(event, []).append(deepcopy(both))

    def on_train_batch_begin(self, batch):
        self.see("begin")

    def on_train_batch_end(self, batch):
        self.see("batch")

    def on_test_batch_end(self, batch):
        self.see("test")

    def on_epoch_end(self, epoch):
        self.see("epoch")


def equal(arrays, others):
    return all((arrays[name] == others[name]).all() for name in arrays)


@BOTH_SETS
@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_validation_has_the_averages_and_training_is_as_without(kernels, swap_on_epoch):
    plain, swapped = Watch(), Watch()
    whole, model = averaged(kernels), averaged(kernels)
    fit(whole, plain)
    history = fit(model, SwapEMAWeights(swap_on_epoch), swapped)
    for epoch in range(3):
        weights, averages = swapped.seen["batch"][3 * epoch + 2]
        assert not equal(weights, averages)
        assert equal(swapped.seen["test"][epoch][0], averages)
        assert equal(swapped.seen["test"][epoch][1], weights)
        expected = (averages, weights) if swap_on_epoch else (weights, averages)
        assert all(map(equal, swapped.seen["epoch"][epoch], expected))
    for mine, others in zip(swapped.seen["batch"], plain.seen["batch"], strict=True):
        assert all(map(equal, mine, others))
    assert bits(model) == bits(whole)  # both end with the averages
    last = model.evaluate(*VALIDATION)
    assert history.history["val_loss"][-1] == pytest.approx(last[0], rel=1e-6)


@pytest.mark.parametrize("place", ["before", "after"])
def test_checkpoints_with_swap_on_epoch_have_averages_and_resume_bit_for_bit(tmp_path, place):
    def callbacks(name):
        both = [SwapEMAWeights(True), ModelCheckpoint(tmp_path / f"{name}{{epoch}}.npz")]
        return both if place == "after" else both[::-1]

    watch, whole = Watch(), averaged()
    fit(whole, *callbacks("a"), watch)
    saved = load_model(tmp_path / "a2.npz", kernels="reference")
    assert equal(saved.trainable_weights, watch.seen["batch"][5][1])
    fit(saved, *callbacks("b"), initial_epoch=2)
    assert bits(saved) == bits(whole)
    last = load_model(tmp_path / "a3.npz", kernels="reference")
    assert equal(last.trainable_weights, watch.seen["batch"][8][1])
    with pytest.warns(UserWarning, match="nothing is trained"):
        fit(saved := load_model(tmp_path / "a2.npz", kernels="reference"), *callbacks("c"),
            epochs=2, initial_epoch=2)  # fmt: skip
    assert equal(saved.trainable_weights, watch.seen["batch"][5][1])


def test_a_training_that_is_stopped_ends_with_the_averages():
    class Stop(Callback):
        def on_epoch_end(self, epoch):
            self.model.stop_training = epoch == 1

    model, watch = averaged(), Watch()
    fit(model, SwapEMAWeights(True), watch, Stop(), epochs=9)
    assert equal(model.trainable_weights, watch.seen["batch"][5][1])


@pytest.mark.parametrize("event", ["on_test_batch_begin", "on_train_batch_begin", "on_epoch_end"])
def test_after_an_error_the_model_has_its_own_weights_back(event):
    def fails(self, number):
        if number == 0 and len(watch.seen.get("batch", [])) >= 3:
            raise OSError

    model, watch = averaged(), Watch()
    with pytest.raises(OSError):
        fit(model, watch, SwapEMAWeights(True), type("Fails", (Callback,), {event: fails})())
    assert all(map(equal, model_state(model), watch.seen["batch"][-1]))


def model_state(model):
    params = model.trainable_weights
    return params, model.optimizer.averages(params)


@BOTH_SETS
def test_evaluate_and_predict_use_the_averages_and_put_the_weights_back(kernels):
    model = averaged(kernels)
    for _ in range(4):
        model.train_on_batch(X, Y)
    final, before = averaged(kernels), bits(model)
    final.set_weights(list(model.optimizer.averages(model.trainable_weights).values()))
    swap = SwapEMAWeights()
    own = model.predict(X)
    for _ in range(2):
        assert model.predict(X, callbacks=[swap]).tobytes() == final.predict(X).tobytes()
        assert model.evaluate(X, Y, callbacks=[swap]) == final.evaluate(X, Y)
        assert bits(model) == before and model.predict(X).tobytes() == own.tobytes()


def test_without_averages_it_is_refused():
    model = small_model()
    before = bits(model)
    with pytest.raises(ValueError, match="SwapEMAWeights: the optimizer has use_ema=False"):
        fit(model, SwapEMAWeights())
    assert bits(model) == before
    for untrained in (model, averaged()):
        with pytest.raises(ValueError, match="SwapEMAWeights: the model has no averages"):
            untrained.predict(X, callbacks=[SwapEMAWeights()])
        with pytest.raises(ValueError, match="SwapEMAWeights: the model has no averages"):
            untrained.evaluate(X, Y, callbacks=[SwapEMAWeights()])
    with pytest.raises(ValueError, match="swap_on_epoch=1"):
        SwapEMAWeights(1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_the_history_and_the_weights_of_each_epoch_are_those_of_keras(keras, swap_on_epoch):
    def trained(library, layers, optimizers, callbacks, weights=None, **kernels):
        model = library.Sequential(
            [library.Input((4,)), layers.Dense(5, "tanh"), layers.Dense(3, activation="softmax")],
            **kernels,
        )
        model.compile(optimizers.SGD(0.5, use_ema=True, ema_momentum=0.7),
                      "sparse_categorical_crossentropy", metrics=["accuracy"])  # fmt: skip
        if weights is not None:
            model.set_weights(weights)
        begun, found = model.get_weights(), []

        def keep(epoch, logs):
            found.extend(np.ravel(each) for each in model.get_weights())

        both = [
            callbacks.SwapEMAWeights(swap_on_epoch),
            callbacks.LambdaCallback(on_epoch_end=keep),
        ]
        history = model.fit(x, y, batch_size=10, epochs=3, validation_data=(x, y), shuffle=False,
                            callbacks=both, verbose=0)  # fmt: skip
        found.extend(np.ravel(each) for each in model.get_weights())
        return begun, np.concatenate(found), history.history

    rng = np.random.default_rng(0)
    x, y = rng.random((40, 4)).astype(np.float32), rng.integers(0, 3, 40)
    keras.utils.clear_session()
    begun, theirs, history = trained(keras, keras.layers, keras.optimizers, keras.callbacks)
    _, ours, mine = trained(nanocnn, nanocnn, nanocnn, nanocnn.callbacks, begun,
                            kernels="reference")  # fmt: skip
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for name, values in history.items():
        assert mine[name] == pytest.approx(values, rel=1e-5), name
