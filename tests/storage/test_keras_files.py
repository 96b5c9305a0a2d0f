"""Files that Keras opens and files that Keras wrote: same weights, predictions, optimizer state.

Four small files by real Keras 2 and 3 lie in golden/ (and the script that made them), so reading is
tested everywhere; the rest needs Keras itself, of the `[parity]` extra.
"""

import json

import numpy as np
import pytest

import nanocnn
from nanocnn import storage
from support.paths import GOLDEN

pytest.importorskip("h5py", reason="h5py is not installed")
VALUES = json.loads((GOLDEN / "keras_files.json").read_text())
LAYERS = ["input_layer", "conv2d", "batch_normalization", "max_pooling2d", "dropout", "flatten"]


@pytest.mark.parametrize("name", ["keras3.h5", "keras3.keras", "keras2.h5", "keras2_old.h5"])
def test_reads_what_keras_wrote(name):
    want, snapshot = VALUES[name], storage.load(GOLDEN / name)
    assert [entry["config"]["name"] for entry in snapshot.config["layers"]][1:] == [
        *LAYERS[1:],
        "dense",
    ]
    for array, values in zip(snapshot.weights.values(), want["weights"], strict=True):
        assert array.ravel().tolist() == values
    assert snapshot.optimizer.pop("iteration") == want["iteration"]
    assert set(snapshot.optimizer) == set(want["optimizer"])
    for key, array in snapshot.optimizer.items():
        assert array.ravel().tolist() == want["optimizer"][key], key
    assert snapshot.compile_config["loss"]["class_name"] == "SparseCategoricalCrossentropy"
    assert snapshot.compile_config["metrics"] == ["accuracy"]
    model = nanocnn.load_model(GOLDEN / name, kernels="reference")
    got = model.predict(np.array(VALUES["x"], np.float32))
    np.testing.assert_allclose(got, want["predictions"], rtol=1e-5)


def test_training_configuration_of_keras():
    optimizer = storage.load(GOLDEN / "keras3.keras").compile_config["optimizer"]
    assert optimizer["class_name"] == "Adam" and optimizer["config"]["clipnorm"] == 1.0
    assert optimizer["config"]["learning_rate"]["class_name"] == "CosineDecay"
    optimizer = storage.load(GOLDEN / "keras2.h5").compile_config["optimizer"]
    assert optimizer["class_name"] == "RMSprop" and optimizer["config"]["centered"] is True
    layer = storage.load(GOLDEN / "keras2.h5").config["layers"][1]["config"]
    assert layer["kernel_regularizer"]["config"]["l2"] == pytest.approx(1e-3)


# --- With Keras itself ----------------------------------------------------------------------------

with_keras = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


OPTIMIZERS = [
    ("Adam", {}),
    ("AdamW", {"amsgrad": True, "global_clipnorm": 1.0}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "clipvalue": 0.5}),
    ("SGD", {}),
    ("Adadelta", {"rho": 0.9}),
    ("Nadam", {"clipnorm": 1.0}),
]


def make(library, name="model"):
    """The same model in Keras and in nanocnn, with every layer."""
    layers = getattr(library, "layers", library)
    last = layers.Dense(4, kernel_initializer="he_normal", activation="softmax")
    model = [
        library.Input((9, 8, 2)),
        layers.Conv2D(3, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Conv2D(4, (2, 1), dilation_rate=2, kernel_regularizer="l2"),
        layers.Activation("tanh"),
        layers.MaxPooling2D((2, 1)),
        layers.AveragePooling2D(2, strides=1, padding="same"),
        layers.Dropout(0.0),
        layers.Flatten(),
        last,
    ]
    return library.Sequential(model, name=name)


def data():
    rng = np.random.default_rng(3)
    return rng.random((16, 9, 8, 2)).astype(np.float32), rng.integers(0, 4, 16)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_initializers_keep_their_names(keras, tmp_path, suffix):
    def made(library):
        layers = getattr(library, "layers", library)
        last = layers.Dense(3, kernel_initializer="normal", bias_initializer="uniform")
        return library.Sequential([library.Input((4,)), last])

    theirs, want = made(keras), ["RandomNormal", "RandomUniform"]
    theirs.save(tmp_path / f"theirs{suffix}")
    config = nanocnn.load_model(tmp_path / f"theirs{suffix}").get_config()["layers"][1]["config"]
    assert [config[f"{each}_initializer"]["class_name"] for each in ("kernel", "bias")] == want
    made(nanocnn).save(tmp_path / f"ours{suffix}")
    layer = keras.saving.load_model(tmp_path / f"ours{suffix}").layers[-1]
    for each in ("kernel_initializer", "bias_initializer"):
        ours, known = getattr(layer, each), getattr(theirs.layers[-1], each)
        assert type(ours) is type(known) and ours.get_config() == known.get_config()


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
class TestWithKeras:
    pytestmark = with_keras

    def test_keras_to_nanocnn_and_back(self, keras, tmp_path, suffix, name, options):
        """Trained by Keras, trained on here: the same as trained on by Keras. Then back again."""
        keras.utils.clear_session()
        x, y = data()
        schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)
        theirs = make(keras)
        theirs.compile(
            optimizer=getattr(keras.optimizers, name)(schedule, **options),
            loss=keras.losses.SparseCategoricalCrossentropy(),
            metrics=["accuracy", keras.metrics.SparseCategoricalAccuracy()],
        )
        for _ in range(3):
            theirs.train_on_batch(x, y)
        theirs.save(tmp_path / f"theirs{suffix}")
        ours = nanocnn.load_model(tmp_path / f"theirs{suffix}", kernels="reference")
        self.assert_equal_weights(ours, theirs, rtol=0)
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-5)
        assert ours.get_config()["layers"][3]["config"]["kernel_regularizer"]["config"][
            "l2"
        ] == pytest.approx(0.01)
        for _ in range(3):
            ours.train_on_batch(x, y)
            theirs.train_on_batch(x, y)
        self.assert_equal_weights(ours, theirs, rtol=2e-3)

        ours.save(tmp_path / f"ours{suffix}")
        again = keras.models.load_model(tmp_path / f"ours{suffix}")
        self.assert_equal_weights(ours, again, rtol=0)
        np.testing.assert_allclose(ours.predict(x), again.predict(x, verbose=0), rtol=1e-5)
        assert again.layers[2].get_config()["kernel_regularizer"]["config"]["l2"] == pytest.approx(
            0.01
        )
        loss, *_ = again.evaluate(x, y, verbose=0)
        assert loss == pytest.approx(ours.evaluate(x, y, verbose=0)[0], rel=1e-4)
        if suffix == ".keras":  # out of .h5, Keras 3 restores no optimizer: see keras_hdf5.py
            assert int(again.optimizer.iterations) == 6
        else:
            theirs.optimizer.iterations.assign(0)
            assert int(again.optimizer.iterations) == 0
        again.train_on_batch(x, y)
        if suffix == ".keras":
            ours.train_on_batch(x, y)
            self.assert_equal_weights(ours, again, rtol=2e-3)

    @staticmethod
    def assert_equal_weights(ours, theirs, rtol):
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100)


def conv(filters, size, **options):
    return nanocnn.Conv2D(filters, size, activation="relu", **options)


def dense(units, activation="relu"):
    return nanocnn.Dense(units, activation=activation)


PRESETS = {
    "lenet": lambda: [
        conv(20, 5, padding="same"), nanocnn.MaxPooling2D(2), conv(50, 5, padding="same"),
        nanocnn.MaxPooling2D(2), nanocnn.Flatten(), dense(500),
    ],
    "simple": lambda: [
        conv(32, 3), nanocnn.MaxPooling2D(2), nanocnn.Flatten(), nanocnn.Dropout(0.2), dense(128),
    ],
    "dropout": lambda: [
        conv(32, 3), conv(64, 3), nanocnn.MaxPooling2D(2), nanocnn.Dropout(0.25),
        nanocnn.Flatten(), dense(128), nanocnn.Dropout(0.5),
    ],
    "two-block": lambda: [
        conv(32, 3), nanocnn.MaxPooling2D(2), conv(64, 3), nanocnn.MaxPooling2D(2),
        nanocnn.Flatten(), dense(64),
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("preset", PRESETS)
def test_keras_opens_the_presets(keras, tmp_path, preset, suffix):
    """The reference projects' models, trained for a step: opened by Keras, same predictions."""
    keras.utils.clear_session()
    layers = [nanocnn.Input((28, 28, 1)), *PRESETS[preset](), dense(10, "softmax")]
    model = nanocnn.Sequential(layers, kernels="reference")
    one_hot = preset == "two-block"
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    model.compile("rmsprop" if preset == "dropout" else "adam", loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.random((4, 28, 28, 1)).astype(np.float32), rng.integers(0, 10, 4)
    y = np.eye(10, dtype=np.float32)[y] if one_hot else y
    model.train_on_batch(x, y)
    model.save(tmp_path / f"m{suffix}")
    opened = keras.models.load_model(tmp_path / f"m{suffix}")
    for a, b in zip(model.get_weights(), opened.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()
    np.testing.assert_allclose(opened.predict(x, verbose=0), model.predict(x), rtol=1e-4, atol=1e-6)
    assert opened.evaluate(x, y, verbose=0) == pytest.approx(
        model.evaluate(x, y, verbose=0), rel=1e-4
    )
    opened.fit(x, y, verbose=0)
