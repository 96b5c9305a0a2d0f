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
    CosineDecay,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    Flatten,
    Input,
    LeakyReLU,
    MeanSquaredError,
    RMSprop,
    Sequential,
)
from nanocnn.common.config import Checked
from nanocnn.common.errors import ShapeError

OLD_WORDS = [
    (lambda: SGD(lr=0.1, momentum=0.9), "unknown argument of SGD 'lr'; did you mean 'learning_ra"),
    (lambda: Adam(lr=0.1), "argument of Adam 'lr'; did you mean 'learning_rate'"),
    (lambda: AdamW(lr=0.1), "argument of AdamW 'lr'; did you mean 'learning_rate'"),
    (lambda: SGD(0.1, decay=1e-6), "argument of SGD 'decay'; use weight_decay, .*InverseTimeDec"),
    (lambda: RMSprop(clip_norm=1.0), "argument of RMSprop 'clip_norm'; did you mean 'clipnorm'"),
    (lambda: Conv2D(nb_filter=4, kernel_size=3), "of Conv2D 'nb_filter'; did you mean 'filters'"),
    (lambda: Conv2D(4, 3, border_mode="same"), "'border_mode'; did you mean 'padding'"),
    (lambda: Conv2D(4, 3, subsample=2), "'subsample'; did you mean 'strides'"),
    (lambda: Conv2D(4, 3, bias_regularizer="l2"), "bias_regularizer='l2', expected None; only ker"),
    (lambda: Conv2D(4, 3, data_format="channels_first"), r"expected 'channels_last'; images .*tra"),
    (lambda: Dense(output_dim=4), "argument of Dense 'output_dim'; did you mean 'units'"),
    (lambda: Dense(4, init="uniform"), "'init'; did you mean 'kernel_initializer'"),
    (lambda: Dense(4, W_regularizer="l2"), "'W_regularizer'; did you mean 'kernel_regularizer'"),
    (lambda: Dense(4, activaton="relu"), "'activaton'; did you mean 'activation'"),
    (lambda: Dropout(p=0.5), "argument of Dropout 'p'; did you mean 'rate'"),
    (lambda: AveragePooling2D(poolsize=2), "'poolsize'; did you mean 'pool_size'"),
    (lambda: LeakyReLU(alpha=0.1), "argument of LeakyReLU 'alpha'; did you mean 'negative_slope'"),
    (lambda: BatchNormalization(eps=1e-3), "'eps'; did you mean 'epsilon'"),
    (lambda: Flatten(order="C"), "unknown argument of Flatten 'order'"),
    (lambda: Input(shape=(3,), dtype="int32"), "Input: dtype='int32', expected 'float32'; the"),
    (lambda: CategoricalCrossentropy(logits=True), "'logits'; did you mean 'from_logits'"),
    (lambda: MeanSquaredError(reduction="sum"), "reduction='sum', expected 'sum_over_bat"),
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
    "RandomElastic": (0.1,), "RandomMorphology": (0.1,), "RandomRotation": (0.1,),
    "RandomTranslation": (0.1, 0.1), "RandomZoom": (0.1,), "Rescaling": (2.0,), "Reshape": (4,),
}  # fmt: skip


def test_every_public_class_of_arguments_refuses_unknown_ones():
    public = [getattr(nanocnn, name) for name in nanocnn.__all__]
    kinds = [k for k in public if inspect.isclass(k) and issubclass(k, Checked)]
    assert len(kinds) > 25
    for kind in kinds:
        with pytest.raises(ValueError, match=f"unknown argument of {kind.__name__} 'nonsense'"):
            kind(*ARGUMENTS.get(kind.__name__, ()), nonsense=1)


@pytest.mark.parametrize("value", ["fast", None, -1, float("nan"), [0.1]])
def test_a_learning_rate_that_is_set_later_is_checked_as_one_that_is_given(value):
    optimizer = Adam(0.5)
    with pytest.raises(ValueError, match=r"Adam: learning_rate=.*, expected a number >= 0"):
        optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.5
    with pytest.raises(AttributeError, match=r"Adam\.lr: use learning_rate"):
        optimizer.lr = 0.1
    with pytest.raises(AttributeError, match=r"Adam\.lr: use learning_rate"):
        print(optimizer.lr)


def test_a_subclass_with_options_reads_them_itself():
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
    assert [type(layer) for layer in model.layers] == [Conv2D, Flatten, Dense]
    assert model.built and model.input_shape == (8, 6, 1)
    assert [layer.name for layer in model.layers] == ["conv2d", "flatten", "dense"]


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
        (lambda: Input((28, None, 1)), "Input: shape=None, expected an integer"),
        (lambda: Input(batch_shape=(32, 28, 28, 1)), "expected None for the batch axis, then"),
        (lambda: Input(batch_shape=28), "Input: batch_shape=28, expected None for the batch"),
        (lambda: Input((3,), batch_shape=(None, 3)), "shape=.*, batch_shape=.*, expected only one"),
        (lambda: Input(), "Input: shape=None, expected an integer"),
        (lambda: Dense(3, input_dim="many"), "Dense: input_dim='many', expected an integer"),
        (lambda: Dense(3, input_shape=(None, 4)), r"without the batch axis: Input\(\(4,\)\)"),
        (lambda: Sequential([Dense(3)]).build(None), "build: input_shape=None, expected an int"),
        (lambda: Sequential([Dense(3)]).build((None, "a")), "build: input_shape='a', expected a"),
    ],
)
def test_wrong_shapes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_shape_other_than_the_inputs_is_refused():
    with pytest.raises(ShapeError, match=r"dense_1: input of shape \(N, 5\), expected \(N, 9\) as"):
        Sequential([Dense(5, input_dim=3), Dense(2, input_dim=9)])
    model = Sequential([Dense(5, input_dim=3), Dense(2, input_dim=5)])
    assert model.predict(np.zeros((1, 3))).shape == (1, 2)


# --- What a model is made of ---

WRONG = [
    (lambda: Sequential("Dense"), "Sequential: layers='Dense', expected a list of layers"),
    (lambda: Sequential(Dense(3)), "Sequential: layers=<Dense .*>, expected a list of layers"),
    (lambda: Sequential({"a": Dense(3)}), "Sequential: layers={'a': .*, expected a list"),
    (lambda: Sequential(Dense(n) for n in (3, 2)), "layers=<generator .*, expected a list"),
    (lambda: Sequential([Flatten]), r"layer 0: <class .*, expected a Layer; .* Flatten\(\.\."),
    (lambda: Sequential(name=3), "Sequential: name=3, expected text"),
    (lambda: Sequential(dtype=None), "dtype=None, expected 'float32'"),
    (lambda: Sequential(dtype=["float32"]), r"dtype=\['float32'\], expected 'float32'"),
    (lambda: Sequential(dtype=np.int64), "dtype=<class 'numpy.int64'>, expected 'float32'"),
    (lambda: Sequential(kernels=["fast"]), r"unknown kernel set \['fast'\]"),
    (lambda: Sequential(seed=[1]), r"seed=\[1\], expected an integer"),
    (lambda: Dense(3, name=5), "Dense: name=5, expected 1 to 200 printable char"),
    (lambda: Dense(3, name=""), "Dense: name='', expected 1 to 200 printable char"),
    (lambda: Flatten(name="a/b"), "Flatten: name='a/b', expected .* characters without '/'"),
    (lambda: Input((3,), name=["x"]), r"Input: name=\['x'\], expected 1 to 200"),
    (lambda: ExponentialDecay([0.1], 10, 0.5), r"initial_learning_rate=\[0.1\], expected a numb"),
    (lambda: ExponentialDecay(0.1, [10], 0.5), r"decay_steps=\[10\], expected a number"),
    (lambda: CosineDecay(0.1, 10, alpha=[0.1, 0.2]), r"alpha=\[0.1, 0.2\], expected a number"),
    (lambda: SGD([0.1]), r"SGD: learning_rate=\[0.1\], expected a number"),
    (lambda: SGD({"class_name": "CosineDecay", "config": 3}), "config=3, expected a dict of arg"),
    (lambda: Dense(3).build(7), "dense: input_shape=7, expected a tuple"),
    (lambda: built().set_weights("ab"), "weights: str, expected a list of arrays"),
    (lambda: built().set_weights({0: 1, 1: 2}), "weights: dict, expected a list of arrays"),
    (lambda: built().set_weights(None), "weights: NoneType, expected a list of arrays"),
    (lambda: built().set_weights([np.full((4, 2), "a"), np.zeros(2)]), "dense/kernel: array of ty"),
    (lambda: built().set_weights([[[1], [1, 2]], np.zeros(2)]), "dense/kernel: expected an array"),
    (lambda: built().layers[0].forward([[1.0] * 4]), "dense: input list, expected an array"),
    (lambda: MeanSquaredError()([1], "a"), "y_pred: array of type <U1, expected numbers"),
    (lambda: MeanSquaredError()([], []), r"y_pred: shape \(0,\), expected \(N, ...\)"),
    (lambda: MeanSquaredError()([[1]], [[1], [2]]), "y_true has 1 samples and y_pred has 2"),
    (lambda: MeanSquaredError()([1, 2], [1, 2], sample_weight="a"), "weight: array of type <U1"),
    (lambda: MeanSquaredError()([1, 2], [1, 2], [1, 2, 3]), r"shape \(3,\), expected \(2,\)"),
]  # fmt: skip


def built():
    return Sequential([Input((4,)), Dense(2)])


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_that_do_not_fit_leave_the_model_as_it_was():
    model = built()
    before = model.get_weights()
    with pytest.raises(ValueError, match="dense/bias: array of type <U1"):
        model.set_weights([np.ones((4, 2)), ["a", "b"]])
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64")])
def test_a_dtype_in_any_form(dtype):
    assert Sequential(dtype=dtype).dtype == np.float64
