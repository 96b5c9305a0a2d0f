"""Files of weights alone, and JSON of models alone: nanocnn's own and Keras's, both ways."""

import json

import numpy as np
import pytest

import nanocnn
from nanocnn import storage
from nanocnn.common.errors import ModelFileError
from nanocnn.models import model_from_json
from support.custom_layers import Scale
from support.snapshots import small

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
X = np.random.default_rng(0).random((6, 6, 5, 1), np.float32)
Y = np.arange(6) % 3


def model(seed=0, units=3, **options):
    layers = [nanocnn.Input((6, 5, 1)), nanocnn.Conv2D(2, 3), nanocnn.BatchNormalization(),
              nanocnn.Flatten(), nanocnn.Dense(4), nanocnn.Dense(units, "softmax")]  # fmt: skip
    made = nanocnn.Sequential(layers, seed=seed, kernels="reference", **options)
    made.compile(nanocnn.Adam(0.01), "sparse_categorical_crossentropy")
    return made


def same(a, b):
    return [x.tobytes() for x in a.get_weights()] == [y.tobytes() for y in b.get_weights()]


@pytest.mark.parametrize("suffix", [".weights.h5", ".npz", ".h5", ".keras", ".whole.npz"])
def test_weights_are_saved_and_loaded(tmp_path, suffix):
    first, second = model(), model(seed=1)
    path = tmp_path / f"m{suffix}"
    first.save_weights(path) if suffix in (".weights.h5", ".npz") else first.save(path)
    assert not same(first, second)
    second.load_weights(path)
    assert same(first, second)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_optimizer_goes_on_from_a_weights_file(tmp_path, dtype):
    first, second = model(dtype=dtype), model(seed=1, dtype=dtype)
    first.fit(X, Y, epochs=3, verbose=0)
    first.optimizer.learning_rate = 0.25
    first.save_weights(tmp_path / "m.weights.h5")
    second.load_weights(tmp_path / "m.weights.h5")  # as in Keras: it has made no step yet
    assert same(first, second) and second.optimizer.iterations == 0
    second.train_on_batch(X, Y)
    second.load_weights(tmp_path / "m.weights.h5")
    assert second.optimizer.iterations == 3 and second.optimizer.learning_rate == 0.25
    first.train_on_batch(X, Y)
    second.train_on_batch(X, Y)
    assert same(first, second)


def test_a_wrong_layer_is_named_before_any_weight_changes(tmp_path):
    first, second = model(), model(seed=1, units=5)
    for name in ("m.weights.h5", "m.npz", "m.h5", "m.keras"):
        path = tmp_path / name
        first.save(path) if name in ("m.h5", "m.keras") else first.save_weights(path)
        before = model(seed=1, units=5)
        message = (
            r"layer 'dense_1': weights of shapes \[\(4, 3\), \(3,\)\] at .*, expected \[\(4, 5"
        )
        with pytest.raises(ModelFileError, match=rf"{name}: {message}"):
            second.load_weights(path)
        assert same(before, second)
        with pytest.warns(UserWarning, match=rf"{name}: skipped {message}"):
            second.load_weights(path, skip_mismatch=True)
        changed = [(a != b).any() for a, b in zip(
            before.get_weights(), second.get_weights(), strict=True)]  # fmt: skip
        assert changed[0] and not any(changed[-2:])
        assert (second.layers[3].params["kernel"] == first.layers[3].params["kernel"]).all()
        second.set_weights(before.get_weights())


def test_other_numbers_of_layers(tmp_path):
    first = model()
    first.save_weights(tmp_path / "m.npz")
    first.save_weights(tmp_path / "m.weights.h5")
    first.add(nanocnn.Dense(3, activation="softmax"))
    with pytest.raises(ModelFileError, match=r"m.npz: 4 layers with weights .*, expected 5: "):
        first.load_weights(tmp_path / "m.npz")
    with pytest.raises(
        ModelFileError, match=r"'dense_2': weights of shapes \[\] at layers/dense_2"
    ):
        first.load_weights(tmp_path / "m.weights.h5")


def test_names_and_files_that_are_refused(tmp_path):
    first, path = model(), tmp_path / "m.weights.h5"
    for name in ("m.h5", "m.keras"):
        with pytest.raises(ValueError, match=r"expected a name ending in \.weights\.h5 or \.npz"):
            first.save_weights(tmp_path / name)
    with pytest.raises(ValueError, match="unknown kind of model file"):
        first.save_weights(tmp_path / "m")
    with pytest.raises(ValueError, match=r"a \.weights\.h5 has no model: save_weights"):
        first.save(path)
    first.save_weights(path)
    for save in (first.save_weights, first.save):
        target = path if save == first.save_weights else tmp_path / "m.npz"
        save(target)
        old = target.read_bytes()
        with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
            save(target, overwrite=False)
        assert target.read_bytes() == old
    with pytest.raises(RuntimeError, match="no weights yet"):
        nanocnn.Sequential([nanocnn.Dense(3)]).load_weights(path)
    path.write_bytes(b"PK")
    with pytest.raises(ModelFileError, match=r"m\.weights\.h5: not an HDF5 file: it looks like"):
        first.load_weights(path)


def test_custom_layers_have_weights_files(tmp_path):
    def made(seed):
        layers = [nanocnn.Input((4,)), nanocnn.Dense(3), Scale(), nanocnn.Dense(2)]
        return nanocnn.Sequential(layers, seed=seed, kernels="reference")

    first, second = made(0), made(1)
    first.set_weights([each + 1 for each in first.get_weights()])
    first.save_weights(tmp_path / "m.weights.h5")
    second.load_weights(tmp_path / "m.weights.h5")
    assert same(first, second)
    with pytest.raises(ValueError, match="custom layer"):
        first.save_weights(tmp_path / "m.npz")


def test_without_its_optimizer(tmp_path):
    first = model()
    for name in ("m.npz", "m.h5", "m.keras"):
        first.save(tmp_path / name, include_optimizer=False)
        assert storage.load(tmp_path / name).compile_config is None
    assert first.optimizer is not None and storage.load(tmp_path / "m.npz").weights


# --- Hostile files of weights --------------------------------------------------------------------


def hostile(path, change):
    model().save_weights(path)
    with h5py.File(path, "r+") as file:
        change(file)


def external(file):
    del file["layers/dense"]
    file["layers/dense"] = h5py.ExternalLink("/etc/passwd", "/")


def huge(file):
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", (24, 4), "f4")  # implied zeros, not stored


def names(value):
    def change(file):
        file.attrs["layer_names"] = value

    return change


def repeated(file):
    file["layers"].attrs["weight_names"] = np.array([b"dense/vars/0"] * 100)
    file.attrs["layer_names"] = np.array([b"layers"] * 2000)


HOSTILE = [
    (repeated, "weight_names: expected strings, no larger than the file"),
    (external, "ExternalLink, expected a hard link"),
    (huge, "more than the file contains"),
    (lambda f: f["layers/dense/vars"].pop("0"), r"layer 'dense': weights of shapes .*, expected"),
    (lambda f: f["layers/dense/vars"].create_dataset("2", data=1.0), "layer 'dense': weights of"),
    (lambda f: f["layers/dense/vars"].move("0", "x"), "'dense': weights of shapes"),
    (lambda f: f.pop("layers"), "'conv2d': weights of shapes .* at layers/conv2d/vars, expected"),
    (names(3), "attribute layer_names: expected strings"),
    (names([1.5]), "attribute layer_names: expected strings"),
    (names(["layers", "layers"]), "0 layers with weights .*, expected 4"),
    (names(["none"]), "damaged"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_hostile_files_of_weights(tmp_path, change, message):
    path, mine = tmp_path / "m.weights.h5", model(seed=1)
    hostile(path, change)
    with pytest.raises(ModelFileError, match=rf"^{path}: .*{message}"):
        mine.load_weights(path)
    assert same(mine, model(seed=1))


# --- JSON and configs ----------------------------------------------------------------------------


def test_json_has_structure_and_training(tmp_path):
    first = model()
    again = model_from_json(first.to_json(), kernels="reference")
    assert again.get_config() == first.get_config()
    assert again.optimizer.learning_rate == 0.01 and type(again.loss) is type(first.loss)
    assert nanocnn.Sequential.from_config(first.get_config()).built
    assert json.loads(first.to_json(indent=1))["class_name"] == "Sequential"
    with pytest.raises(ModelFileError, match=r"\(Lambda\): expected one of"):
        model_from_json(first.to_json().replace('"BatchNormalization"', '"Lambda"'))
    with pytest.raises(ModelFileError, match="json_string: not JSON"):
        model_from_json("{")
    config = first.get_config()
    for _ in range(2000):
        config = {"layers": [{"class_name": "Sequential", "config": config}]}
    with pytest.raises(ModelFileError, match="nested too deeply"):
        nanocnn.Sequential.from_config(config)
    with pytest.raises(ModelFileError, match="model of class None"):
        model_from_json("{}")


def test_custom_objects_are_refused(tmp_path):
    storage.save(small(), tmp_path / "m.npz")
    for value in ({"Scale": Scale}, "reference"):
        with pytest.raises(ValueError, match=r"custom_objects=.*, expected None"):
            nanocnn.load_model(tmp_path / "m.npz", value)
    assert nanocnn.load_model(tmp_path / "m.npz", {}, True, False, kernels="reference").built
