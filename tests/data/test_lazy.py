"""Images that are not in memory: what is read, in which order, and what is refused."""

import mmap
from pathlib import Path

import h5py
import numpy as np
import pytest

from nanocnn.common.errors import NonFiniteError, ShapeError
from nanocnn.data.batches import as_images, split, take
from nanocnn.data.lazy import FIRST, LazyImages, is_lazy

IMAGE = (4, 3, 1)
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 4, 3), np.uint8)


class Source:
    """Has what is needed and no more, and notes what is read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read: list[tuple[int, int]] = []

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice) and rows.step is None
        self.read.append((rows.start, rows.stop))
        return self.array[rows]


def mapped(path: Path, array: np.ndarray) -> np.ndarray:
    path.write_bytes(array.tobytes())
    return np.memmap(path, array.dtype, "r", shape=array.shape)


def test_what_is_read_a_batch_at_a_time(tmp_path: Path) -> None:
    file = mapped(tmp_path / "x", PIXELS)
    with open(tmp_path / "x", "rb") as stream:
        memory = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    buffers = np.frombuffer(memory, np.uint8), np.ndarray(60, np.uint8, memory)
    others = [PIXELS, file[:2].copy(), [[1.0]], np.float32(1), None, "x"]
    with h5py.File(tmp_path / "x.h5", "w") as hdf5:
        dataset = hdf5.create_dataset("x", data=PIXELS)
        others.append(hdf5.create_dataset("one number a sample", data=np.zeros(5)))
        strided = file[::2], np.asarray(file)[:, 1:], buffers[0][5:]
        for lazy in (file, *strided, *buffers, Source(PIXELS), dataset):
            assert is_lazy(lazy)
        for other in others:
            assert not is_lazy(other)
    with pytest.raises(ValueError, match="Closed HDF5 dataset> cannot be read"):
        is_lazy(dataset)


def test_an_array_of_another_library_in_memory_is_converted_at_once() -> None:
    torch = pytest.importorskip("torch")
    assert type(as_images(torch.from_numpy(PIXELS), IMAGE, "float32")) is np.ndarray


def test_pixels_that_kernels_can_read_stay_where_they_are_mapped(tmp_path: Path) -> None:
    file = mapped(tmp_path / "x", PIXELS)
    x = as_images(file, IMAGE, "float32")
    assert isinstance(x, np.ndarray) and np.shares_memory(x, file)
    assert isinstance(as_images(file[::2], IMAGE, "float32"), LazyImages)
    assert isinstance(as_images(PIXELS[::2], IMAGE, "float32"), np.ndarray)


@pytest.mark.parametrize("kind", ["u1", "?", "f4", ">f4", "f8", "f2"])
@pytest.mark.parametrize("wrap", ["map", "source"])
def test_the_same_numbers_as_in_memory(tmp_path: Path, kind: str, wrap: str) -> None:
    array = (PIXELS / (1 if kind == "u1" else 255)).astype(kind)
    for rows in (slice(None), slice(None, None, -2)):
        whole = mapped(tmp_path / "x", array)[rows] if wrap == "map" else Source(array[rows])
        x, y = as_images(whole, IMAGE, "float32"), as_images(array[rows], IMAGE, "float32")
        assert x.shape == y.shape and x.dtype == y.dtype and len(x) == len(y)
        np.testing.assert_array_equal(np.asarray(x), y)
        for index in (slice(0, 8), slice(5, None), np.array([7, 0, 3, 4, 3]), np.arange(0)):
            out = np.empty((len(y[index]), *IMAGE), np.float32)
            for got in (take(x, index, "float32"), take(x, index, "float32", out)):
                assert got.tobytes() == take(y, index, "float32").tobytes()
        (first,), (last,) = split(0.3, x)
        np.testing.assert_array_equal(np.concatenate([first, last]), y)
        np.testing.assert_array_equal(last[np.array([2, 0])], split(0.3, y)[1][0][[2, 0]])


def test_without_scaling_integers_are_cast_a_batch_at_a_time(tmp_path: Path) -> None:
    for source in (Source(PIXELS), mapped(tmp_path / "x", PIXELS), Source(PIXELS.astype("i2"))):
        x = as_images(source, IMAGE, "float32", scale_uint8=False)
        assert isinstance(x, LazyImages) and x.dtype == np.float32
        np.testing.assert_array_equal(np.asarray(x)[..., 0], PIXELS)
    with pytest.raises(ValueError, match="integers of type int16, expected uint8 or floats"):
        as_images(Source(PIXELS.astype("i2")), IMAGE, "float32")


def test_a_source_is_read_in_the_order_of_the_file_and_no_more_than_needed() -> None:
    source = Source(PIXELS)
    x = as_images(source, IMAGE, "float32")
    assert source.read == [(0, FIRST)]
    source.read.clear()
    x[np.array([9, 50, 8, 3, 49, 10])]
    assert source.read == [(3, 4), (8, 11), (49, 51)]
    source.read.clear()
    take(split(0.5, x)[1][0], slice(4, 8), "float32")
    assert source.read == [(34, 38)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_the_first_pixel_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    array = np.zeros((60, 4, 3))
    array[50, 3, 1] = array[55, 0, 0] = bad
    with pytest.raises(NonFiniteError) as expected:
        as_images(array, IMAGE, "float32", name="x_test")
    for source in (Source(array), mapped(tmp_path / "x", array)):
        x = as_images(source, IMAGE, "float32", name="x_test")
        for read in (lambda x=x: np.asarray(x), lambda x=x: x[np.array([3, 50])],
                     lambda x=x: take(split(0.5, x)[1][0], slice(15, 25), "float32")):  # fmt: skip
            with pytest.raises(NonFiniteError) as caught:
                read()
            assert str(caught.value) == str(expected.value)
    array[0, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=r"at index \(0, 0, 0, 0\)"):  # before any work
        as_images(Source(array), IMAGE, "float32")


@pytest.mark.parametrize("shape", [(60, 3, 4), (60, 4, 3, 2), (60, 12), (0, 4, 3)])
def test_shapes_are_refused_as_in_memory(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.uint8)
    with pytest.raises(ShapeError) as expected:
        as_images(array, IMAGE, "float32")
    source = Source(array)
    with pytest.raises(ShapeError) as caught:
        as_images(source, IMAGE, "float32")
    assert str(caught.value) == str(expected.value) and not source.read


class Broken(Source):
    """Slices are what `broken` makes of them."""

    def __init__(self, broken) -> None:
        super().__init__(PIXELS)
        self.broken = broken

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.broken(self.array[rows])


def raises(error: Exception):
    def broken(rows: np.ndarray) -> np.ndarray:
        raise error

    return broken


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda rows: rows[1:],
            r"^x\[0:32\]: got uint8 of shape \(31, 4, 3\), expected uint8 of s",
        ),
        (
            lambda rows: rows[..., None],
            r"got uint8 of shape \(32, 4, 3, 1\), .* by x.dtype and x.s",
        ),
        (lambda rows: rows / 255, r"x\[0:32\]: got float64 of shape .* expected uint8 of shape"),
        (lambda rows: None, r"got object of shape \(\), expected uint8"),
        (
            raises(TypeError("list indices must be")),
            r"^x\[0:32\]: TypeError\(.*shape, dtype and sl",
        ),
        (raises(KeyError(3)), r"x\[0:32\]: KeyError\(3\), expected an array"),
    ],
)
def test_a_source_that_is_not_what_it_says_is_refused_before_any_work(broken, message) -> None:
    with pytest.raises(ValueError, match=message):
        as_images(Broken(broken), IMAGE, "float32")


def test_a_source_whose_numbers_are_no_numbers_is_refused() -> None:
    for dtype in ("U1", "complex64", object):
        with pytest.raises(ValueError, match="expected an array of numbers, got dtype"):
            as_images(Source(PIXELS.astype(dtype)), IMAGE, "float32")
    with pytest.raises(OSError, match="disk"):  # its own errors are not changed
        as_images(Broken(raises(OSError("disk"))), IMAGE, "float32")
