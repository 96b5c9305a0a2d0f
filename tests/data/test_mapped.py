"""IDX files mapped into memory: the same numbers, read-only, and refused where that cannot be."""

import gzip
import io
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nanocnn.common.errors import DatasetError
from nanocnn.data import download, idx, mnist
from support import mnist_folder


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_the_same_array_read_only(tmp_path: Path, kind: str) -> None:
    for array in (np.arange(24).reshape(2, 3, 4).astype(kind), np.zeros((0, 3), kind)):
        idx.write(tmp_path / "x", array)
        x = idx.read(tmp_path / "x", max_bytes=1, mmap=True)
        assert isinstance(x, np.memmap) and not x.flags.writeable and x.flags.c_contiguous
        assert x.dtype == array.dtype.newbyteorder(">")
        np.testing.assert_array_equal(x, array)
        with open(tmp_path / "moved", "wb") as file:  # from where an open file stands
            file.write(b"skip")
            idx.write(file, array)
        with open(tmp_path / "moved", "rb") as file:
            file.seek(4)
            moved = idx.read(file, mmap=True)
        np.testing.assert_array_equal(moved, array)


def test_what_is_no_plain_file_on_disk_is_refused(tmp_path: Path) -> None:
    idx.write(tmp_path / "a b.gz", np.zeros(3, np.uint8))
    with pytest.raises(
        DatasetError, match=r"a b\.gz: mmap=True, but it is gzipped; unpack with"
    ) as e:
        idx.read(tmp_path / "a b.gz", mmap=True)
    run(str(e.value))
    assert (tmp_path / "a b.gz").exists() and idx.read(tmp_path / "a b", mmap=True).shape == (3,)
    os.replace(tmp_path / "a b.gz", tmp_path / "raw")
    with pytest.raises(DatasetError, match=r"raw: .*; give it a name in \.gz, then unpack with"):
        idx.read(tmp_path / "raw", mmap=True)
    stream = io.BytesIO((tmp_path / "a b").read_bytes())
    with pytest.raises(DatasetError, match="mmap=True, expected a file on disk"):
        idx.read(stream, mmap=True)
    reader, writer = os.pipe()
    os.write(writer, stream.getvalue())
    os.close(writer)
    with open(reader, "rb") as pipe, pytest.raises(DatasetError, match="expected a file on disk"):
        idx.read(pipe, mmap=True)
    with pytest.raises(ValueError, match="mmap='r', expected True or False"):
        idx.read(tmp_path / "a b", mmap="r")  # type: ignore[arg-type]


def run(message: str) -> None:
    """Run the command that a message ends with."""
    _, *arguments = shlex.split(message.rpartition(": ")[2])
    subprocess.run([sys.executable, *arguments], check=True)


def test_images_of_mnist_are_mapped_once_they_are_unpacked(tmp_path: Path) -> None:
    folder = mnist_folder.write(tmp_path / "some digits", 20, 10)
    (x, y), (x_test, y_test) = mnist.load(folder, verbose=False)
    with pytest.raises(
        DatasetError, match=r"the images are gzipped.*t10k-images-idx3-ubyte\.gz"
    ) as e:
        mnist.load(folder, verbose=False, mmap=True)
    assert "train" not in str(e.value)
    run(str(e.value))
    (mapped, labels), (mapped_test, labels_test) = mnist.load(folder, verbose=False, mmap=True)
    for file, array in ((mapped, x), (mapped_test, x_test)):
        assert isinstance(file, np.memmap) and not file.flags.writeable
        np.testing.assert_array_equal(file, array)
    assert labels.tobytes() == y.tobytes() and labels_test.tobytes() == y_test.tobytes()
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"train-images.*expected 15,680 bytes.*got 15,679"):
        mnist.load(folder, verbose=False, mmap=True)


def test_emnist_is_turned_without_being_read(tmp_path: Path) -> None:
    (x, y), _ = mnist.sample()
    with zipfile.ZipFile(tmp_path / download.EMNIST_ZIP, "w") as archive:
        for name in download.EMNIST_FILES:
            file = io.BytesIO()
            idx.write(file, x[:9].swapaxes(1, 2) if "images" in name else y[:9])
            archive.writestr(f"gzip/{name}.gz", gzip.compress(file.getvalue()))
    for message in ("the images are in a zip file; extract it: ", "the images are gzipped"):
        with pytest.raises(DatasetError, match=message) as e:
            mnist.load(tmp_path, "emnist_digits", False, mmap=True)
        run(str(e.value))
    (turned, _), _ = mnist.load(tmp_path, "emnist_digits", False, mmap=True)
    assert isinstance(turned, np.memmap)
    np.testing.assert_array_equal(turned, x[:9])


def test_the_sample_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NANOCNN_DATA", raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path)
    dead = download.SOURCES["mnist"]._replace(mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(download.SOURCES, "mnist", dead)
    assert len(mnist.load(mmap=True)[0][0]) == 4000
