"""Files of many versions of Keras, also of inner models: same predictions.

golden/keras has small files that these versions wrote (make_keras_versions.py); files in the form
of Keras 2.2 are made here.
"""

import json
import re

import numpy as np
import pytest

import nanocnn
from nanocnn.common.errors import ModelFileError
from nanocnn.storage.keras_chain import flatten
from support.paths import GOLDEN

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
FILES = GOLDEN / "keras"
VALUES = json.loads((FILES / "predictions.json").read_text())
X = np.array(VALUES["x"], np.float32)
WEIGHTS = [name for name in VALUES if re.search("_flat.weights.h5|_old_|_functional", name)]
MODELS = [name for name in VALUES if name not in {"x", "3.15_mixed.keras", *WEIGHTS}]


def assert_predicts(model, name, tolerance=1e-6):
    want = np.array(VALUES[name])
    assert np.abs(model.predict(X) - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize("name", MODELS)
def test_models_predict_what_keras_predicts(name):
    model = nanocnn.load_model(FILES / name, kernels="reference")
    assert_predicts(model, name)
    assert len({layer.name for layer in model.layers}) == len(model.layers)


def test_mixed_float16_is_computed_in_float32_and_said_once():
    with pytest.warns(UserWarning, match="^mixed_float16: .* computed in float32") as caught:
        model = nanocnn.load_model(FILES / "3.15_mixed.keras", kernels="reference")
    assert len(caught) == 1 and model.dtype == np.float32
    assert_predicts(model, "3.15_mixed.keras", 1e-3)  # Keras rounds to 11 bits


def flat():
    layers = [nanocnn.Conv2D(2, 3, activation="relu"), nanocnn.BatchNormalization(),
              nanocnn.Flatten(), nanocnn.Dense(3, activation="softmax")]  # fmt: skip
    return nanocnn.Sequential([nanocnn.Input((6, 6, 1)), *layers], kernels="reference")


@pytest.mark.parametrize("name", [*WEIGHTS, "3.0_flat.h5"])
def test_weights_of_many_versions(name):
    model = flat()
    model.load_weights(FILES / name)
    assert_predicts(model, name)


# --- Keras 2.2 -----------------------------------------------------------------------------------


def layer(class_name, name, **config):
    common = {"name": name, "trainable": True}
    if class_name == "Dense":
        common |= {"use_bias": True, "kernel_regularizer": None, "kernel_constraint": None}
        common["kernel_initializer"] = {"class_name": "VarianceScaling", "config": {"seed": None}}
    return {"class_name": class_name, "config": {**common, **config}}


def keras22(path, layers, weights, *, listed=True, optimizer=None):
    """Write a model as Keras before 2.2.3 did (`listed`), or until 2.3."""
    config = layers if listed else {"name": "sequential_1", "layers": layers}
    training = {"loss": "categorical_crossentropy", "metrics": ["accuracy"], "loss_weights": None,
                "sample_weight_mode": None, "optimizer_config": optimizer}  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.2.2"
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": config}
        ).encode()
        if optimizer:
            file.attrs["training_config"] = json.dumps(training).encode()
        groups = file.create_group("model_weights")
        groups.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            group = groups.create_group(name)
            group.attrs["weight_names"] = [f"{path}:0".encode() for path in arrays]
            for path, array in arrays.items():
                group[f"{path}:0"] = array


RNG = np.random.default_rng(0)
K1, K2, B = RNG.random((4, 3), np.float32), RNG.random((3, 3), np.float32), np.ones(3, np.float32)


@pytest.mark.parametrize("listed", [True, False])
def test_keras_2_2_with_its_lr_and_decay(tmp_path, listed):
    first = layer("Flatten", "flatten_1", batch_input_shape=[None, 2, 2, 1], dtype="float32")
    layers = [first, layer("Dense", "dense_1", units=3, activation="softmax")]
    weights = {"flatten_1": {}, "dense_1": {"dense_1/kernel": K1, "dense_1/bias": B}}
    rmsprop = {"class_name": "RMSprop", "config": {"lr": 0.25, "rho": 0.9, "decay": 0.0}}
    keras22(tmp_path / "a.h5", layers, weights, listed=listed, optimizer=rmsprop)
    model = nanocnn.load_model(tmp_path / "a.h5", kernels="reference")
    assert model.optimizer.learning_rate == 0.25
    logits = X[:, :2, :2, 0].reshape(4, 4) @ K1 + B
    want = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(X[:, :2, :2]), want, rtol=1e-6)
    rmsprop["config"]["decay"] = 1e-6
    keras22(tmp_path / "a.h5", layers, weights, listed=listed, optimizer=rmsprop)
    with pytest.warns(UserWarning, match="opened to predict: .*decay=1e-06"):
        model = nanocnn.load_model(tmp_path / "a.h5", kernels="reference")
    np.testing.assert_allclose(model.predict(X[:, :2, :2]), want, rtol=1e-6)


def test_inner_models_of_keras_2_with_frozen_layers(tmp_path):
    """Keras lists the weights that are not trained last: found by name, not in that order."""
    dense = [layer("Dense", f"dense_{i}", units=3, trainable=i > 1) for i in (1, 2)]
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": dense}}
    first = layer("InputLayer", "input_1", batch_input_shape=[None, 3])
    arrays = {"dense_2/kernel": K2, "dense_2/bias": B, "dense_1/kernel": K2.T, "dense_1/bias": -B}
    keras22(tmp_path / "a.h5", [first, inner], {"inner": arrays}, listed=False)
    model = nanocnn.load_model(tmp_path / "a.h5", kernels="reference")
    assert [each.trainable for each in model.layers] == [False, True]
    for _ in range(2):
        want = (X[:3, :3, 0, 0] @ K2.T - B) @ K2 + B
        np.testing.assert_allclose(model.predict(X[:3, :3, 0, 0]), want, rtol=1e-5)
        model.set_weights([0 * each for each in model.get_weights()])
        model.load_weights(tmp_path / "a.h5")


def test_frozen_layers_of_equal_names_in_several_inner_models(tmp_path):
    """Each model lists the weights of dense_2 before those of the frozen dense_1."""
    dense = [layer("Dense", f"dense_{i}", units=3, trainable=i > 1) for i in (1, 2)]
    inner = [{"class_name": "Sequential", "config": {"name": n, "layers": dense}} for n in "ab"]
    first = layer("InputLayer", "input_1", batch_input_shape=[None, 3])
    arrays = {"dense_2/kernel": K2, "dense_2/bias": B, "dense_1/kernel": K2.T, "dense_1/bias": -B}
    keras22(tmp_path / "a.h5", [first, *inner], {"a": arrays, "b": arrays}, listed=False)
    model = nanocnn.load_model(tmp_path / "a.h5", kernels="reference")
    kernels = [each.params["kernel"] for each in model.layers]
    for kernel, want in zip(kernels, [K2.T, K2, K2.T, K2], strict=True):
        np.testing.assert_array_equal(kernel, want)


# --- Chains ---------------------------------------------------------------------------------------


def test_equal_names_in_inner_models_become_unique():
    inner = {"class_name": "Sequential", "config": {"name": "m", "trainable": False, "layers": [
        layer("InputLayer", "input_1", batch_shape=[None, 3]), layer("Dense", "dense", units=3),
    ]}}  # fmt: skip
    layers = [layer("Dense", "dense", units=3), inner, {**inner, "config": {**inner["config"]}},
              layer("Dense", "dense_1", units=3)]  # fmt: skip
    flat, places = flatten({"class_name": "Sequential", "config": {"layers": layers}})
    configs = [each["config"] for each in flat["config"]["layers"]]
    assert [each["name"] for each in configs] == ["dense", "dense_1", "dense_2", "dense_1_1"]
    assert [each["trainable"] for each in configs] == [True, False, False, True]
    assert places["dense_2"].names == ("m", "dense")
    assert places["dense_2"].steps == (("sequential", 1), ("dense", 0))
    assert places["dense_1_1"].steps == (("dense", 1),)


def test_functional_models_are_refused_with_advice():
    with pytest.raises(ModelFileError, match=r"Functional.*save keras\.Sequential\(model\."):
        nanocnn.load_model(FILES / "2.12_functional.h5")
