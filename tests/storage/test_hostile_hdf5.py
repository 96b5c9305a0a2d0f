"""Hostile HDF5: links, external data, chunks and filters; a clear error, little memory."""

import tracemalloc

import numpy as np
import pytest

from nanocnn import storage
from nanocnn.common.errors import ModelFileError
from support.snapshots import small

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
from support.model_files import change_layer, load_here, rewrite_json  # noqa: E402

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


def filtered(**options):
    def make(file, folder):
        values = np.random.default_rng(0).random((12, 3)).astype("f4")
        file.create_dataset(DENSE, data=values, chunks=(12, 3), **options)

    return make


def partly_stored(file, folder):
    """Of four chunks, whose last ones stick out, two are stored: enough bytes for 12 x 3."""
    dataset = file.create_dataset(DENSE, (12, 3), "f4", chunks=(9, 2))
    dataset[:9] = 1


def wide_chunk(file, folder):
    """A chunk is read whole: one of 40 MB for three numbers, of which nothing is stored."""
    file.create_dataset(DENSE, (12, 3), "f4", maxshape=(None, None), chunks=(1000, 10_000))


FILTERS = [
    ({"compression": "lzf"}, r"compressed or filtered \(lzf\)"),
    ({"shuffle": True}, r"filtered \(shuffle\)"),
    ({"fletcher32": True}, r"filtered \(fletcher32\)"),
    ({"scaleoffset": 4}, r"filtered \(scaleoffset\)"),
]


def fan(file, folder):
    """Groups whose twelve links all lead to the next one: 20 kB with 12**7 ways down."""
    group = file["model_weights"].create_group("end")
    for _ in range(7):
        above = file["model_weights"].create_group(f"{len(file['model_weights'])}")
        for place in range(12):
            above[f"{place}"] = group
        group = above
    del file["model_weights/dense"]
    file["model_weights/dense"] = group


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
    (
        replace_with(lambda f, d: f.create_dataset(DENSE, (12, 4), "f4")),
        r"layer 'dense': .*\(12, 4\), .*, expected",
    ),
    (replace_with(lambda f, d: f.create_dataset(DENSE, (12, 3), "S4")), "S4 of shape"),
    (
        replace_with(lambda f, d: f.create_dataset(DENSE, (12, 3), "f4")),
        "more than the file contains",
    ),
    (
        replace_with(
            lambda f, d: f.create_dataset(DENSE, data=np.zeros((12, 3), "f4"), compression="gzip")
        ),
        r"kernel: compressed or filtered \(deflate\), which is not supported; rewrite",
    ),
    *((replace_with(filtered(**filter)), message) for filter, message in FILTERS),
    (replace_with(partly_stored), "declares 288 bytes, more than the file contains"),
    (replace_with(wide_chunk), "declares 40000000 bytes, more than the file contains"),
    (
        replace_with(lambda f, d: f.create_group(DENSE)),
        "layer 'dense': weights of shapes .* at dense",
    ),
    (replace_with(lambda f, d: None), "layer 'dense': weights of shapes .* at dense, expected"),
    (fan, "2 layers with weights .*, expected 3"),
    (lambda f, d: f.__delitem__("model_weights"), "layer 'conv2d': weights of shapes"),
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
    """Config and dataset agree on 103 GB in whole chunks, of which nothing is stored."""
    path = tmp_path / "m.h5"
    storage.save(small(), path)
    rewrite_json(path, change_layer(6, units=2**31 - 1))
    with h5py.File(path, "r+") as file:
        del file[DENSE]
        file.create_dataset(DENSE, (12, 2**31 - 1), "f4", chunks=(1, 2**29))
        bias = DENSE.replace("kernel", "bias")
        del file[bias]
        file.create_dataset(bias, (2**31 - 1,), "f4", chunks=(2**29,))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="declares 103079215104 bytes, more than the file"):
        load_here(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_chunks_without_filters_are_read(tmp_path):
    """As other programs may write a model anew."""
    path = tmp_path / "m.h5"
    snapshot = small()
    storage.save(snapshot, path)
    with h5py.File(path, "r+") as file:
        del file[DENSE]
        kernel = snapshot.weights["dense/kernel"]
        file.create_dataset(DENSE, data=kernel, chunks=(5, 2), maxshape=(None, None))
    assert load_here(path).weights["dense/kernel"].tobytes() == kernel.tobytes()


def test_a_small_file_of_large_chunks_takes_little_memory(tmp_path):
    """Each weight in a chunk of 36 MB, compressed to 36 kB: it would all be unpacked to be read."""
    path = tmp_path / "m.h5"
    storage.save(small(), path)
    with h5py.File(path, "r+") as file:
        for kind, name, value in [("conv2d", "bias", np.ones(2)), ("dense", "bias", np.ones(3))]:
            group = file[f"model_weights/{kind}/sequential/{kind}"]
            del group[name]
            options = {"chunks": (9_000_000,), "maxshape": (None,), "compression": "gzip"}
            group.create_dataset(name, data=value.astype("f4"), **options)
    assert path.stat().st_size < 200_000
    with path.open("rb") as file, pytest.raises(ModelFileError, match=r"filtered \(deflate\)"):
        storage.keras_hdf5.read(file)
