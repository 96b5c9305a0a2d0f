"""Keras's words: with their only value they are accepted, old ones get a sentence with today's."""

import re

import numpy as np
import pytest

from nanocnn import (
    Activation,
    Adam,
    AveragePooling2D,
    BatchNormalization,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    History,
    Input,
    Layer,
    MaxPooling2D,
    MeanSquaredError,
    Sequential,
    SparseCategoricalCrossentropy,
)
from nanocnn.common.config import FIXED, refuses_unknown

ACCEPTED = [
    lambda: Conv2D(2, (3, 3), data_format="channels_last", groups=1, bias_regularizer=None),
    lambda: Conv2D(2, 3, data_format=None, kernel_constraint=None, activity_regularizer=None),
    lambda: Dense(2, bias_constraint=None, dtype="float32", name="d"),
    lambda: MaxPooling2D(data_format="channels_last"),
    lambda: AveragePooling2D(data_format=None, dtype=None),
    lambda: BatchNormalization(axis=-1, beta_initializer="zeros", gamma_initializer="ones"),
    lambda: BatchNormalization(moving_mean_initializer="Zeros", gamma_constraint=None),
    lambda: Dropout(0.5, noise_shape=None, seed=None),
    lambda: Flatten(data_format="channels_last"),
    lambda: Activation("relu", dtype="float32"),
    lambda: Input((3,), batch_size=128, dtype="float32"),
    lambda: CategoricalCrossentropy(axis=-1, reduction="sum_over_batch_size", name="loss"),
    lambda: SparseCategoricalCrossentropy(ignore_class=None, dtype=None),
    lambda: MeanSquaredError(reduction="sum_over_batch_size", name="mse"),
    lambda: BinaryCrossentropy(True, axis=-1),
    lambda: Adam(1e-3, name="adam"),
]


@pytest.mark.parametrize("make", ACCEPTED)
def test_a_word_is_accepted_with_its_only_value(make):
    made = make()
    assert not FIXED.keys() & vars(made).keys() - {"axis"}
    assert not {"data_format", "groups", "reduction"} & set(made.get_config())


REFUSED = [
    (lambda: Conv2D(2, 3, data_format="channels_first"),
     "Conv2D: data_format='channels_first', expected 'channels_last'; images are "
     "(N,H,W,C): use x.transpose(0, 2, 3, 1)"),
    (lambda: MaxPooling2D(2, data_format="channels_first"), "x.transpose(0, 2, 3, 1)"),
    (lambda: Conv2D(2, 3, groups=2), "Conv2D: groups=2, expected 1; every filter"),
    (lambda: Dropout(0.5, seed=1), "Dropout: seed=1, expected None; the model has it: Sequential("),
    (lambda: Dropout(0.5, noise_shape=(1, 2)), "Dropout: noise_shape=(1, 2), expected None"),
    (lambda: Dense(2, dtype="float64"), "Dense: dtype='float64', expected 'float32'; the model"),
    (lambda: Dense(2, kernel_constraint="max_norm"), "kernel_constraint='max_norm', expected None"),
    (lambda: Dense(2, activity_regularizer="l2"), "only kernels have a penalty"),
    (lambda: BatchNormalization(gamma_initializer="zeros"), "gamma_initializer='zeros', expected"),
    (lambda: CategoricalCrossentropy(axis=1), "axis=1, expected -1; the classes are the last axis"),
    (lambda: MeanSquaredError(reduction="sum"), "reduction='sum', expected 'sum_over_batch_size'"),
    (lambda: SparseCategoricalCrossentropy(ignore_class=0), "ignore_class=0, expected None; use s"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_another_value_would_change_the_result_and_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_words_of_keras_are_not_taken_from_a_class_that_has_them_itself():
    class Scale(Layer):
        def __init__(self, groups=2, **options):
            self.seed = options.pop("seed", 0)
            super().__init__(**options)
            self.groups = groups

    made = Scale(groups=3, seed=4)
    assert (made.groups, made.seed) == (3, 4)
    with pytest.raises(ValueError, match="axis=0, expected -1"):
        Scale(axis=0)


# --- Methods ---

OLD = [
    (lambda m, x: m.fit(x, x, nb_epoch=3), "argument of fit 'nb_epoch'; did you mean 'epochs'?"),
    (lambda m, x: m.fit(x, x, epoch=3), "argument of fit 'epoch'; did you mean 'epochs'?"),
    (lambda m, x: m.fit(x, x, show_accuracy=True), "'show_accuracy'; use compile(..., metrics=["),
    (lambda m, x: m.fit(x, x, workers=4), "'workers'; leave it out: batches are made in this"),
    (lambda m, x: m.fit(x, x, max_queue_size=4), "'max_queue_size'; leave it out"),
    (lambda m, x: m.evaluate(x, x, show_accuracy=True), "of evaluate 'show_accuracy'; use"),
    (lambda m, x: m.evaluate(x, x, use_multiprocessing=True), "'use_multiprocessing'; leave it"),
    (lambda m, x: m.compile("sgd", "mse", metric=["mae"]), "'metric'; did you mean 'metrics'?"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), OLD)
def test_an_unknown_argument_of_a_method_is_named_with_todays_word(call, message):
    model = Sequential([Input((3,)), Dense(3)], kernels="reference")
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=re.escape(message)):
        call(model, np.ones((4, 3)))
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("predict_classes", "use predict(x).argmax(axis=1), or predict(x) > 0.5"),
        ("predict_proba", "use predict"),
        ("fit_generator", "use fit, which takes a generator"),
        ("evaluate_generator", "use evaluate, which takes a generator"),
        ("predict_generator", "use predict, which takes a generator"),
    ],
)
def test_a_method_of_old_versions_is_an_attribute_error_that_says_what_to_use(name, message):
    model = Sequential([Input((3,)), Dense(3)], kernels="reference")
    with pytest.raises(AttributeError, match=re.escape(f"no attribute '{name}'; {message}")):
        getattr(model, name)


def test_other_attribute_errors_of_a_model_are_pythons_own():
    model = Sequential([Dense(3)], kernels="reference")
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'layer'"):
        print(model.layer)
    with pytest.raises(AttributeError, match="no attribute '_plan'"):  # not: 'execution_plan'
        print(model.execution_plan)
    assert not hasattr(model, "fit_generator")


def test_a_method_keeps_its_signature_and_pythons_error_for_missing_arguments():
    @refuses_unknown
    def method(x, width=3):
        """Text."""
        return x, width

    assert method(1, width=2) == (1, 2) and method.__doc__ == "Text."
    with pytest.raises(TypeError, match="missing 1 required"):
        method()
    with pytest.raises(ValueError, match=r"argument of method 'with'; did you mean 'width'\?"):
        method(1, **{"with": 3})


def test_a_key_that_the_history_lacks_is_answered_with_those_it_has():
    history = History()
    history.append(0, {"accuracy": 0.5, "val_accuracy": 0.5})
    assert history.history == {"accuracy": [0.5], "val_accuracy": [0.5]}
    with pytest.raises(KeyError, match=r"'acc'; use 'accuracy'.*known: accuracy, val_accuracy"):
        print(history.history["acc"])
    with pytest.raises(KeyError, match=r"'val_acc'; use 'val_accuracy'"):
        print(history.history["val_acc"])
    with pytest.raises(KeyError, match=r"'accurcy'; did you mean 'accuracy'"):
        print(history.history["accurcy"])
    assert history.history.get("acc") is None
