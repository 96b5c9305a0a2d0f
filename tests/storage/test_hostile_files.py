"""Hostile configurations, `.npz` and `.keras` archives: a clear error, with little memory."""

import io
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanocnn import Flatten, Input, Sequential, load_model, storage
from nanocnn.common.errors import ModelFileError
from support.snapshots import small

pytest.importorskip("h5py", reason="h5py is not installed")
from support.model_files import (
    SUFFIXES,
    change_layer,
    load_here,
    npy,
    read_members,
    rewrite_json,
    write_members,
)

CONFIGS = [
    (change_layer(1, groups=2), r"layer 'conv2d' \(Conv2D\): groups=2 is not supported, only 1"),
    (change_layer(1, data_format="channels_first"), "data_format='channels_first' is not supp"),
    (change_layer(1, trainable="yes"), "trainable='yes', expected True or False"),
    (change_layer(1, new_thing=3), "argument new_thing=3 is not supported"),
    (change_layer(1, filters=10**12), "filters=1000000000000, expected an integer"),
    (change_layer(1, filters=True), "filters=True, expected an integer"),
    (change_layer(1, filters=-1), "filters=-1, expected an integer"),
    (change_layer(1, filters=3), "conv2d.*expected.*3, 3, 1, 3"),
    (change_layer(1, kernel_size=[3, 3, 3]), "kernel_size=.*expected an integer or a pair"),
    (change_layer(1, kernel_size=[9, 9], padding="valid"), "layer 'conv2d'.*9x9 window.*does not"),
    (change_layer(1, activation="__import__('os')"), "unknown activation .*known: .*linear, relu"),
    (change_layer(1, name="../../x"), "without '/'"),
    (change_layer(1, name="dense"), "two layers have the same name"),
    (change_layer(1, name=7), "layer 7 .*: name=7"),
    (change_layer(2, axis=1), r"axis=1, expected -1 \(channels last\)"),
    (change_layer(2, epsilon=float("nan")), "epsilon=nan, expected a number more than 0"),
    (change_layer(0, batch_shape=[None, None, 5, 1]), "shape=None, expected an integer"),
    (change_layer(0, batch_shape=[None, 2**31 - 1, 2**31 - 1, 1]), "dense.*expected.*23058430"),
    (lambda m: m["layers"][1].update(class_name="Lambda"), r"\(Lambda\): expected one of InputLay"),
    (lambda m: m["layers"][1].update(class_name="os.system"), r"\(os.system\): expected one of"),
    (lambda m: m["layers"].insert(2, m["layers"][0] | {}), "the same name"),
    (lambda m: m["layers"].pop(5), r"layer 'dense' \(Dense\): input of shape .*Flatten"),
    (
        lambda m: (m["layers"].pop(0), m.pop("build_input_shape", 0)),
        "expected None for the batch axis",
    ),
    (lambda m: m.update(layers=[]), "model without layers"),
    (lambda m: m.update(layers={"a": 1}), "model without layers"),
    (lambda m: m.update(layers=m["layers"][:1]), "model without layers after its input"),
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


# --- Hostile .npz and .keras archives -------------------------------------------------------------


def huge_header(shape):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


KERNEL = "weights/dense/kernel.npy"
MEMBERS = [
    ({KERNEL: npy(np.zeros((12, 4), np.float32))}, r"float32 of shape \(12, 4\), expected"),
    ({KERNEL: npy(np.zeros((12, 3)))}, "float64 of shape .*expected float32"),
    ({KERNEL: npy(np.zeros((12, 3), ">f4"))}, "not an array as nanocnn writes it"),
    ({KERNEL: npy(np.zeros((12, 3), np.float32, order="F"))}, "not an array as nanocnn"),
    ({KERNEL: npy(np.array([print], object), allow_pickle=True)}, "not an array as nanocnn"),
    ({KERNEL: huge_header("(1000000000000,)")}, "0 bytes of data, expected 4000000000000"),
    ({KERNEL: huge_header(f"(0, {10**18 - 1}, {10**18 - 1})")}, "does not support shape"),
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


@pytest.mark.parametrize("shape", ["1", "1 1", "1,2", "1, 2,", "1, " * 9 + "1", "1" * 34 + "x"])
def test_npy_headers_that_numpy_does_not_write(shape):
    """A pattern with optional separators takes them, and for ever over 144 digits and an x."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    assert not storage.npz.HEADER.match(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text)


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), tuple(range(1, 9))])
def test_headers_of_numpy_are_read(shape):
    match = storage.npz.HEADER.match(npy(np.zeros(shape, np.uint8)))
    assert match and match[3].decode() == str(shape)[1:-1]


def chain(count):
    layers = [Flatten(name=f"f{place}") for place in range(count - 1)]
    return Sequential([Input((2, 2, 1)), *layers], kernels="reference")


def test_the_number_of_layers_is_bounded(tmp_path):
    most = storage.architecture.MAX_LAYERS
    storage.save(chain(most).snapshot(), tmp_path / "m.npz")
    with pytest.raises(ModelFileError, match=f"{most + 1} layers, expected at most {most}"):
        chain(most + 1).save(tmp_path / "m.npz")
    value = [{"class_name": "Flatten", "config": {"name": str(n)}} for n in range(most + 1)]
    rewrite_json(tmp_path / "m.npz", lambda model: model.update(layers=value))
    with pytest.raises(ModelFileError, match=f"{most + 1} layers, expected at most {most}"):
        storage.load(tmp_path / "m.npz")


def test_work_grows_with_the_number_of_layers_not_with_its_square(tmp_path):
    calls = []
    for count in (500, 500, 1000):  # the first time, modules are imported
        chain(count).save(tmp_path / "m.npz")
        counter = [0]
        sys.setprofile(lambda *event, counter=counter: counter.__setitem__(0, counter[0] + 1))
        try:
            load_model(tmp_path / "m.npz", kernels="reference")
        finally:
            sys.setprofile(None)
        calls += counter
    assert calls[2] < 2.2 * calls[1]


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
    refused("duplicate member")
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
    refused("bytes in total in a file of")
    for cut in (0, 3, 21, 22, 60, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        refused("not a zip archive, or a truncated one|damaged|the file is empty")
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
