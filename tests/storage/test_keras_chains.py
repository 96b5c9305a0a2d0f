"""Random chains of all layers, written by the installed Keras and opened here, and the reverse."""

import numpy as np
import pytest

import nanocnn
from nanocnn.layers import LAYERS
from nanocnn.models import model_from_json
from nanocnn.storage.keras_config import OWN_LAYERS

pytest.importorskip("h5py", reason="h5py is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),  # of one channel
]

ACTIVATIONS = ["relu", "tanh", "sigmoid", "linear", "softmax", "elu", "leaky_relu", "gelu"]
# Arguments to choose from, by class: of layers on images, and of layers on anything.
IMAGES = {
    "Conv2D": dict(filters=[1, 3], kernel_size=[1, 2, (3, 2)], strides=[1, 2],
                   padding=["same"], activation=ACTIVATIONS, use_bias=[True, False]),
    "MaxPooling2D": dict(pool_size=[2, (1, 2)], strides=[None, 1], padding=["same"]),
    "AveragePooling2D": dict(pool_size=[2, (1, 2)], strides=[None, 1], padding=["same"]),
    "ZeroPadding2D": dict(padding=[1, (0, 2), ((1, 0), (2, 1))]),
    "RandomErasing": dict(factor=[0.5, (0.0, 1.0)], fill_value=[0.0]),
    "RandomRotation": dict(factor=[0.1, (-0.1, 0.2)], fill_mode=["reflect", "constant"]),
    "RandomShear": dict(x_factor=[0.0, 0.2], y_factor=[(0.0, 0.3)]),
    "RandomTranslation": dict(height_factor=[0.2], width_factor=[(-0.1, 0.1)], seed=[None, 7]),
    "RandomZoom": dict(height_factor=[0.1], width_factor=[None, (-0.2, 0.0)]),
}  # fmt: skip
ANY = {
    "BatchNormalization": dict(center=[True, False], scale=[True, False]),
    "Activation": dict(activation=ACTIVATIONS),
    "Dropout": dict(rate=[0.0, 0.5]),
    "ReLU": dict(max_value=[None, 0.5], negative_slope=[0.0, 0.1], threshold=[0.0, 0.2]),
    "LeakyReLU": dict(negative_slope=[0.3, 0.1]),
    "Softmax": dict(axis=[-1]),
    "Rescaling": dict(scale=[1 / 127.5, 2.0], offset=[0.0, -1.0]),
    "Normalization": dict(axis=[-1]),
}
END = {
    "Flatten": {},
    "GlobalAveragePooling2D": dict(keepdims=[False]),
    "GlobalMaxPooling2D": dict(keepdims=[False]),
    "Reshape": dict(target_shape=[(-1,)]),
}
DENSE = {"Dense": dict(units=[3, 5], activation=ACTIVATIONS, use_bias=[True, False])}
X = np.random.default_rng(9).normal(size=(5, 9, 8, 2)).astype(np.float32)


def test_all_layers_take_part():
    assert {*LAYERS} - {*IMAGES, *ANY, *END, *DENSE} == {"InputLayer", *OWN_LAYERS}


def chain(keras, rng):
    """A model of Keras's with layers drawn by `rng`; some of them in an inner model."""

    def some(table, most):
        names = sorted(table.keys() & LAYERS.keys())
        return [make(table, names[rng.integers(len(names))]) for _ in range(rng.integers(most + 1))]

    def make(table, name):
        options = {key: values[rng.integers(len(values))] for key, values in table[name].items()}
        known = nanocnn.layers.activation.ACTIVATIONS
        if options.get("activation", "relu") not in known:
            options["activation"] = "relu"
        return getattr(keras.layers, name)(**options)

    ends = sorted(END.keys() & LAYERS.keys())
    layers = [*some({**IMAGES, **ANY}, 6), make(END, ends[rng.integers(len(ends))])]
    layers += [*some({**DENSE, **ANY}, 4), make(DENSE, "Dense")]
    if rng.random() < 0.5:
        first = int(rng.integers(len(layers)))
        layers[first:] = [keras.Sequential(layers[first:], name="inner"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((9, 8, 2)), *layers])
    model.set_weights(
        [
            w if w.dtype.kind != "f" else (rng.uniform(0.1, 0.6, w.shape)).astype(w.dtype)
            for w in model.get_weights()
        ]
    )
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Normalization":
            layer.finalize_state()
    return model


def assert_close(got, want):
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()


@pytest.mark.parametrize("seed", range(25))
def test_random_chains(keras, tmp_path, seed):
    keras.utils.clear_session()
    theirs = chain(keras, np.random.default_rng(seed))
    want = theirs.predict(X, verbose=0)
    for suffix in (".keras", ".h5"):
        theirs.save(tmp_path / f"theirs{suffix}")
        ours = nanocnn.load_model(tmp_path / f"theirs{suffix}", kernels="reference")
        assert_close(ours.predict(X), want)
        ours.save(tmp_path / f"ours{suffix}")
        assert_close(
            keras.models.load_model(tmp_path / f"ours{suffix}").predict(X, verbose=0), want
        )
    built = model_from_json(theirs.to_json(), kernels="reference")
    assert [w.shape for w in built.get_weights()] == [w.shape for w in theirs.get_weights()]
    built.load_weights(tmp_path / "theirs.h5")
    assert_close(built.predict(X), want)
    ours.save_weights(tmp_path / "ours.weights.h5")
    again = keras.models.model_from_json(ours.to_json())
    again.load_weights(tmp_path / "ours.weights.h5")
    assert_close(again.predict(X, verbose=0), want)
    if not any(isinstance(layer, keras.Sequential) for layer in theirs.layers):
        theirs.save_weights(tmp_path / "theirs.weights.h5")
        built.set_weights([0 * each for each in built.get_weights()])
        built.load_weights(tmp_path / "theirs.weights.h5")
        assert_close(built.predict(X), want)
