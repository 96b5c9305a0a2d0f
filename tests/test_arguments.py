"""Arguments by other names: of older Keras, misspelt, or in another form."""

import inspect

import numpy as np
import pytest

import nanocnn
from nanocnn import (
    L2,
    SGD,
    Adam,
    AdamW,
    AveragePooling2D,
    BatchNormalization,
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    Flatten,
    Input,
    MeanSquaredError,
    RMSprop,
    Sequential,
)
from nanocnn.configs import Checked
from nanocnn.errors import ShapeError

OLD_WORDS = [
    (lambda: SGD(lr=0.1, momentum=0.9), "unknown argument of SGD 'lr'; did you mean 'learning_ra"),
    (lambda: Adam(lr=0.1), "argument of Adam 'lr'; did you mean 'learning_rate'"),
    (lambda: AdamW(lr=0.1), "argument of AdamW 'lr'; did you mean 'learning_rate'"),
    (lambda: SGD(0.1, decay=1e-6), "argument of SGD 'decay'; use weight_decay, .*InverseTimeDec"),
    (lambda: RMSprop(clip_norm=1.0), "argument of RMSprop 'clip_norm'; did you mean 'clipnorm'"),
    (lambda: Conv2D(nb_filter=4, kernel_size=3), "of Conv2D 'nb_filter'; did you mean 'filters'"),
    (lambda: Conv2D(4, 3, border_mode="same"), "'border_mode'; did you mean 'padding'"),
    (lambda: Conv2D(4, 3, subsample=2), "'subsample'; did you mean 'strides'"),
    (lambda: Conv2D(4, 3, bias_regularizer="l2"), "'bias_regularizer'; only kernels have a pena"),
    (lambda: Conv2D(4, 3, data_format="channels_first"), r"'data_format'; images are \(N, height,"),
    (lambda: Dense(output_dim=4), "argument of Dense 'output_dim'; did you mean 'units'"),
    (lambda: Dense(4, init="uniform"), "'init'; did you mean 'kernel_initializer'"),
    (lambda: Dense(4, W_regularizer="l2"), "'W_regularizer'; did you mean 'kernel_regularizer'"),
    (lambda: Dense(4, activaton="relu"), "'activaton'; did you mean 'activation'"),
    (lambda: Dropout(p=0.5), "argument of Dropout 'p'; did you mean 'rate'"),
    (lambda: AveragePooling2D(poolsize=2), "'poolsize'; did you mean 'pool_size'"),
    (lambda: BatchNormalization(eps=1e-3), "'eps'; did you mean 'epsilon'"),
    (lambda: Flatten(order="C"), "unknown argument of Flatten 'order'"),
    (lambda: Input(shape=(3,), dtype="int32"), "unknown argument of Input 'dtype'"),
    (lambda: CategoricalCrossentropy(logits=True), "'logits'; did you mean 'from_logits'"),
    (lambda: MeanSquaredError(reduction="sum"), "argument of MeanSquaredError 'reduction'"),
    (lambda: EarlyStopping(patiance=3), "argument of EarlyStopping 'patiance'; did you mean 'pat"),
    (lambda: ExponentialDecay(0.1, decay_step=10, decay_rate=0.5), "did you mean 'decay_steps'"),
    (lambda: L2(l=0.1), "argument of L2 'l'; did you mean 'l2'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), OLD_WORDS)
def test_the_error_names_the_class_and_the_right_word(make, message):
    with pytest.raises(ValueError, match=message):
        make()


ARGUMENTS = {
    "Activation": ("relu",), "Conv2D": (2, 3), "Dense": (2,), "Dropout": (0.5,),
}  # fmt: skip


def test_every_public_class_of_arguments_refuses_unknown_ones():
    public = [getattr(nanocnn, name) for name in nanocnn.__all__]
    kinds = [k for k in public if inspect.isclass(k) and issubclass(k, Checked)]
    assert len(kinds) > 25
    for kind in kinds:
        with pytest.raises(ValueError, match=f"unknown argument of {kind.__name__} 'nonsense'"):
            kind(*ARGUMENTS.get(kind.__name__, ()), nonsense=1)


def test_a_class_of_ones_own_with_options_reads_them_itself():
    class Scale(nanocnn.Layer):
        def __init__(self, **options):
            self.factor = options.pop("factor", 1)
            super().__init__(**options)

    assert Scale(factor=3, name="s").factor == 3
    with pytest.raises(ValueError, match="unknown argument of Scale 'fcator'"):
        Scale(fcator=3)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Conv2D(2, 3, input_shape=(8, 6, 1)), Flatten(), Dense(3)],
        lambda: [Conv2D(2, 3, batch_input_shape=(None, 8, 6, 1)), Flatten(), Dense(3)],
        lambda: [Input((8, 6, 1)), Conv2D(2, 3, input_shape=[8, 6, 1]), Flatten(), Dense(3)],
        lambda: [Input(batch_shape=(None, 8, 6, 1)), Conv2D(2, 3), Flatten(), Dense(3)],
    ],
)
def test_the_first_layer_may_say_the_shape_as_in_keras(layers):
    model = Sequential(layers())
    assert [type(layer) for layer in model.layers] == [Input, Conv2D, Flatten, Dense]
    assert model.built and model.input_shape == (8, 6, 1)
    assert [layer.name for layer in model.layers] == ["input_layer", "conv2d", "flatten", "dense"]


def test_other_forms_of_a_shape():
    assert Sequential([Dense(3, input_dim=7)]).input_shape == (7,)
    assert Sequential([Flatten(input_shape=(8, 6)), Dense(3)]).input_shape == (8, 6)
    model = Sequential()
    model.add(Dense(3, input_shape=(7,)))
    model.add(Dense(2))
    assert model.output_shape == (2,)
    for shape in ((8, 6, 1), (None, 8, 6, 1), [None, 8, 6, 1]):
        model = Sequential([Flatten(), Dense(3)])
        model.build(shape)
        assert model.input_shape == (8, 6, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Input((None, 28, 28, 1)), r"without the batch axis: Input\(\(28, 28, 1\)\)"),
        (lambda: Input((28, None, 1)), "Input: shape=None, expected a whole number"),
        (lambda: Input(batch_shape=(32, 28, 28, 1)), "expected None for the batch axis, then"),
        (lambda: Input(batch_shape=28), "Input: batch_shape=28, expected None for the batch"),
        (lambda: Input((3,), batch_shape=(None, 3)), "shape and batch_shape, expected one"),
        (lambda: Input(), "Input: shape=None, expected a whole number"),
        (lambda: Dense(3, input_dim="many"), "Dense: input_dim='many', expected a whole number"),
        (lambda: Dense(3, input_shape=(None, 4)), r"without the batch axis: Input\(\(4,\)\)"),
        (lambda: Sequential([Dense(3)]).build(None), "build: input_shape=None, expected a whole"),
        (lambda: Sequential([Dense(3)]).build((None, "a")), "build: input_shape='a', expected a"),
    ],
)
def test_wrong_shapes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_shape_that_is_not_the_inputs_is_not_ignored():
    with pytest.raises(ShapeError, match=r"dense_1: input of shape \(N, 5\), expected \(N, 9\) as"):
        Sequential([Dense(5, input_dim=3), Dense(2, input_dim=9)])
    model = Sequential([Dense(5, input_dim=3), Dense(2, input_dim=5)])
    assert model.predict(np.zeros((1, 3))).shape == (1, 2)
