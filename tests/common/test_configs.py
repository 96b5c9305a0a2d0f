"""What is written down as {"class_name", "config"} is made again the same."""

import json

import pytest

from nanocnn import (
    SGD,
    Activation,
    Adam,
    AdamW,
    AveragePooling2D,
    BatchNormalization,
    CategoricalCrossentropy,
    Conv2D,
    CosineDecay,
    Dense,
    Dropout,
    ExponentialDecay,
    Flatten,
    Input,
    InverseTimeDecay,
    Layer,
    MaxPooling2D,
    MeanSquaredError,
    OneCycle,
    PiecewiseConstantDecay,
    PolynomialDecay,
    RMSprop,
    SparseCategoricalCrossentropy,
)
from nanocnn.common.config import arguments, deserialize, match_name, serialize
from nanocnn.layers import layer_config, layers_from_config
from nanocnn.losses import LOSSES, get_loss
from nanocnn.optimizers import OPTIMIZERS, get_optimizer
from nanocnn.optimizers.schedules import SCHEDULES

LAYERS = [
    Input((6, 5, 2)),
    Conv2D(3, (2, 3), strides=(1, 2), padding="SAME", activation="tanh", use_bias=False,
           kernel_initializer="HeNormal", kernel_regularizer=0.25, name="first"),
    Conv2D(2, 3, dilation_rate=2, bias_initializer="ones", kernel_regularizer="l2"),
    MaxPooling2D(3, 1, "same"),
    AveragePooling2D((2, 1)),
    BatchNormalization(momentum=0.5, epsilon=0.1, center=False),
    Activation("softmax"),
    Dropout(0.5),
    Flatten(),
    Dense(4, activation="relu"),
]  # fmt: skip
SCHEDULE = CosineDecay(0.1, 100, 0.5, warmup_target=0.2, warmup_steps=10)
OTHERS = [
    (SCHEDULES, SCHEDULE),
    (SCHEDULES, ExponentialDecay(0.1, 10, 0.5, True)),
    (SCHEDULES, InverseTimeDecay(0.1, 10, 0.5)),
    (SCHEDULES, OneCycle(0.1, 10, 0.5)),
    (SCHEDULES, PiecewiseConstantDecay([1, 2], [0.3, 0.2, 0.1])),
    (SCHEDULES, PolynomialDecay(0.1, 10, cycle=True)),
    (LOSSES, CategoricalCrossentropy(label_smoothing=0.25)),
    (LOSSES, SparseCategoricalCrossentropy(from_logits=True)),
    (LOSSES, MeanSquaredError()),
    (OPTIMIZERS, SGD(0.5, 0.25, True, clipnorm=2.0)),
    (OPTIMIZERS, RMSprop(SCHEDULE, rho=0.5, centered=True, form="pytorch")),
    (OPTIMIZERS, Adam(amsgrad=True, global_clipnorm=1.0)),
    (OPTIMIZERS, AdamW(0.5, 0.25, beta_1=0.5)),
    (OPTIMIZERS, Adam(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=7)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layers(layer):
    config = json.loads(json.dumps(layer_config(layer)))
    (again,) = layers_from_config([config], {})
    assert type(again) is type(layer)
    assert layer_config(again) == config


def test_a_layers_config_is_keras_form():
    assert LAYERS[1].get_config() == {
        "filters": 3, "kernel_size": [2, 3], "strides": [1, 2], "padding": "same",
        "dilation_rate": [1, 1], "activation": "tanh", "use_bias": False, "name": "first",
        "trainable": True,
        "kernel_initializer": {"class_name": "HeNormal", "config": {}},
        "bias_initializer": {"class_name": "Zeros", "config": {}},
        "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.25}},
    }  # fmt: skip


@pytest.mark.parametrize(("known", "thing"), OTHERS, ids=lambda each: type(each).__name__)
def test_losses_optimizers_and_schedules(known, thing):
    config = json.loads(json.dumps(serialize(thing)))
    again = deserialize("thing", config, known)
    assert type(again) is type(thing)
    assert serialize(again) == serialize(thing)


def test_arguments_passed_on_as_options_are_included():
    assert set(AdamW().get_config()) == {
        "learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "form",
        "use_ema", "ema_momentum", "ema_overwrite_frequency", "beta_1", "beta_2",
        "epsilon", "amsgrad",
    }  # fmt: skip
    assert arguments(MeanSquaredError) == {}


def test_names_are_found_however_keras_writes_them():
    assert match_name("initializer", "HeNormal", ["zeros", "he_normal"]) == "he_normal"
    assert type(get_optimizer("RMSPROP")) is RMSprop
    assert type(get_loss("SparseCategoricalCrossentropy")) is SparseCategoricalCrossentropy
    with pytest.raises(ValueError, match=r"unknown loss 'mes'; did you mean 'mse'"):
        get_loss("mes")


def test_a_custom_layer_without_its_argument_as_attribute_is_refused():
    class Scale(Layer):
        def __init__(self, factor):
            super().__init__()

    with pytest.raises(TypeError, match="Scale: no attribute factor, expected one for each"):
        Scale(2.0).get_config()
    assert repr(Scale(2.0)) == "<Scale name=scale, built=False>"
