"""Saved models: every bit comes back, and a hostile or damaged file is a clear error."""

import io
import json
import struct
import sys
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from snapshots import assert_same, small

from nanocnn import storage
from nanocnn.errors import MissingExtraError, ModelFileError

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
SUFFIXES = [".npz", ".h5", ".keras"]


def load_here(path, compile=True):
    """Load without a process of its own: fast, counted by coverage."""
    with path.open("rb") as file:
        return storage.FORMATS[path.suffix].read(file, compile)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".hdf5", ".NPZ"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_bit_comes_back(tmp_path, suffix, dtype):
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
def test_every_slot_comes_back(tmp_path, suffix, optimizer, options, slots):
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
def test_schedules_come_back(tmp_path, suffix):
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
def test_what_keras_cannot_say_is_left_out_with_a_warning(tmp_path, suffix):
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


# --- Hostile configurations -----------------------------------------------------------------------


def change_layer(number, **changes):
    def change(model):
        model["layers"][number]["config"].update(changes)

    return change


CONFIGS = [
    (change_layer(1, groups=2), r"layer 'conv2d' \(Conv2D\): groups=2 is not supported, only 1"),
    (change_layer(1, data_format="channels_first"), "data_format='channels_first' is not supp"),
    (change_layer(1, kernel_constraint={"class_name": "MaxNorm"}), "argument kernel_constraint="),
    (change_layer(1, trainable="yes"), "trainable='yes', expected True or False"),
    (change_layer(1, new_thing=3), "argument new_thing=3 is not supported"),
    (change_layer(1, filters=10**12), "filters=1000000000000, expected a whole number"),
    (change_layer(1, filters=True), "filters=True, expected a whole number"),
    (change_layer(1, filters=-1), "filters=-1, expected a whole number"),
    (change_layer(1, filters=3), "conv2d.*expected.*3, 3, 1, 3"),
    (change_layer(1, kernel_size=[3, 3, 3]), "kernel_size=.*expected a whole number or a pair"),
    (change_layer(1, kernel_size=[9, 9], padding="valid"), "layer 'conv2d'.*9x9 window.*does not"),
    (change_layer(1, activation="__import__('os')"), "unknown activation .*known: linear, relu"),
    (
        change_layer(1, kernel_regularizer={"class_name": "L1", "config": {}}),
        "expected a number >= 0, or",
    ),
    (
        change_layer(1, kernel_regularizer={"class_name": "L2", "config": {"l2": "x"}}),
        "'x', expected a num",
    ),
    (change_layer(1, name="../../x"), "does not do as a name"),
    (change_layer(1, name="dense"), "two layers have the same name"),
    (change_layer(1, name=7), "layer 1: name 7"),
    (change_layer(2, axis=1), r"axis=1, expected -1 \(channels last\)"),
    (change_layer(2, epsilon=float("nan")), "epsilon=nan, expected a number more than 0"),
    (change_layer(4, noise_shape=[1, 1]), r"argument noise_shape=\[1, 1\] is not supported"),
    (change_layer(0, batch_shape=[None, None, 5, 1]), "shape=None, expected a whole number"),
    (change_layer(0, batch_shape=[None, 2**31 - 1, 2**31 - 1, 1]), "dense.*expected.*23058430"),
    (lambda m: m["layers"][1].update(class_name="Lambda"), r"\(Lambda\): expected one of InputLay"),
    (lambda m: m["layers"][1].update(class_name="os.system"), r"\(os.system\): expected one of"),
    (lambda m: m["layers"].insert(2, m["layers"][0] | {}), "the same name"),
    (lambda m: m["layers"].pop(5), r"layer 'dense' \(Dense\): input of shape .*Flatten"),
    (lambda m: (m["layers"].pop(0), m.pop("build_input_shape", 0)), "expected a shape such as"),
    (lambda m: m.update(layers=[]), "model without layers"),
    (lambda m: m.update(layers={"a": 1}), "model without layers"),
    (lambda m: m.update(layers=m["layers"][:1]), "model without layers behind its input"),
    (lambda m: m["layers"].append(None), "layer 7: expected an object"),
    (lambda m: m.update(dtype="float16"), "dtype 'float16', expected float32 or float64"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("change", "message"), CONFIGS)
def test_hostile_model_config(tmp_path, suffix, change, message):
    path = tmp_path / f"m{suffix}"
    storage.save(small(), path)
    rewrite_json(path, change)
    with pytest.raises(ModelFileError, match=message):
        load_here(path)


def compiled(part, **changes):
    def change(training):
        training[part]["config"].update(changes)

    return change


TRAINING = [
    (compiled("optimizer", use_ema=True), "optimizer Adam: argument use_ema=True is not supported"),
    (compiled("optimizer", beta_1="x"), "optimizer Adam: beta_1='x', expected a number >= 0"),
    (lambda t: t.update(optimizer={"class_name": "Adamm"}), "unknown optimizer.*did you mean 'Ada"),
    (lambda t: t.update(optimizer={"class_name": ["x"]}), "optimizer .*expected an object"),
    (compiled("optimizer", learning_rate={"class_name": "eval"}), "unknown schedule 'eval'"),
    (compiled("loss", reduction="none"), "reduction='none' is not supported"),
    (compiled("loss", ignore_class=3), "loss .*: argument ignore_class=3 is not supported"),
    (lambda t: t.update(loss="hinge"), "unknown loss 'hinge'"),
    (lambda t: t.update(metrics=["auc"]), "unknown metric 'auc'"),
    (lambda t: t.update(metrics={"a": 1}), "metrics .*expected a list"),
    (lambda t: t.update(metrics=[["accuracy", ["auc"]]]), "unknown metric .*auc"),
    (
        lambda t: t.update(metrics=[{"class_name": "MeanMetricWrapper", "config": {"name": []}}]),
        "unknown metric 'None'",
    ),
    (lambda t: t.update(loss_weights=[1]), "loss_weights are not supported"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("change", "message"), TRAINING)
def test_hostile_training_config(tmp_path, suffix, change, message):
    path = tmp_path / f"m{suffix}"
    storage.save(small(), path)
    rewrite_json(path, change, training=True)
    with pytest.raises(ModelFileError, match=message):
        load_here(path)
    assert load_here(path, compile=False).compile_config is None


def rewrite_json(path, change, training=False):
    """Change the JSON of a saved model's structure, or of how it was compiled."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            name = "training_config" if training else "model_config"
            value = json.loads(file.attrs[name])
            if training:
                value["optimizer"] = value.pop("optimizer_config")
            change(value if training else value["config"])
            file.attrs[name] = json.dumps(value)
        return
    members = read_members(path)
    if path.suffix == ".keras":
        value = json.loads(members["config.json"])
        change(value["compile_config" if training else "config"])
        members["config.json"] = json.dumps(value).encode()
    else:
        value = json.loads(np.load(path)["nanocnn"].tobytes())
        change(value["compile_config" if training else "config"])
        members["nanocnn.npy"] = npy(np.frombuffer(json.dumps(value).encode(), np.uint8))
    write_members(path, members)


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


def read_members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)


# --- Hostile .npz and .keras archives -------------------------------------------------------------


def huge_header(shape):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


KERNEL = "weights/dense/kernel.npy"
MEMBERS = [
    ({KERNEL: npy(np.zeros((12, 4), np.float32))}, r"float32 of shape \(12, 4\), expected"),
    ({KERNEL: npy(np.zeros((12, 3)))}, "float64 of shape .*expected float32"),
    ({KERNEL: npy(np.zeros((12, 3), ">f4"))}, "not an array as nanocnn saves it"),
    ({KERNEL: npy(np.zeros((12, 3), np.float32, order="F"))}, "not an array as nanocnn"),
    ({KERNEL: npy(np.array([print], object), allow_pickle=True)}, "not an array as nanocnn"),
    ({KERNEL: huge_header("(1000000000000,)")}, "0 bytes of data, expected 4000000000000"),
    ({KERNEL: huge_header("(12, 3)") + bytes(100)}, "100 bytes of data, expected 144"),
    ({KERNEL: npy(np.zeros((12, 3), np.float32)).replace(b"<f4", b"<f1")}, "not an array"),
    ({KERNEL: b""}, "not an array"),
    ({KERNEL: None}, "'weights/dense/kernel.npy' is missing"),
    ({"nanocnn.npy": None}, "'nanocnn.npy' is missing"),
    ({"nanocnn.npy": npy(np.frombuffer(b"[1]", np.uint8))}, "list, expected a JSON object"),
    ({"nanocnn.npy": npy(np.frombuffer(b"{" * 9, np.uint8))}, "not JSON"),
    ({"nanocnn.npy": npy(np.frombuffer(b'{"a":' * 10**5, np.uint8))}, "not JSON"),
    ({"nanocnn.npy": npy(np.zeros(5 << 20, np.uint8))}, "bytes of JSON, expected at most"),
    ({"nanocnn.npy": npy(np.frombuffer(b'{"format": "x"}', np.uint8))}, "format 'x', version None"),
    ({"../../etc/passwd": b"x"}, "not a member of a nanocnn file"),
    ({"optimizer/nothing/m.npy": npy(np.zeros(2, np.float32))}, "belongs to no weight"),
    ({"optimizer/iteration.npy": npy(np.zeros(2, np.int64))}, r"int64 of shape \(2,\), expected"),
]


@pytest.mark.parametrize(("changes", "message"), MEMBERS)
def test_hostile_npz_members(tmp_path, changes, message):
    path = tmp_path / "m.npz"
    storage.save(small(), path)
    members = read_members(path) | changes
    write_members(path, {name: data for name, data in members.items() if data is not None})
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=message):
        storage.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * path.stat().st_size + (16 << 20)


@pytest.mark.parametrize("suffix", [".npz", ".keras"])
def test_hostile_archives(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    storage.save(small(), path)
    good, members = path.read_bytes(), read_members(path)

    def refused(message):
        with pytest.raises(ModelFileError, match=message):
            storage.load(path)

    write_members(path, members, zipfile.ZIP_DEFLATED)
    refused("compressed; expected a stored member")
    write_members(path, [*members.items(), next(iter(members.items()))])
    refused("there twice")
    # Many names for one block of bytes: a bomb without compression.
    at = good.index(b"PK\1\2")
    directory, end = bytearray(good[at:-22]), bytearray(good[-22:])
    name = next(iter(members)).encode()
    start = directory.index(b"PK\1\2")
    length = 46 + len(name) + struct.unpack_from("<H", directory, start + 30)[0]
    entries = b"".join(
        bytes(directory[start : start + 46]) + b"%04d" % n + name[4:] for n in range(9999)
    )
    struct.pack_into("<HHL", end, 8, 9999, 9999, len(entries))
    assert len(entries) == 9999 * length
    path.write_bytes(good[:at] + entries + bytes(end))
    refused("bytes together in a file of")
    for cut in (0, 3, 21, 22, 60, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        refused("not a zip archive, or one that was cut short|damaged")
    path.write_bytes(good + b"x")
    refused("not a zip archive")
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    path.write_bytes(good[:-22] + locator + good[-22:])
    refused("zip64")
    path.write_bytes(good[:-22] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**31, 0, 0))
    refused("zip directory")


@pytest.fixture(scope="module")
def npz_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "m.npz"
    storage.save(small(), path)
    return path.read_bytes()


@settings(max_examples=400)
@given(data=st.data(), crc=st.booleans())
def test_mutated_npz_is_a_model_file_error(npz_bytes, data, crc):
    """Bits flipped, bytes cut or copied about; with the CRC as well as without."""
    mutated = bytearray(npz_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        kind = data.draw(st.sampled_from(["flip", "copy", "cut", "insert"]))
        if kind == "flip":
            mutated[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "copy":
            length, to = data.draw(st.integers(1, 200)), data.draw(st.integers(0, len(mutated) - 1))
            mutated[to : to + length] = mutated[at : at + length]
        elif kind == "cut":
            del mutated[at : at + data.draw(st.integers(1, 50))]
        else:
            mutated[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    with pytest.MonkeyPatch.context() as patch:
        if not crc:
            patch.setattr(zipfile.ZipExtFile, "_update_crc", lambda self, newdata: None)
        try:
            loaded = storage.npz.read(io.BytesIO(bytes(mutated)))
        except ModelFileError:
            return
        if crc:  # what still loads is what was saved: bits outside of all data were hit
            want = storage.npz.read(io.BytesIO(npz_bytes))
            assert all(
                loaded.weights[name].tobytes() == array.tobytes()
                for name, array in want.weights.items()
            )


@settings(max_examples=50)
@given(order=st.permutations(range(8)))
def test_swapped_npz_members(npz_bytes, order):
    """Members under each other's names: only those of one shape can pass."""
    members = {}
    with zipfile.ZipFile(io.BytesIO(npz_bytes)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in members if name.startswith("weights/")]
    swapped = members | {names[a]: members[names[b]] for a, b in enumerate(order)}
    file = io.BytesIO()
    write_members(file, swapped)
    fits = all(len(members[a]) == len(swapped[a]) for a in names)
    if fits:
        storage.npz.read(file)
    else:
        with pytest.raises(ModelFileError, match="of shape"):
            storage.npz.read(file)


# --- Hostile HDF5 ---------------------------------------------------------------------------------

DENSE = "model_weights/dense/sequential/dense/kernel"


def replace_with(make):
    def change(file, folder):
        del file[DENSE]
        make(file, folder)

    return change


def virtual(file, folder):
    layout = h5py.VirtualLayout((12, 3), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (12, 3))
    file.create_virtual_dataset(DENSE, layout)


def loop(file, folder):
    file["model_weights/dense/sequential/again"] = file["model_weights/dense"]


HDF5 = [
    (replace_with(lambda f, d: f.update({DENSE: h5py.SoftLink("/model_weights")})), "a SoftLink"),
    (
        replace_with(lambda f, d: f.update({DENSE: h5py.ExternalLink(str(d / "o.h5"), "/x")})),
        "an? ExternalLink",
    ),
    (
        replace_with(
            lambda f, d: f.create_dataset(
                DENSE, (12, 3), "f4", external=[(str(d / "secret"), 0, 144)]
            )
        ),
        "another file or dataset",
    ),
    (replace_with(virtual), "another file or dataset"),
    (replace_with(lambda f, d: f.create_dataset(DENSE, (12, 4), "f4")), r"shape \(12, 4\), exp"),
    (replace_with(lambda f, d: f.create_dataset(DENSE, (12, 3), "i4")), "int32 of shape"),
    (replace_with(lambda f, d: f.create_dataset(DENSE, (12, 3), "f4")), "more than the file holds"),
    (
        replace_with(
            lambda f, d: f.create_dataset(DENSE, data=np.zeros((12, 3), "f4"), compression="gzip")
        ),
        "more than the file holds",
    ),
    (replace_with(lambda f, d: f.create_group(DENSE)), "0 datasets 'kernel'"),
    (replace_with(lambda f, d: None), "0 datasets 'kernel'"),
    (loop, "too many or too deeply nested|datasets 'kernel'"),
    (lambda f, d: f.__delitem__("model_weights"), "0 datasets 'kernel'"),
    (lambda f, d: f.attrs.__delitem__("model_config"), "no attribute model_config"),
    (lambda f, d: f.attrs.__setitem__("model_config", [1, 2]), "expected one string"),
    (lambda f, d: f.attrs.__setitem__("model_config", "{"), "not JSON"),
    (lambda f, d: f.attrs.__setitem__("model_config", '{"class_name": "Model"}'), "'Model', exp"),
]


@pytest.mark.parametrize(("change", "message"), HDF5)
def test_hostile_hdf5(tmp_path, change, message):
    path = tmp_path / "m.h5"
    storage.save(small(), path)
    (tmp_path / "secret").write_bytes(bytes(144))
    with h5py.File(path, "r+") as file:
        change(file, tmp_path)
    with pytest.raises(ModelFileError, match=message):
        load_here(path)


def test_hdf5_shape_bomb_takes_no_memory(tmp_path):
    """Config and dataset agree on 4 TB, of which nothing is stored."""
    path = tmp_path / "m.h5"
    storage.save(small(), path)
    rewrite_json(path, change_layer(6, units=2**31 - 1))
    with h5py.File(path, "r+") as file:
        del file[DENSE]
        file.create_dataset(DENSE, (12, 2**31 - 1), "f4", chunks=(1, 1000), compression="gzip")
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="declares 103079215056 bytes, more than the file"):
        load_here(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"x" * 1000, b"\x89HDF\r\n\x1a\n" + bytes(100)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_another_kind(tmp_path, suffix, content):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a"):
        storage.load(path)
    with pytest.raises(FileNotFoundError):
        storage.load(tmp_path / f"missing{suffix}")


def test_error_out_of_the_process_of_its_own(tmp_path):
    path = tmp_path / "m.h5"
    storage.save(small(), path)
    rewrite_json(path, change_layer(1, groups=2))
    with pytest.raises(ModelFileError, match=r"m\.h5: layer 'conv2d' \(Conv2D\): groups=2 is not"):
        storage.load(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "{" + '"a":{' * 5000
    with pytest.raises(ModelFileError, match=r"m\.h5: model_config: not JSON"):
        storage.load(path)


def test_warning_out_of_the_process_of_its_own(tmp_path):
    storage.save(small(), tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        group = file["nanocnn_optimizer_weights/adam"]
        del group["sequential_dense_bias_velocity"]
    with pytest.warns(UserWarning, match="optimizer state not understood"):
        assert storage.load(tmp_path / "m.h5").optimizer == {}


@pytest.mark.parametrize("kind", ["crash", "hang", "memory"])
def test_library_that_fails_on_a_file(tmp_path, monkeypatch, kind):
    """A child that crashes, hangs or takes all memory: an error after a bounded time."""
    code = {
        "crash": "import os; os.abort()",
        "hang": "import time; time.sleep(60)",
        "memory": storage.isolated.CODE.replace(
            "isolated.main(",
            "from nanocnn import storage; storage.keras_hdf5.read = lambda *a: bytes(1 << 34); "
            "isolated.main(",
        ),
    }[kind]
    if kind == "memory":
        pytest.importorskip("resource", reason="no memory limits on this system")
    monkeypatch.setattr(storage.isolated, "CODE", code)
    monkeypatch.setattr(storage.isolated, "SECONDS", 2 if kind == "hang" else 30)
    storage.save(small(), tmp_path / "m.h5")
    message = {"crash": "ended with", "hang": "within 2 seconds", "memory": "MemoryError"}[kind]
    with pytest.raises(ModelFileError, match=message):
        storage.load(tmp_path / "m.h5")
