"""IDX files: what is written is read back, and nothing but one whole array is ever accepted."""

import gzip
import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from nanocnn.common.errors import DatasetError
from nanocnn.data import idx

DTYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape)


def written(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    idx.write(file, array)
    return file.getvalue()


@settings(deadline=None, max_examples=100)
@given(
    hnp.arrays(
        st.sampled_from([order + text for text in DTYPES for order in "<>"]),
        hnp.array_shapes(min_dims=1, max_dims=6, min_side=0, max_side=5),
    )
)
def test_what_is_written_is_read_back(array: np.ndarray) -> None:
    for data in (written(array), gzip.compress(written(array), 1)):
        back = idx.read(io.BytesIO(data))
        assert back.dtype == array.dtype.newbyteorder("=") and back.shape == array.shape
        assert back.flags.c_contiguous and back.flags.writeable and back.dtype.isnative
        assert back.tobytes() == np.ascontiguousarray(array, back.dtype).tobytes()
    reverse = idx.read(io.BytesIO(written(array[..., ::-1])))
    np.testing.assert_array_equal(reverse, array[..., ::-1])


def test_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    assert written(np.array([[1, -2]], np.int16)) == b"\0\0\x0b\x02\0\0\0\1\0\0\0\2\0\1\xff\xfe"
    assert written(np.array([1.0], np.float64))[8:] == b"\x3f\xf0" + bytes(6)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for name in ("a.idx", "a.idx.gz"):
        idx.write(tmp_path / name, array)
        first = (tmp_path / name).read_bytes()
        idx.write(str(tmp_path / name), np.asfortranarray(array))
        assert (tmp_path / name).read_bytes() == first, "the same array, the same bytes"
        np.testing.assert_array_equal(idx.read(tmp_path / name), array)
    assert first[:2] == b"\x1f\x8b" and first[4:8] == bytes(4), "no time of day in it"
    assert gzip.decompress(first) == written(array)
    # A gzipped file under a raw name, and a raw one under a gzip name: the content decides.
    (tmp_path / "raw.gz").write_bytes(written(array))
    os.replace(tmp_path / "a.idx.gz", tmp_path / "packed")
    np.testing.assert_array_equal(idx.read(tmp_path / "raw.gz"), array)
    np.testing.assert_array_equal(idx.read(tmp_path / "packed"), array)


def test_open_files_are_read_from_where_they_stand() -> None:
    array = np.arange(6, dtype=np.int32)
    for data in (written(array), gzip.compress(written(array))):
        file = io.BytesIO(b"skip" + data)
        file.seek(4)
        np.testing.assert_array_equal(idx.read(file), array)
        reader, writer = os.pipe()  # a stream that cannot seek
        os.write(writer, data)
        os.close(writer)
        with open(reader, "rb") as stream:
            np.testing.assert_array_equal(idx.read(stream), array)
    with pytest.raises(DatasetError, match="binary mode"):
        idx.read(io.StringIO("text"))  # type: ignore[arg-type]


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = written(IMAGES)
BAD = {
    "empty": (b"", "the file is empty"),
    "three bytes": (GOOD[:3], "expected an IDX file"),
    "wrong magic": (b"\1" + GOOD[1:], "expected an IDX file"),
    "unknown type": (header(0x0A, 1) + b"1", "expected an IDX file"),
    "no dimensions": (b"\0\0\x08\0" + b"1", "expected an IDX file"),
    "header cut off": (GOOD[:10], "expected 3 sizes in the header, got 6 bytes"),
    "truncated": (GOOD[:-1], r"expected 24 bytes of data .*\(2, 3, 4\) of uint8, got 23"),
    "trailing": (GOOD + b"\0", "expected 24 bytes of data .*got (25|more)"),
    "giant": (header(0x0E, 2**32 - 1, 2**32 - 1), "expected .* bytes of data"),
    "big": (header(0x08, 2**31) + bytes(9), "expected 2,147,483,648 bytes of data .*got 9"),
    "many dimensions": (header(0x08, *[1] * 255) + b"1", "not support shape"),
    "nothing, but huge": (
        header(0x08, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
        "not support shape",
    ),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "pointer to a large file"),
}


@pytest.mark.parametrize("way", ["plain", "packed", "mapped"])
@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_named_with_what_is_wrong(tmp_path: Path, what: str, way: str) -> None:
    data, message = BAD[what]
    path = tmp_path / "some-file"
    path.write_bytes(gzip.compress(data) if way == "packed" else data)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=message) as caught:
            idx.read(path, mmap=way == "mapped")
        assert tracemalloc.get_traced_memory()[1] < 4 * idx.CHUNK, "memory as the header promised"
    finally:
        tracemalloc.stop()
    assert "some-file" in str(caught.value)


def test_damaged_gzip_is_refused() -> None:
    packed = gzip.compress(written(np.random.default_rng(0).integers(0, 255, 5000, np.uint8)))
    wrong_crc = packed[:-8] + zlib.crc32(b"else").to_bytes(4, "little") + packed[-4:]
    for data in (
        packed[:1000],
        packed[:-3],
        wrong_crc,
        packed + b"junk",
        packed[:30] + packed[31:],
    ):
        with pytest.raises(DatasetError, match="truncated or damaged"):
            idx.read(io.BytesIO(data))
    with pytest.raises(DatasetError, match="gzipped twice"):
        idx.read(io.BytesIO(gzip.compress(packed)))
    with pytest.raises(DatasetError, match="got more"):
        idx.read(io.BytesIO(packed + packed))  # two gzip members are one stream


def test_gzip_bombs_take_little_memory() -> None:
    bomb = gzip.compress(header(0x08, 1000) + bytes(1 << 26))  # 64 MB in 65 kB
    truthful = gzip.compress(header(0x08, 1 << 26) + bytes(1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="got more"):
            idx.read(io.BytesIO(bomb))
        with pytest.raises(DatasetError, match="more than max_bytes="):
            idx.read(io.BytesIO(truthful), max_bytes=1 << 25)
        assert tracemalloc.get_traced_memory()[1] < 4 * idx.CHUNK
    finally:
        tracemalloc.stop()


class Nothing:
    """Neither a path nor a file."""


def closed(mode: str) -> object:
    with open(os.devnull, mode) as file:
        return file


WRONG = [None, 3, 1.5, True, b"bytes", [], np.zeros(3), Nothing(), Path]


@pytest.mark.parametrize("file", [*WRONG, io.StringIO("x"), closed("rb"), closed("wb")], ids=repr)
def test_wrong_types_of_file_are_refused(file: object) -> None:
    for call in (lambda: idx.read(file), lambda: idx.write(file, IMAGES)):  # type: ignore[arg-type]
        with pytest.raises(DatasetError, match=r"a (path or a )?file open in b|is closed"):
            call()


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing" / "x"):
        with pytest.raises(OSError, match=path.name):
            idx.read(path)
    with pytest.raises(OSError, match=tmp_path.name):
        idx.write(tmp_path, IMAGES)
    for call in (lambda: idx.read(""), lambda: idx.write("", IMAGES)):
        with pytest.raises(ValueError, match="file='', expected the name of a file"):
            call()
    for wrong in (None, -1, "1", 1.5):
        with pytest.raises(ValueError, match=f"max_bytes={wrong!r}, expected an integer"):
            idx.read(tmp_path / "x", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "start", [b"version https://git-lfs", b'{"message": 1}', b"PK\3\4", b"%PDF"]
)
def test_a_file_of_another_format_is_named_as_what_it_is(start: bytes) -> None:
    for data in (start + bytes(99), gzip.compress(start + bytes(99))):
        with pytest.raises(DatasetError, match=r"looks like (a|JSON|one) [a-zA-Z]+"):
            idx.read(io.BytesIO(data))


def test_arrays_that_idx_cannot_hold_are_refused(tmp_path: Path) -> None:
    for array in (np.zeros(2, np.int64), np.zeros(2, bool), np.zeros(2, "U3"), np.array(None)):
        with pytest.raises(DatasetError, match="expected an array of uint8"):
            idx.write(tmp_path / "x", array)
    with pytest.raises(DatasetError, match=r"got \(\)"):
        idx.write(tmp_path / "x", np.float32(1))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels"
    idx.write(path, IMAGES)

    def full(file: object, code: int, array: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(idx, "_write", full)
    with pytest.raises(OSError, match="disk full"):
        idx.write(path, np.zeros(3, np.uint8))
    np.testing.assert_array_equal(idx.read(path), IMAGES)
    assert [p.name for p in tmp_path.iterdir()] == ["labels"]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_mutated_files_raise_dataset_errors_only(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from([GOOD, written(np.ones((2, 2))), gzip.compress(GOOD)]))
    mutant = bytearray(source)
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(mutant)))
        mutant[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        array = idx.read(io.BytesIO(bytes(mutant)))
    except DatasetError:
        return
    assert array.nbytes <= 1032 * len(mutant)
