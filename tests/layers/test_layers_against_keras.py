"""Layers with arguments against real Keras: forward, backward, and models in each other's files.

Constants are exact in float32, since TensorFlow rounds Python's numbers to that also in float64.
Needs the `[parity]` extra.
"""

import os

import numpy as np
import pytest

import nanocnn
from nanocnn.kernels import KERNEL_SETS, get_kernels
from support.compare import relative_error
from support.small_models import SPARSE

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # before anything imports Keras
pytestmark = pytest.mark.slow

IMAGES, ROWS = (4, 6, 5, 3), (4, 7)
CASES = [
    ("Activation", IMAGES, {"activation": "elu"}),
    ("ReLU", IMAGES, {}),
    ("ReLU", IMAGES, {"max_value": 1.0}),
    ("ReLU", IMAGES, {"max_value": 6.0, "negative_slope": 0.25, "threshold": 0.75}),
    ("ReLU", IMAGES, {"max_value": 0.25, "threshold": 0.75}),
    ("ReLU", ROWS, {"max_value": 0.0, "negative_slope": 0.5}),
    ("LeakyReLU", IMAGES, {"negative_slope": 0.125}),
    ("LeakyReLU", ROWS, {"negative_slope": 1.5}),
    ("Softmax", IMAGES, {}),
    ("Softmax", ROWS, {"axis": 1}),
    ("GlobalAveragePooling2D", IMAGES, {}),
    ("GlobalAveragePooling2D", IMAGES, {"keepdims": True}),
    ("GlobalMaxPooling2D", IMAGES, {}),
    ("GlobalMaxPooling2D", IMAGES, {"keepdims": True}),
    ("Reshape", IMAGES, {"target_shape": (15, -1)}),
    ("ZeroPadding2D", IMAGES, {}),
    ("ZeroPadding2D", IMAGES, {"padding": (1, 2)}),
    ("ZeroPadding2D", IMAGES, {"padding": ((1, 0), (2, 3))}),
    ("Rescaling", IMAGES, {"scale": 0.125, "offset": -1.0}),
    ("Rescaling", IMAGES, {"scale": [1.0, 2.0, 3.0], "offset": [0.0, 1.0, 2.0]}),
    ("Normalization", IMAGES, {"mean": 2.0, "variance": 3.0}),
    ("Normalization", IMAGES, {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 0.0, 0.5]}),
    ("Normalization", IMAGES, {"axis": None, "mean": 2.0, "variance": 3.0, "invert": True}),
    ("Normalization", IMAGES, {}),  # adapted
    ("Normalization", ROWS, {"axis": None, "invert": True}),
]


@pytest.fixture
def keras():
    found = pytest.importorskip("keras", reason="Keras is not installed: pip install '.[parity]'")
    if found.backend.backend() != "tensorflow":
        pytest.skip(f"Keras runs on {found.backend.backend()}")
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind, shape, options", CASES)
def test_forward_and_backward(keras, rng, kind, shape, options, ties):
    import tensorflow as tf

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    x, data = 2 * rng.standard_normal(shape), 1 + 3 * rng.standard_normal((50, *shape[1:]))
    if ties:
        x = np.round(x) + 0.5  # not at a kink
    twin = getattr(keras.layers, kind)(**options)
    if adapts := kind == "Normalization" and "mean" not in options:
        twin.adapt(data)
    with tf.GradientTape() as tape:
        tape.watch(variable := tf.constant(x))
        y = twin(variable)
        dy = rng.standard_normal(y.shape)
        loss = tf.reduce_sum(y * dy)
    dx = tape.gradient(loss, variable).numpy()
    for kernels in KERNEL_SETS:
        layer = getattr(nanocnn, kind)(**options)
        if adapts:
            layer.adapt(data)
        layer.build(shape[1:], dtype="float64", kernels=get_kernels(kernels))
        assert relative_error(layer.forward(x, True), y.numpy()) < 1e-10
        assert relative_error(layer.backward(dy), dx) < 1e-10


def layers(keras, library, x):
    """One of each, for images of 8x7x1."""
    normal = library.Normalization()
    normal.adapt(x)
    conv = library.Conv2D
    return [
        keras.layers.Input((8, 7, 1)) if library is keras.layers else nanocnn.Input((8, 7, 1)),
        library.Rescaling(0.5, -0.25), normal, library.Normalization(mean=[1.5], variance=[2.0]),
        library.Normalization(axis=None, mean=0.5, variance=2.0, invert=True),
        library.ZeroPadding2D(((1, 0), (2, 1))), conv(4, 3),
        library.ReLU(max_value=1.5, negative_slope=0.25, threshold=0.125),
        conv(5, 2, activation="gelu"), library.LeakyReLU(0.25), conv(6, 2, activation="elu"),
        library.Reshape((-1, 6, 3)), library.GlobalMaxPooling2D(keepdims=True),
        conv(5, 1, activation="leaky_relu"), library.Activation("gelu"),
        library.GlobalAveragePooling2D(), library.Dense(4), library.Softmax(),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_files_are_read_by_the_other(keras, rng, tmp_path, suffix):
    """And by the writer itself."""
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    x, y = rng.random((20, 8, 7, 1)).astype("float32"), rng.integers(0, 4, 20)
    mine = nanocnn.Sequential(layers(keras, nanocnn, x))
    theirs = keras.Sequential(layers(keras, keras.layers, x))
    for writer, path in ((mine, tmp_path / f"mine{suffix}"), (theirs, tmp_path / f"keras{suffix}")):
        writer.compile("adam", SPARSE)
        writer.fit(x, y, epochs=1, verbose=0)
        writer.save(str(path))
        expected = writer.predict(x) if writer is mine else writer.predict(x, verbose=0)
        assert relative_error(nanocnn.load_model(path).predict(x), expected) < 1e-6
        assert relative_error(keras.models.load_model(path)(x).numpy(), expected) < 1e-6
        nanocnn.load_model(path).fit(x, y, epochs=1, verbose=0)
    mine.set_weights(theirs.get_weights())
    assert relative_error(mine.predict(x), theirs(x).numpy()) < 1e-6
