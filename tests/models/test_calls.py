"""What scripts for Keras call on a model: its words, their order, and what they return."""

import inspect
import io

import numpy as np
import pytest

from nanocnn import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    EarlyStopping,
    Flatten,
    Input,
    Sequential,
)
from support.small_models import BOTH_SETS, SPARSE, digits, every_layer, small_model

X, Y = digits(40)

# The arguments of Keras 3, in order; what follows "*" exists here only.
KERAS = {
    "__init__": "layers trainable name * seed dtype kernels scale_uint8",
    "__call__": "x training",
    "compile": "optimizer loss loss_weights metrics weighted_metrics run_eagerly "
    "steps_per_execution jit_compile auto_scale_loss",
    "fit": "x y batch_size epochs verbose callbacks validation_split validation_data shuffle "
    "class_weight sample_weight initial_epoch steps_per_epoch validation_steps "
    "validation_batch_size validation_freq * shards",
    "evaluate": "x y batch_size verbose sample_weight steps callbacks return_dict",
    "predict": "x batch_size verbose steps callbacks * augment",
    "train_on_batch": "x y sample_weight class_weight return_dict",
    "test_on_batch": "x y sample_weight return_dict",
    "predict_on_batch": "x",
    "get_layer": "name index",
    "summary": "line_length positions print_fn expand_nested show_trainable layer_range",
}


@pytest.mark.parametrize("name", KERAS)
def test_arguments_stand_in_kerass_order(name):
    parameters = inspect.signature(getattr(Sequential, name)).parameters.values()
    own = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    names = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY][1:]
    assert [*names, *(["*", *own] if own else [])] == KERAS[name].split()


def test_words_of_keras_without_an_effect_are_accepted():
    model = small_model()
    model.compile(
        "sgd", SPARSE, None, ["accuracy"], None, run_eagerly=True, steps_per_execution=8,
        jit_compile=False, auto_scale_loss=False,
    )  # fmt: skip
    model.compile("sgd", SPARSE, loss_weights=[1.0], weighted_metrics=[])
    assert model.metrics_names == ["loss"]
    for name in ("loss_weights", "weighted_metrics"):
        with pytest.raises(ValueError, match=rf"{name}=\[0.5\], expected None.*metrics="):
            model.compile("sgd", SPARSE, **{name: [0.5]})


def test_metrics_at_the_place_of_loss_weights_are_taken_with_a_warning():
    model = small_model()
    with pytest.warns(UserWarning, match=r"third argument is loss_weights.*pass metrics="):
        model.compile("sgd", SPARSE, ["accuracy"])
    assert model.metrics_names == ["loss", "accuracy"]


def test_a_model_without_a_loss_predicts_and_is_not_trained():
    model = small_model()
    model.compile("adam")
    assert model.predict(X).shape == (40, 10)
    for use in (model.fit, model.evaluate):
        with pytest.raises(RuntimeError, match=r"model.compile\(optimizer, loss\)"):
            use(X, Y)
    assert model._compile_config() is None
    model.compile("adam", SPARSE)
    assert model.fit(X, Y, verbose=0).history["loss"]


@BOTH_SETS
def test_a_call_predicts_a_batch_or_one_image(kernels):
    model = small_model(kernels)
    expected = model.predict(X)
    for given in (X, X[..., None]):
        np.testing.assert_array_equal(model(given, training=False), expected)
    for image in (X[3], X[3, ..., None]):
        np.testing.assert_allclose(model(image), expected[3:4], rtol=1e-5)
    np.testing.assert_array_equal(model.predict_on_batch(X), expected)


@BOTH_SETS
def test_a_call_while_training_drops_units_and_moves_averages(kernels):
    model = Sequential(
        [Input((50,)), BatchNormalization(), Dropout(0.5), Dense(3, "softmax")], kernels=kernels
    )
    x = np.random.default_rng(0).normal(3, 1, (200, 50)).astype("f")
    before = model.non_trainable_weights["batch_normalization/moving_mean"].copy()
    first, second = model(x, training=True), model(x, training=True)
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-5)
    moved = model.non_trainable_weights["batch_normalization/moving_mean"]
    np.testing.assert_allclose(moved, before + (1 - 0.99**2) * x.mean(axis=0), rtol=1e-4)
    assert np.array_equal(model(x), model(x)) and np.array_equal(model(x), model.predict(x, 200))


def test_layers_are_found_by_name_and_as_keras_counts_them():
    model = small_model()
    assert model.get_layer("dense_1") is model.layers[-1] is model.get_layer(index=-1)
    assert isinstance(model.get_layer(index=0), Conv2D)  # and not the Input
    for options, words in (
        ({"name": "dense_7"}, "name='dense_7', expected one of .*'dense_1'"),
        ({"index": 5}, "index=5, expected 0 to 4"),
        ({}, "expected one"),
        ({"name": "dense", "index": 1}, "expected one"),
    ):
        with pytest.raises(ValueError, match=words):
            model.get_layer(**options)


def test_a_layer_gives_and_takes_its_weights():
    model = small_model()
    layer = model.get_layer("conv2d")
    kernel, bias = layer.get_weights()
    assert kernel.shape == (3, 3, 1, 6) and bias.shape == (6,)
    kernel[...] = 7
    assert not (layer.params["kernel"] == 7).any()  # it was a copy
    layer.set_weights([kernel, bias + 1])
    assert (model.weights["conv2d/kernel"] == 7).all() and (model.get_weights()[1] == 1).all()
    with pytest.raises(ValueError, match=r"weights of bias: shape \(3,\), expected \(6,\)"):
        layer.set_weights([kernel, np.zeros(3)])


def test_weights_that_are_trained_and_others_make_up_all():
    model = every_layer()
    model.get_layer("dense").trainable = False
    trained, others = model.trainable_weights, model.non_trainable_weights
    assert trained.keys().isdisjoint(others) and {*trained, *others} == {*model.weights}
    assert list(others) == [
        "batch_normalization/moving_mean", "batch_normalization/moving_variance",
        "dense/kernel", "dense/bias",
    ]  # fmt: skip


def test_a_model_begins_frozen_if_asked():
    assert not Sequential([Input((4,)), Dense(3)], trainable=False).trainable_weights


SUMMARY = """\
Model: "digits"
Layer (type)                              Output Shape  Param #
---------------------------------------------------------------
batch_normalization (BatchNormalization)  (None, 1000)    4,000
dense (Dense)                             (None, 3)       3,003
 Total params: 7,003 (27.36 KB)
 Trainable params: 5,003 (19.54 KB)
 Non-trainable params: 2,000 (7.81 KB)
"""


def test_the_summary_has_kerass_words(capsys):
    model = Sequential([Input((1000,)), BatchNormalization(), Dense(3)], name="digits")
    model.summary()
    printed = capsys.readouterr().out
    assert printed == SUMMARY
    file = io.StringIO()
    model.summary(print_fn=lambda text: file.write(text + "\n"))
    assert file.getvalue() == printed
    assert capsys.readouterr().out == ""


def test_the_summary_is_as_wide_as_asked_and_shows_what_is_trained(capsys):
    model = Sequential([Flatten(), Dense(3)])
    model.summary(line_length=70, show_trainable=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 70
    assert lines[1].split()[-1] == "Trainable" and "(unbuilt)" in lines[3]
    model.build((4,))
    model.layers[-1].trainable = False
    model.summary(show_trainable=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[3:5]] == ["-", "N"]


def test_validation_has_its_own_size_steps_and_epochs():
    sizes = []
    model = small_model()
    step = model._step
    model._step = lambda data, index, memory, training: (
        sizes.append((training, index.stop - index.start if isinstance(index, slice) else 0)),
        step(data, index, memory, training),
    )[1]
    history = model.fit(
        X, Y, 20, 5, 0, validation_data=(X, Y), validation_batch_size=7, validation_steps=2,
        validation_freq=[2, 5],
    ).history  # fmt: skip
    assert [n for training, n in sizes if not training] == [7, 7, 7, 7]
    assert np.isnan(history["val_loss"]).tolist() == [True, False, True, True, False]
    with pytest.raises(ValueError, match=r"validation_freq=0, expected an integer of at least 1"):
        model.fit(X, Y, validation_freq=0)


def test_a_single_callback_needs_no_list():
    history = small_model().fit(X, Y, epochs=9, verbose=0, callbacks=EarlyStopping("loss", 1e9))
    assert len(history.epoch) == 2


def test_channels_first_is_answered_with_what_to_transpose():
    x = np.zeros((4, 3, 12, 12), "f")
    for layers in ([Input((12, 12, 3)), Flatten()], [Conv2D(2, 3, padding="same"), Flatten()]):
        model = Sequential([*layers, Dense(2)])
        with pytest.raises(ValueError, match=r"x\.transpose\(0, 2, 3, 1\)"):
            model.predict(x)
        assert model.predict(x.transpose(0, 2, 3, 1)).shape == (4, 2)
