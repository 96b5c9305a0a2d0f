"""`use_ema`: the average of the weights, when it replaces them, and what goes on with it."""

from copy import deepcopy

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Adam,
    BatchNormalization,
    Callback,
    Dense,
    EarlyStopping,
    Flatten,
    Input,
    ModelCheckpoint,
    RMSprop,
    Sequential,
    load_model,
)
from nanocnn.kernels import get_kernels
from support.small_models import BOTH_SETS, bits, digits, small_model

X, Y = digits(60)


def averaged(**options):
    return RMSprop(0.01, centered=True, use_ema=True, **{"ema_momentum": 0.8, **options})


def fit(model, **options):
    return model.fit(X, Y, **{"batch_size": 20, "verbose": 0, **options})


class Watch(Callback):
    """Weights and averages after each step."""

    def on_train_begin(self):
        self.steps = []

    def on_train_batch_end(self, batch):
        params = self.model.trainable_weights
        both = params, self.model.optimizer.averages(params)
        self.steps.append(deepcopy(both))


@BOTH_SETS
def test_the_average_is_the_formula_and_fit_ends_with_it(kernels):
    model, watch = small_model(kernels, dtype="float64", optimizer=averaged()), Watch()
    fit(model, epochs=2, callbacks=watch)
    expected = watch.steps[0][0]
    for weights, averages in watch.steps:
        for name, weight in weights.items():
            momentum = 0.8 if weights is not watch.steps[0][0] else 0
            expected[name] = momentum * expected[name] + (1 - momentum) * weight
            np.testing.assert_allclose(averages[name], expected[name], rtol=1e-12, atol=1e-15)
    assert len(watch.steps) == 6
    for name, weight in model.trainable_weights.items():
        assert weight.tobytes() == watch.steps[-1][1][name].tobytes()
        assert weight.tobytes() != watch.steps[-1][0][name].tobytes()


@BOTH_SETS
def test_training_itself_is_that_without_an_average(kernels):
    plain, model = Watch(), Watch()
    fit(small_model(kernels, optimizer=RMSprop(0.01, centered=True)), callbacks=plain)
    fit(small_model(kernels, optimizer=averaged()), callbacks=model)
    for (weights, _), (others, _) in zip(plain.steps, model.steps, strict=True):
        assert all(weights[name].tobytes() == others[name].tobytes() for name in weights)


@BOTH_SETS
def test_every_so_many_steps_the_average_replaces_the_weights(kernels):
    watch = Watch()
    model = small_model(kernels, optimizer=averaged(ema_overwrite_frequency=4))
    fit(model, epochs=3, callbacks=watch)
    same = [all((w[name] == a[name]).all() for name in w) for w, a in watch.steps]
    assert same == [step in (1, 4, 8) for step in range(1, 10)]  # the first is a copy


def test_train_on_batch_leaves_the_weights_until_they_are_finalized():
    model = small_model(optimizer=averaged())
    for _ in range(3):
        model.train_on_batch(X, Y)
    params = model.trainable_weights
    averages = deepcopy(model.optimizer.averages(params))
    assert any((params[name] != averages[name]).any() for name in params)
    model.optimizer.finalize_variable_values(params)
    assert all((params[name] == averages[name]).all() for name in params)


def test_without_use_ema_there_is_no_average_and_no_kernel(monkeypatch):
    kernels = get_kernels("reference")
    monkeypatch.setattr(kernels, "ema_update", None)
    model = small_model(optimizer=Adam(ema_momentum=0.5, ema_overwrite_frequency=1))
    fit(model)
    assert not [key for key in model.optimizer.slots if key.endswith("/ema")]
    before = bits(model)
    model.optimizer.finalize_variable_values(model.trainable_weights)
    assert bits(model) == before


def test_frozen_layers_and_moving_averages_have_no_average():
    layers = [Input((12, 10, 1)), Flatten(), Dense(9, trainable=False), BatchNormalization(),
              Dense(10, activation="softmax")]  # fmt: skip
    model = Sequential(layers, kernels="reference")
    model.compile(Adam(0.01, use_ema=True), "sparse_categorical_crossentropy")
    frozen = model.layers[1].get_weights()
    fit(model)
    slots = {key for key in model.optimizer.slots if key.endswith("/ema")}
    assert slots == {f"{name}/ema" for name in model.trainable_weights} and len(slots) == 4
    assert all((a == b).all() for a, b in zip(frozen, model.layers[1].get_weights(), strict=True))


def test_a_layer_that_is_trained_later_begins_its_average_with_its_weights():
    model = small_model(optimizer=SGD(0.0, use_ema=True))
    model.layers[3].trainable = False
    fit(model)
    model.layers[3].trainable = True
    before = model.get_weights()
    fit(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-6)


# --- Files and interruptions ---


@BOTH_SETS
def test_checkpoints_hold_the_raw_weights_and_resume_bit_for_bit(kernels, tmp_path):
    def trained(epochs, watch=None, name="a"):
        save = ModelCheckpoint(tmp_path / f"{name}{{epoch}}.npz")
        optimizer = averaged(ema_overwrite_frequency=5)
        model = small_model(kernels, optimizer=optimizer)
        fit(model, epochs=epochs, callbacks=[save, *([watch] if watch else [])])
        return model

    watch = Watch()
    whole = trained(4, watch)
    part = trained(2, name="b")
    resumed = load_model(tmp_path / "b2.npz", kernels=kernels)
    for name, array in resumed.trainable_weights.items():
        assert array.tobytes() == watch.steps[5][0][name].tobytes()
    assert bits(resumed) != bits(part)  # which ended with the averages
    fit(resumed, epochs=4, initial_epoch=2)
    assert bits(resumed) == bits(whole)


@pytest.mark.parametrize("suffix", [".npz", ".keras", ".h5"])
def test_a_model_saved_after_fit_has_the_averages_as_weights(tmp_path, suffix):
    model = small_model(optimizer=averaged())
    fit(model, epochs=2)
    model.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}", kernels="reference")
    assert again.optimizer.use_ema and again.optimizer.ema_momentum == 0.8
    averages = again.optimizer.averages(again.trainable_weights)
    for name, array in again.trainable_weights.items():
        assert array.tobytes() == averages[name].tobytes()
    for each in (model, again):
        fit(each, shuffle=False)  # only .npz knows how many epochs there were
    for ours, other in zip(again.get_weights(), model.get_weights(), strict=True):
        assert ours.tobytes() == other.tobytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_training_that_an_error_ends_keeps_its_weights(error, capsys):
    class Fails(Watch):
        def on_train_batch_end(self, batch):
            super().on_train_batch_end(batch)
            if batch == 2:
                raise error

    model, watch = small_model(optimizer=averaged()), Fails()
    with pytest.raises(error):
        fit(model, callbacks=watch)
    for name, array in model.trainable_weights.items():
        assert array.tobytes() == watch.steps[-1][0][name].tobytes()


def test_a_training_that_is_stopped_early_ends_with_the_averages():
    model, watch = small_model(optimizer=averaged()), Watch()
    stop = EarlyStopping("loss", min_delta=1e9)
    assert len(fit(model, epochs=9, callbacks=[stop, watch]).epoch) < 9
    for name, array in model.trainable_weights.items():
        assert array.tobytes() == watch.steps[-1][1][name].tobytes()


def test_a_copy_has_averages_of_its_own():
    optimizer, kernels = Adam(use_ema=True), get_kernels("reference")
    params = {"a/kernel": np.ones((2, 2))}
    optimizer.apply(params, {"a/kernel": np.ones((2, 2))}, kernels)
    twin = deepcopy(optimizer)
    twin.slots["a/kernel/ema"][...] = 7
    assert (optimizer.slots["a/kernel/ema"] == params["a/kernel"]).all()


@pytest.mark.parametrize(
    "options",
    [{"use_ema": 1}, {"ema_momentum": 1.1}, {"ema_momentum": -0.1}, {"ema_momentum": None},
     {"ema_overwrite_frequency": 0}, {"ema_overwrite_frequency": 1.5}],
    ids=str,
)  # fmt: skip
def test_arguments_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"Adam: {name}"):
        Adam(**{"use_ema": True, **options})
    assert SGD(use_ema=True, ema_momentum=1).ema_momentum == 1
