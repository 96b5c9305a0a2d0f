"""Bad input gets a ValueError that names value, place and expectation, before any work.

Data files are in test_idx.py and test_mnist.py, model files in test_storage.py; here is the rest.
"""

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Activation,
    Adam,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    CosineDecay,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    Flatten,
    Input,
    MaxPooling2D,
    PiecewiseConstantDecay,
    RMSprop,
    Sequential,
    load_model,
)
from nanocnn.common.errors import ModelFileError, NonFiniteError, ShapeError
from support.small_models import BOTH_SETS, bits, digits, small_model

X, Y = digits(20)
FLOATS = (X / 255).astype("float32")
ONE_HOT = np.eye(10)[Y]


def with_value(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


def number(value):
    return with_value(FLOATS, (3, 4, 5), value)


DATA = {
    "counts": (X, Y[:19], ShapeError, "x has 20 samples and y has 19, expected as many labels"),
    "no images": (X[:0], Y[:0], ShapeError, "x: expected 1 image or more, got none"),
    "image size": (X[:, :, :9], Y, ShapeError, r"x: expected \(N, 12, 10, 1\), got \(20, 12, 9\)"),
    "channels": (np.stack([X, X], -1), Y, ShapeError, r"x: expected \(N, 12, 10, 1\), got .*, 2\)"),
    "one image": (X[0], Y[:1], ShapeError, r"got \(12, 10\)"),
    "scalar": (5, 1, ShapeError, r"x: expected \(N, 12, 10, 1\), got \(\)"),
    "ragged": ([[1], [1, 2]], [0, 1], ShapeError, "x: expected images of one shape"),
    "text": (np.full((20, 12, 10), "a"), Y, ValueError, "x: expected an array of numbers, got dty"),
    "objects": (X.astype(object), Y, ValueError, "x: expected an array of numbers, got dtype obj"),
    "complex": (X * 1j, Y, ValueError, "x: expected an array of numbers, got dtype complex128"),
    "nan": (
        number(np.nan),
        Y,
        NonFiniteError,
        r"x: expected finite pixels, got nan at .*\(3, 4, 5",
    ),
    "infinity": (number(np.inf), Y, NonFiniteError, r"got inf at index \(3, 4, 5, 0\)"),
    "too large": (
        FLOATS.astype(float) * 1e300,
        Y,
        NonFiniteError,
        r"got .*e\+\d+ at index .*\(as float32: inf\)",
    ),
    "label too large": (
        X,
        with_value(Y, 7, 10),
        ValueError,
        r"y\[7\] is 10, expected a class from 0",
    ),
    "label negative": (X, with_value(Y, 7, -1), ValueError, r"y\[7\] is -1, .*from 0 to 9"),
    "label of a half": (
        X,
        Y + 0.5,
        ValueError,
        r"y: labels of type float64, expected integer class numbers; if they are, use "
        r"y.astype\('int64'\)",
    ),
    "label text": (
        X,
        ["a"] * 20,
        ValueError,
        "y: array of type <U1, expected numbers",
    ),
    "one-hot": (X, ONE_HOT, ShapeError, "y: .*for one-hot labels use 'categorical_crossentropy'"),
    "no labels": (X, None, ShapeError, r"y: shape \(\), expected \(N,\) class numbers"),
    "ragged labels": (X, [[1], [1, 2]], ValueError, "y: expected an array of numbers"),
}


@BOTH_SETS
@pytest.mark.parametrize("case", DATA)
def test_data(case, kernels):
    x, y, error, message = DATA[case]
    model = small_model(kernels)
    before = bits(model)
    for use in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(error, match=message):
            use(x, y)
    if y is Y or "image" in case:
        with pytest.raises(error, match=message):
            model.predict(x)
    assert bits(model) == before
    assert model.history is None


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y, r"y: shape \(20,\), expected \(N, 10\) .*use 'sparse_categorical_crossentropy'"),
        (ONE_HOT[:, :9], r"y: shape \(20, 9\), expected \(N, 10\) for CategoricalCrossentropy"),
        (with_value(ONE_HOT, (2, 3), np.nan), r"y\[\(2, 3\)\] is nan, expected finite numbers"),
        (ONE_HOT.astype(str), "y: array of type <U32, expected numbers"),
    ],
)
def test_one_hot_labels(y, message):
    with pytest.raises(ValueError, match=message):
        small_model(loss="categorical_crossentropy").fit(X, y)


ARGUMENTS = {
    "batch size 0": ({"batch_size": 0}, "batch_size=0, expected an integer of at least 1"),
    "batch size -1": ({"batch_size": -1}, "batch_size=-1, expected an int"),
    "batch size float": ({"batch_size": 32.0}, r"batch_size=32\.0, expected an int"),
    "batch size bool": ({"batch_size": True}, "batch_size=True, expected an int"),
    "batch size text": ({"batch_size": "32"}, "batch_size='32', expected an int"),
    "epochs 0": ({"epochs": 0}, "epochs=0, expected an integer of at least 1"),
    "epochs none": ({"epochs": None}, "epochs=None, expected an integer of at least 1"),
    "initial epoch": ({"initial_epoch": -1}, "initial_epoch=-1, expected an integer of at"),
    "initial epoch text": ({"initial_epoch": "1"}, "initial_epoch='1', expected an integer"),
    "split 1": ({"validation_split": 1.0}, r"validation_split=1\.0, expected .* between 0 and 1"),
    "split -1": ({"validation_split": -0.1}, r"validation_split=-0\.1, expected "),
    "split nan": ({"validation_split": np.nan}, "validation_split=nan, expected "),
    "split list": ({"validation_split": []}, r"validation_split=\[\], expected "),
    "split text": ({"validation_split": "a"}, "validation_split='a', expected "),
    "split empty": ({"validation_split": 0.01}, "leaves 19 to train on and 1|leaves 20 to train"),
    "validation labels": ({"validation_data": (X, Y + 5)}, r"validation y\[\d+\] is 1\d, expected"),
    "validation counts": ({"validation_data": (X, Y[:3])}, "validation x has 20 samples and valid"),
    "validation empty": (
        {"validation_data": (X[:0], Y[:0])},
        "validation x: expected 1 image or m",
    ),
    "validation array": ({"validation_data": X}, "validation_data: ndarray, expected a tuple"),
    "validation of 4": ({"validation_data": (X,) * 4}, "validation_data: .* expected a tuple"),
    "verbose": ({"verbose": 7}, "verbose=7, expected 0, 1, 2 or 'auto'"),
    "callback": ({"callbacks": ["stop"]}, "callbacks: .*'stop'.*expected a list of Callback"),
    "callback class": (
        {"callbacks": [EarlyStopping]},
        "callbacks: .*<class.*expected a list of Callback",
    ),
    "callback text": ({"callbacks": "stop"}, "callbacks: 'stop', expected a list of Callback"),
    "class weight": ({"class_weight": {10: 1.0}}, r"class_weight\[10\] = 1.0, .*class from 0 to 9"),
    "class weight -1": ({"class_weight": {-1: 1.0}}, r"class_weight\[-1\] = 1.0, expected"),
    "class weight text": ({"class_weight": {"a": 1.0}}, r"class_weight\['a'\] = 1.0, expected"),
    "class weight nan": ({"class_weight": {1: np.nan}}, r"class_weight\[1\] = nan, expected a fin"),
    "sample weight": ({"sample_weight": np.ones(3)}, r"sample_weight: shape \(3,\), .*\(20,\)"),
    "sample weight inf": ({"sample_weight": np.full(20, np.inf)}, "sample_weight: NaN or infinity"),
    "sample weight text": (
        {"sample_weight": ["a"] * 20},
        "sample_weight: expected a number a samp",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_of_fit(case):
    options, message = ARGUMENTS[case]
    if case == "split empty":
        options, message = {"validation_split": 1e-9}, "leaves 19 to train on|leaves 20 to train on"
        x, y = X[:1], Y[:1]
        message = "validation_split: 1e-09 of 1 examples leaves 0 for training and 1 for valid"
    else:
        x, y = X, Y
    model = small_model()
    before = bits(model)
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, **options)
    assert bits(model) == before


def test_batch_size_of_evaluate_and_predict():
    model = small_model()
    with pytest.raises(ValueError, match="batch_size=0, expected an integer of at least 1"):
        model.evaluate(X, Y, batch_size=0)
    with pytest.raises(ValueError, match="batch_size=0, expected an integer of at least 1"):
        model.predict(X, batch_size=0)


UNKNOWN = {
    "optimizer": (lambda: small_model(optimizer="adm"), "optimizer 'adm'; did you mean 'Adam'?"),
    "loss": (lambda: small_model(loss="mean_square_error"), "did you mean 'mean_squared_error'?"),
    "metric": (
        lambda: Sequential().compile("sgd", "mse", metrics=["acuracy"]),
        "metric 'acuracy'; did you mean 'accuracy'?",
    ),
    "activation": (lambda: Dense(3, "rellu"), "activation 'rellu'; did you mean 'relu'?"),
    "padding": (lambda: Conv2D(3, 3, padding="sme"), "Conv2D padding 'sme'; did you mean 'same'?"),
    "initializer": (
        lambda: Dense(3, kernel_initializer="glorot_unifrm"),
        "'glorot_unifrm'; did you mean 'glorot_uniform'?",
    ),
    "kernels": (lambda: Sequential(kernels="refrence"), "kernel set 'refrence'; did you mean 'ref"),
    "dtype": (
        lambda: Sequential(dtype="float16"),
        "dtype='float16', expected 'float32' or 'float6",
    ),
    "seed": (lambda: Sequential(seed=-1), "seed=-1, expected an integer of at least 0"),
    "metrics": (
        lambda: Sequential().compile("sgd", "mse", metrics=3),
        "metrics=3, expected a list",
    ),
    "argument": (
        lambda: Sequential().compile({"class_name": "Adam", "config": {"beta1": 0.9}}, "mse"),
        "unknown argument of Adam 'beta1'; did you mean 'beta_1'?",
    ),
    "class": (lambda: small_model(optimizer=Adam), "Adam'>; did you mean Adam(...)?"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_names_are_answered_with_the_nearest_known(case):
    make, message = UNKNOWN[case]
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


LAYERS = {
    "filters 0": (lambda: Conv2D(0, 3), "Conv2D: filters=0, expected an integer of at least 1"),
    "filters float": (lambda: Conv2D(2.5, 3), "Conv2D: filters=2.5, expected an integer"),
    "kernel size 0": (lambda: Conv2D(1, 0), "Conv2D: kernel_size=0, expected"),
    "kernel of three": (lambda: Conv2D(1, (1, 2, 3)), r"Conv2D: kernel_size=\(1, 2, 3\), expected"),
    "strides 0": (lambda: Conv2D(1, 3, strides=(1, 0)), "Conv2D: strides=0, expected"),
    "stride and dilation": (
        lambda: Conv2D(1, 3, strides=2, dilation_rate=2),
        "strides=2 with dilation_rate=2, expected only one of them over 1",
    ),
    "pool size": (lambda: MaxPooling2D(-2), "MaxPooling2D: pool_size=-2, expected"),
    "pool strides": (lambda: AveragePooling2D(2, 0), "AveragePooling2D: strides=0, expected"),
    "units": (lambda: Dense(True), "Dense: units=True, expected an integer"),
    "rate": (lambda: Dropout(1.5), "Dropout: rate=1.5, expected a number from 0 to 1"),
    "momentum": (
        lambda: BatchNormalization(momentum=2),
        "momentum=2, expected a number from 0",
    ),
    "epsilon": (lambda: BatchNormalization(epsilon=0), "epsilon=0, expected a number more than 0"),
    "input": (lambda: Input((28, 0, 1)), "Input: shape=0, expected"),
    "input none": (lambda: Input(None), "Input: shape=None, expected"),
    "boundaries": (lambda: PiecewiseConstantDecay(3, [1, 2]), "boundaries=3, values=.*, expected"),
    "values": (lambda: PiecewiseConstantDecay([3], [1]), r"values=\[1\], expected two lists"),
    "alpha": (lambda: CosineDecay(0.1, 10, alpha=None), "CosineDecay: alpha=None, expected"),
    "staircase": (lambda: ExponentialDecay(1, 1, 1, 2), "staircase=2, expected True or False"),
    "rate of learning": (lambda: Adam(-1), "Adam: learning_rate=-1, expected a number >= 0"),
    "rate nan": (lambda: SGD(float("nan")), "SGD: learning_rate=nan, expected"),
    "beta": (lambda: Adam(beta_1=1.0), "Adam: beta_1=1.0, expected a number >= 0 and < 1"),
    "two clips": (lambda: RMSprop(clipnorm=1, clipvalue=1), "RMSprop: .*expected at most one"),
    "clip 0": (lambda: RMSprop(clipnorm=0.0), "RMSprop: .*expected at most one, more than 0"),
    "not a layer": (
        lambda: Sequential([Input((3,)), "dense"]),
        "layer 1: 'dense', expected a Layer",
    ),
    "input inside": (lambda: Sequential([Flatten(), Input((3,))]), "Input: expected as the first"),
    "names": (
        lambda: Sequential([Input((3,)), Dense(1, name="a"), Dense(1, name="a")]),
        "two layers have the same name",
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_arguments_of_layers_and_optimizers(case):
    make, message = LAYERS[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layer_twice_in_a_model():
    layer = Flatten()
    with pytest.raises(
        ValueError, match="'flatten' is in the model already: layers are not shared"
    ):
        Sequential([Input((2, 2, 1)), layer, layer])


SHAPES = {
    "output empty": ([Conv2D(4, 3), MaxPooling2D(2), Conv2D(4, 6)], (12, 10, 1), "conv2d_1: .*6"),
    "pool empty": ([MaxPooling2D(13)], (12, 12, 1), "max_pooling2d: .*13"),
    "dilated": ([Conv2D(1, 3, dilation_rate=6)], (12, 10, 1), "conv2d: "),
    "no flatten": ([Conv2D(4, 3), Dense(3)], (12, 10, 1), r"dense: .*put a Flatten\(\) before it"),
    "no image": (
        [Conv2D(4, 3)],
        (12,),
        r"conv2d: .*expected images \(N, height, width, channels\)",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_layer_that_does_not_fit_is_named(case):
    layers, shape, message = SHAPES[case]
    with pytest.raises(ShapeError, match=message):
        Sequential([Input(shape), *layers], kernels="reference")


def test_a_model_that_failed_to_build_can_be_used_with_the_right_data():
    model = Sequential([Conv2D(4, 5), Flatten(), Dense(10, "softmax")], kernels="reference")
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ShapeError, match="conv2d: "):
        model.fit(X[:, :3], Y)
    for one in (X[0], X[0, ..., None]):
        with pytest.raises(ShapeError, match=r"^x of .* conv2d: .*\(one image\? pass x\[np.newax"):
            model.fit(one, Y[:1])
    model.fit(X, Y, verbose=0)
    assert [layer.name for layer in model.layers] == ["conv2d", "flatten", "dense"]


def test_models_that_cannot_do_what_is_asked_say_what_to_do():
    with pytest.raises(RuntimeError, match=r"call model\.compile\(optimizer, loss\) first"):
        Sequential([Input((12, 10, 1)), Flatten()], kernels="reference").fit(X, Y)
    with pytest.raises(RuntimeError, match=r"no weights yet: start it with Input\(shape\)"):
        Sequential([Dense(3)]).save("never.npz")
    for layers in ([], [Input((3,))]):
        with pytest.raises(ValueError, match="a model without layers: give Sequential a list"):
            Sequential(layers).predict(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"x: shape \(\), expected \(N, \.\.\.\) samples"):
        Sequential([Dense(3)]).predict(5)


def test_set_weights():
    model = small_model()
    weights = model.get_weights()
    with pytest.raises(ShapeError, match=r"weights: 3 arrays, expected 6: \['conv2d/kernel', "):
        model.set_weights(weights[:3])
    wrong = [*weights[:2], np.ones((7, 7)), *weights[3:]]
    with pytest.raises(ShapeError, match=r"dense/kernel: shape \(7, 7\), expected \(\d+, 24\)"):
        model.set_weights(wrong)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
@pytest.mark.parametrize("content", [b"", b"not a model" * 100])
def test_a_model_file_that_is_not_one(tmp_path, ending, content):
    path = tmp_path / f"model.{ending}"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"model.{ending}: "):
        load_model(path)


def test_a_model_file_of_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match=r"model\.pkl: unknown kind of model file, .*\.npz"):
        small_model().save(tmp_path / "model.pkl")
    with pytest.raises(ValueError, match="unknown kind of model file"):
        load_model(tmp_path / "model.pkl")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing.npz")


def test_input_of_every_numeric_kind_is_taken():
    model = small_model()
    expected = model.predict(X / 255)
    for x in (
        (X / 255).astype(">f8"),
        np.asfortranarray((X / 255)[..., None]),
        (X / 255)[::-1][::-1],
        (X / 255).tolist(),
        (X / 255).astype("f2").astype("f4"),
    ):
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-2)
    model.predict(X > 100)
    read_only = FLOATS.copy()
    read_only.flags.writeable = False
    model.fit(read_only, Y, verbose=0)
    for labels in (Y.tolist(), Y.astype("u1"), Y.astype(">i8"), Y[:, None]):
        model.evaluate(X, labels)


def test_activation_needs_no_input_shape_of_its_own():
    model = Sequential([Input((5,)), Activation("tanh")], kernels="reference")
    np.testing.assert_allclose(model.predict(np.ones((2, 5))), np.tanh(np.ones((2, 5))), rtol=1e-6)
