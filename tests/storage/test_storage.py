"""Saved models: every bit comes back, and what is no saved model is named as what it is."""

import io
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from nanocnn import Dense, Input, Sequential, load_model, storage
from nanocnn.common.errors import MissingExtraError, ModelFileError
from nanocnn.storage import safe_zip as archives
from support.paths import GOLDEN
from support.snapshots import assert_same, small

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
from support.model_files import SUFFIXES, change_layer, load_here, rewrite_json  # noqa: E402


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".hdf5", ".NPZ"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_bit_is_restored(tmp_path, suffix, dtype):
    path = tmp_path / f"model{suffix}"
    snapshot = small(dtype=dtype)
    snapshot.weights["dense/kernel"].flat[:5] = [np.nan, -0.0, np.inf, 1e-40, -1e-310]
    storage.save(snapshot, path)
    loaded = storage.load(path)
    assert_same(loaded, snapshot, progress=suffix.lower() == ".npz")
    assert all(array.flags.writeable for array in loaded.weights.values())
    assert loaded.config["name"] == "sequential" and loaded.config["dtype"] == dtype


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("optimizer", "options", "slots"),
    [
        ("Adam", {"amsgrad": True}, ["m", "v", "vmax"]),
        ("RMSprop", {"momentum": 0.9, "centered": True}, ["v", "buffer", "average"]),
        ("SGD", {"momentum": 0.9, "nesterov": True, "clipnorm": 1.0}, ["momentum"]),
        ("SGD", {}, []),
    ],
)
def test_every_optimizer_slot_is_restored(tmp_path, suffix, optimizer, options, slots):
    rng = np.random.default_rng(1)
    snapshot = small(optimizer=optimizer, **options)
    names = [name for name in snapshot.weights if "moving" not in name]
    arrays = {
        f"{name}/{slot}": rng.random(snapshot.weights[name].shape).astype(np.float32)
        for name in names
        for slot in slots
    }
    snapshot.optimizer = {"iteration": np.array(5), **arrays}
    storage.save(snapshot, tmp_path / f"m{suffix}")
    loaded = load_here(tmp_path / f"m{suffix}")
    assert loaded.optimizer["iteration"] == 5
    assert set(loaded.optimizer) == set(snapshot.optimizer)
    for key, array in arrays.items():
        assert loaded.optimizer[key].tobytes() == array.tobytes(), key


SCHEDULES = [
    ("ExponentialDecay", {"decay_rate": 0.5, "staircase": True}),
    ("InverseTimeDecay", {"decay_rate": 0.5, "staircase": False}),
    ("PolynomialDecay", {"end_learning_rate": 0.01, "power": 2.0, "cycle": False}),
    ("CosineDecay", {"alpha": 0.1, "warmup_target": 0.2, "warmup_steps": 3}),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_schedules_are_restored(tmp_path, suffix):
    schedules = [
        {"class_name": name, "config": {"initial_learning_rate": 0.1, "decay_steps": 9, **config}}
        for name, config in SCHEDULES
    ]
    steps = {"boundaries": [10, 20], "values": [1.0, 0.5, 0.1]}
    for schedule in [*schedules, {"class_name": "PiecewiseConstantDecay", "config": steps}]:
        snapshot = small(learning_rate=schedule)
        storage.save(snapshot, tmp_path / f"m{suffix}")
        assert_same(load_here(tmp_path / f"m{suffix}"), snapshot, progress=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frozen_layers_are_restored(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    snapshot = small()
    for place, trainable in ((1, False), (2, False), (6, True)):
        snapshot.config["layers"][place]["config"]["trainable"] = trainable
    slots = ("iteration", "dense/kernel/m", "dense/kernel/v", "dense/bias/m", "dense/bias/v")
    snapshot.optimizer = {name: snapshot.optimizer[name] for name in slots}
    storage.save(snapshot, path)
    loaded = load_here(path)  # a frozen layer has no slots: else these would be shifted
    assert_same(loaded, snapshot, progress=suffix == ".npz")
    rewrite_json(path, lambda model: model.update(trainable=False))  # as Keras has it
    config = load_here(path, compile=False).config
    assert [layer["config"]["trainable"] for layer in config["layers"][1:]] == [False] * 6


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_scale_uint8_and_the_pixel_range_are_restored(tmp_path, suffix):
    """As a file of nanocnn says; its version 0.1.0, which did not say, scaled; Keras does not."""
    path = tmp_path / f"m{suffix}"
    for scale_uint8 in (True, False):
        snapshot = small()
        snapshot.config["scale_uint8"] = scale_uint8
        storage.save(snapshot, path)
        assert storage.load(path).config["scale_uint8"] is scale_uint8

    rewrite_json(path, lambda model: model.pop("scale_uint8"))
    assert load_here(path).config["scale_uint8"] is True
    rewrite_json(path, change_layer(6, dtype={"class_name": "DTypePolicy", "config": {}}))
    assert load_here(path).config["scale_uint8"] is False
    for name in (f"keras3{suffix}", "keras2.h5", "keras2_old.h5"):
        assert load_here(GOLDEN / name).config["scale_uint8"] is False
    assert load_here(GOLDEN / f"nanocnn010{suffix}").config["scale_uint8"] is True
    rewrite_json(path, lambda model: model.update(scale_uint8="no"))
    with pytest.raises(ModelFileError, match="scale_uint8='no', expected True or False"):
        load_here(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_not_compiled_and_not_trained(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    snapshot = small()
    snapshot.optimizer = {}
    storage.save(snapshot, path)
    state = storage.load(path).optimizer
    assert all(not array.any() for array in state.values())
    assert storage.load(path, compile=False).compile_config is None
    snapshot.compile_config = None
    storage.save(snapshot, path)
    loaded = storage.load(path)
    assert loaded.compile_config is None and loaded.optimizer == {}


def test_weights_in_another_memory_order(tmp_path):
    snapshot = small()
    kernel = snapshot.weights["dense/kernel"]
    snapshot.weights["dense/kernel"] = np.asfortranarray(kernel)
    for suffix in SUFFIXES:
        storage.save(snapshot, tmp_path / f"m{suffix}")
        loaded = storage.load(tmp_path / f"m{suffix}").weights["dense/kernel"]
        assert loaded.tobytes() == kernel.tobytes() and loaded.flags.c_contiguous


def test_equal_models_give_equal_npz_bytes(tmp_path):
    storage.save(small(), tmp_path / "a.npz")
    storage.save(small(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:  # anyone can read it
        assert arrays["weights/dense/bias"].tobytes() == small().weights["dense/bias"].tobytes()


@pytest.mark.parametrize("name", ["m.pkl", "m", "m.npz.gz", "m.weights.h5"])
def test_unknown_suffix(tmp_path, name):
    for call in (lambda p: storage.save(small(), p), storage.load):
        with pytest.raises(ValueError, match=r"expected a name ending in \.npz, \.h5"):
            call(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for suffix in (".h5", ".keras"):
        with pytest.raises(MissingExtraError, match=r'pip install "nanocnn\[keras\]"'):
            storage.save(small(), tmp_path / f"m{suffix}")
    storage.save(small(), tmp_path / "m.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


def test_wrong_weights_are_not_saved(tmp_path):
    snapshot = small()
    snapshot.weights["dense/kernel"] = np.zeros((12, 4), np.float32)
    with pytest.raises(ModelFileError, match=r"dense/kernel: float32 of shape \(12, 4\), expected"):
        storage.save(snapshot, tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_settings_that_keras_lacks_are_left_out_with_a_warning(tmp_path, suffix):
    snapshot = small(form="pytorch")
    with pytest.warns(
        UserWarning, match="not how the model was compiled: Keras's Adam has no form"
    ):
        storage.save(snapshot, tmp_path / f"m{suffix}")
    loaded = storage.load(tmp_path / f"m{suffix}")
    assert loaded.compile_config is None
    assert loaded.weights["dense/bias"].tobytes() == snapshot.weights["dense/bias"].tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        storage.save(snapshot, tmp_path / "m.npz")
    assert_same(storage.load(tmp_path / "m.npz"), snapshot)


WRONG = {
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "git lfs pull"),
    "git-annex": (b"/annex/objects/MD5E-s9912422--f68b.h5\n", "git annex get"),
    "annex link": (b"../../.git/annex/objects/x1/9p/MD5E-s9.h5", "git annex get"),
    "dvc": (b"outs:\n- md5: a304afb96060aad90176268345e10355", "dvc pull"),
    "page": (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page saved in its place; fetch"),
    "xml": (b'<?xml version="1.0"?><Error><Code>NoSuchKey', "a web page saved in its place"),
    "message": (b'{"message": "Not Found"}', r"JSON text \(a server's message"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file, whose name should end in .h5"),
    "zip": (b"PK\3\4" + bytes(90), "looks like a zip archive, as .keras and .npz files are"),
    "gzip": (b"\x1f\x8b\x08" + bytes(9), "a gzip file; unpack it"),
    "npy": (b"\x93NUMPY\1\0", r"one array \(.npy\)"),
    "pickle": (b"\x80\4\x95", "a pickle, which can run any code and is never opened"),
    "onnx": (b"\x08\x08\x12\x07pytorch", r"a protocol buffer \(ONNX"),
    "saved model": (b"\x08\x01\x12\xd4", r"a protocol buffer \(ONNX, or the .pb of Tensor"),
    "tflite": (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
    "idx": (b"\0\0\x08\3\0\0\xea\x60", "an IDX file"),
    "image": (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    "empty": (b"", "the file is empty; fetch the file again"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_error_names_the_real_type_of_a_file(tmp_path, suffix, kind):
    content, message = WRONG[kind]
    valid = {".npz": ["zip"], ".h5": ["hdf5"], ".keras": ["zip", "hdf5"]}  # both, by old Keras
    if kind in valid[suffix]:
        message = "damaged|truncated"
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        storage.load(path)
    assert str(caught.value).startswith(str(path))


def test_archives_of_another_kind(tmp_path):
    storage.save(small(), tmp_path / "a.npz")
    storage.save(small(), tmp_path / "a.keras")
    np.savez(tmp_path / "weights.npz", a=np.ones(2))
    (tmp_path / "npz.keras").write_bytes((tmp_path / "a.npz").read_bytes())
    (tmp_path / "keras.npz").write_bytes((tmp_path / "a.keras").read_bytes())
    for name, message in {
        "npz.keras": r"'nanocnn.npy' is present: a nanocnn model, whose name should end in \.npz",
        "keras.npz": r"'config.json' is present: a Keras model, whose name should end in \.keras",
        "weights.npz": "'nanocnn.npy' is missing: a zip archive, but not a saved model",
    }.items():
        with pytest.raises(ModelFileError, match=message):
            storage.load(tmp_path / name)


@pytest.mark.parametrize("name", ["saved", "saved.keras", "saved.h5", "saved.npz"])
def test_folders(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    for call in (lambda: storage.load(path), lambda: storage.save(small(), path)):
        with pytest.raises(ModelFileError, match=f"{name}: a folder; expected a file"):
            call()
    (path / "saved_model.pb").touch()
    with pytest.raises(ModelFileError, match=r"TensorFlow's SavedModel; save it .* model\.save"):
        storage.load(path)


@pytest.mark.parametrize("path", [None, 3, 1.5, True, b"m.npz", [], "", io.BytesIO(b"PK"), Path])
def test_invalid_paths(path):
    for call in (
        storage.load,
        lambda path: storage.check(small(), path),
        lambda path: storage.save(small(), path),
    ):
        with pytest.raises(
            ValueError, match=r"^filepath=.*expected the name of a file|unknown kind"
        ):
            call(path)
    with pytest.raises(ValueError, match="compile='no', expected True or False"):
        storage.load("m.npz", compile="no")
    for kernels in ("gpu", None, [], 3):
        with pytest.raises(ValueError, match=r"unknown kernel set .*known: fast, reference"):
            load_model("m.npz", kernels=kernels)


@pytest.mark.parametrize("content", [b"", b"x" * 1000, b"\x89HDF\r\n\x1a\n" + bytes(100)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_another_kind(tmp_path, suffix, content):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a"):
        storage.load(path)
    with pytest.raises(FileNotFoundError):
        storage.load(tmp_path / f"missing{suffix}")


def test_an_error_in_the_child_process_is_raised_here(tmp_path):
    path = tmp_path / "m.h5"
    storage.save(small(), path)
    rewrite_json(path, change_layer(1, groups=2))
    with pytest.raises(ModelFileError, match=r"m\.h5: layer 'conv2d' \(Conv2D\): groups=2 is not"):
        storage.load(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "{" + '"a":{' * 5000
    with pytest.raises(ModelFileError, match=r"m\.h5: model_config: not JSON"):
        storage.load(path)


def test_a_warning_in_the_child_process_is_given_here(tmp_path):
    storage.save(small(), tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        group = file["nanocnn_optimizer_weights/adam"]
        del group["sequential_dense_bias_velocity"]
    with pytest.warns(UserWarning, match="optimizer state not understood"):
        assert storage.load(tmp_path / "m.h5").optimizer == {}


@pytest.mark.parametrize("kind", ["crash", "hang", "memory"])
def test_an_hdf5_crash_is_an_error(tmp_path, monkeypatch, kind):
    """A child that crashes, hangs or takes all memory: an error after a bounded time."""
    code = {
        "crash": "import os; os.abort()",
        "hang": "import time; time.sleep(60)",
        "memory": storage.sandbox.CODE.replace(
            "sandbox.main(",
            "from nanocnn import storage; storage.keras_hdf5.read = lambda *a: bytes(1 << 34); "
            "sandbox.main(",
        ),
    }[kind]
    if kind == "memory":
        pytest.importorskip("resource", reason="no memory limits on this system")
    monkeypatch.setattr(storage.sandbox, "CODE", code)
    monkeypatch.setattr(storage.sandbox, "SECONDS", 2 if kind == "hang" else 30)
    storage.save(small(), tmp_path / "m.h5")
    message = {"crash": "ended with", "hang": "within 2 seconds", "memory": "MemoryError"}[kind]
    with pytest.raises(ModelFileError, match=message):
        storage.load(tmp_path / "m.h5")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".keras"])
def test_many_layers_of_long_names_round_trip(tmp_path, suffix):
    """Their names take more than the 64 kB of an HDF5 attribute, and more than 1 MB in a zip."""
    layers = [Dense(1, name=f"{'long' * 45}_{i}") for i in range(900)]
    model = Sequential([Input((1,)), *layers], kernels="reference")
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = load_model(path, kernels="reference")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in layers]
    for before, after in (
        (model.weights, loaded.weights),
        (model.optimizer.get_state(), loaded.optimizer.get_state()),
    ):
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
    if suffix == ".h5":  # as Keras writes and reads it
        with h5py.File(path) as file:
            attributes = file["model_weights"].attrs
            names = [name for part in "01234" for name in attributes.get(f"layer_names{part}", ())]
        assert [name.decode() for name in names] == [layer.name for layer in layers]


@pytest.mark.parametrize(("limit", "most"), [("MAX_MEMBERS", 4), ("MAX_DIRECTORY", 300)])
def test_models_that_could_not_be_read_again_are_not_written(tmp_path, monkeypatch, limit, most):
    path = tmp_path / "model.npz"
    path.write_bytes(b"as it was")
    model = Sequential([Input((1,)), Dense(1), Dense(1)])
    monkeypatch.setattr(archives, limit, most)
    with pytest.raises(ValueError, match="5 arrays with a directory of"):
        model.save(path)
    assert path.read_bytes() == b"as it was"
