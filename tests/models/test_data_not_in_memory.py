"""Data that are not in memory train to the same bits, and memory stays small."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from nanocnn import Callback, Dense, Flatten, Sequential, gradcheck
from nanocnn.common.errors import NonFiniteError, ShapeError
from nanocnn.data import idx
from support.processes import ENVIRONMENT
from support.small_models import BOTH_SETS, SPARSE, bits, digits, small_model

X, Y = digits(150)
OTHER, LABELS = digits(40, seed=1)


class OfMyOwn:
    """As little as a class needs."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        return self.array[rows]


def mapped(folder, array):
    name = f"{array.dtype.name}-{len(array)}"
    idx.write(folder / name, array)
    return idx.read(folder / name, mmap=True)


def strided(folder, array):
    wide = np.zeros((2 * len(array), 14, 15), array.dtype)
    wide[::2, 1:-1, 2:-3] = array
    return mapped(folder, wide)[::2, 1:-1, 2:-3]


def hdf5(folder, array):
    file = h5py.File(folder / "data.h5", "a")
    options = dict(chunks=(16, *array.shape[1:]), compression="gzip")
    return file.create_dataset(str(len(file)), data=array, **options)


SOURCES = {"mapped": mapped, "strided": strided, "hdf5": hdf5, "own": lambda _, x: OfMyOwn(x)}


def everything(source, x, other, y, kernels, dtype):
    """What is left of trainings and evaluations of data that are wrapped by `source`."""
    x, other = source(x), source(other)
    model = small_model(kernels, dtype=dtype)
    histories = [
        model.fit(x, y, batch_size=32, epochs=2, validation_data=(other, LABELS), verbose=0),
        model.fit(x, y, batch_size=32, shuffle=False, validation_split=0.3, verbose=0),
    ]
    numbers = [history.history for history in histories]
    numbers += [model.evaluate(other, LABELS), model.train_on_batch(other, LABELS)]
    return bits(model), numbers, model.unit_range, model.predict(x, batch_size=17).tobytes()


@pytest.mark.parametrize("source", SOURCES)
@BOTH_SETS
def test_the_same_bits_as_in_memory(kernels, source, tmp_path):
    for dtype, kind in (("float32", "u1"), ("float32", "f4"), ("float32", "f8"), ("float64", "f4")):
        x, other = (a if kind == "u1" else (a / 255).astype(kind) for a in (X, OTHER))
        args = x, other, Y, kernels, dtype
        lazy = everything(lambda array: SOURCES[source](tmp_path, array), *args)
        assert lazy == everything(lambda array: array, *args), (dtype, kind)


@BOTH_SETS
def test_larger_numbers_and_a_model_built_for_its_first_data(kernels, tmp_path):
    models = []
    for x in (X.astype("f4"), mapped(tmp_path, X.astype("f4")), OfMyOwn(X.astype("f4"))):
        model = Sequential([Flatten(), Dense(10, activation="softmax")], kernels=kernels)
        model.compile("adam", SPARSE)
        model.fit(x, Y, verbose=0)
        with pytest.warns(UserWarning, match="uint8, which is scaled by 1/255, where"):
            model.predict(OfMyOwn(X))
        models.append(model)
    assert bits(models[0]) == bits(models[1]) == bits(models[2])
    scaled = small_model()
    scaled.fit(OfMyOwn(X / 255), Y, verbose=0)
    with pytest.warns(UserWarning, match="values up to 209, where"):
        scaled.predict(OfMyOwn(X.astype("f4")))


def test_looks_inside_read_what_they_are_given(tmp_path):
    model = small_model()
    x = X[:2] / 255
    for lazy in (mapped(tmp_path, x), OfMyOwn(x)):
        assert str(model.trace(lazy, Y[:2])) == str(model.trace(x, Y[:2]))
        assert gradcheck.check(model, lazy, Y[:2], limit=2)


@pytest.mark.parametrize("source", ["mapped", "own"])
@BOTH_SETS
def test_nan_is_found_in_its_batch(kernels, source, tmp_path):
    array = (X / 255).astype("f4")
    array[140, 3, 5] = np.nan
    x = SOURCES[source](tmp_path, array)
    place = r"x: expected finite pixels, got nan at index \(140, 3, 5, 0\) \(as float32: nan\)$"
    model = small_model(kernels)
    steps = []

    class Count(Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(bits(model)[0])

    with pytest.raises(NonFiniteError, match=f"^{place}"):
        model.fit(x, Y, batch_size=32, shuffle=False, verbose=0, callbacks=Count())
    assert len(steps) == 4 and bits(model)[0] == steps[-1]
    for use in (lambda: model.evaluate(x, Y), lambda: model.predict(x),
                lambda: model.train_on_batch(x, Y)):  # fmt: skip
        with pytest.raises(NonFiniteError, match=f"^{place}"):
            use()
    with pytest.raises(NonFiniteError, match=f"^epoch 1, validation: validation {place}"):
        model.fit(X, Y, validation_data=(x, Y), verbose=0)
    model.fit(OfMyOwn(array[:140]), Y[:140], verbose=0)  # nothing stays behind


def test_what_does_not_fit_is_refused_before_any_work():
    model = small_model()
    before = bits(model)
    with pytest.raises(ShapeError, match="x has 150 samples and y has 40"):
        model.fit(OfMyOwn(X), LABELS, verbose=0)
    with pytest.raises(ShapeError, match=r"expected \(N, 12, 10, 1\), got \(150, 10, 12\)"):
        model.fit(OfMyOwn(X.swapaxes(1, 2)), Y, verbose=0)
    liar = OfMyOwn(X)
    liar.dtype = np.dtype("f4")
    with pytest.raises(ShapeError, match=r"x\[0:32\]: got uint8 .*expected float32 .*x.dtype"):
        model.fit(liar, Y, verbose=0)
    assert bits(model) == before


# --- Memory ---

PROGRAM = """
import json, sys, threading, time
import h5py, numpy as np
from nanocnn import Dense, Flatten, Input, Sequential
from nanocnn.data import mnist

def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith(field))

most, running = 0, True

def watch():
    global most
    while running:
        most = max(most, resident("RssAnon"))
        time.sleep(0.001)

def model():
    made = Sequential([Input((28, 28, 1)), Flatten(), Dense(10, activation="softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made

few = np.zeros((3000, 28, 28))
for x in (few, few.astype("uint8")):  # the kernels, and the memory of passes
    model().fit(x, np.zeros(3000, int), 1024, verbose=0)
    model().predict(x)
folder = sys.argv[1]
thread = threading.Thread(target=watch)
base = most = resident("RssAnon")
thread.start()
(x, y), (few, _) = mnist.load(folder, mmap=True, verbose=False)
model().predict(x[-500:])
model().evaluate(x[:500], y[:500])
touched = resident("RssFile")
model().fit(x, y, 1024, verbose=0)
touched = touched, resident("RssFile")
grown = {"idx": most - base}
y = np.zeros(60000, int)
with h5py.File(f"{folder}/x.h5") as file:
    for name, x in {
        "strided": x[1:60001, ::-1],
        "float64": np.load(f"{folder}/x.npy", mmap_mode="r"),
        "hdf5": file["x"],
    }.items():
        most = 0
        model().fit(x, y, 1024, validation_split=0.1, verbose=0)
        model().evaluate(x, y)
        model().predict(x)
        grown[name] = most - base
running = False
thread.join()
print(json.dumps([grown, touched]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_small(tmp_path):
    """Data of 300 MB; files with holes, which take no space on the disk."""
    for name, count in (("train", 400_000), ("t10k", 1000)):
        with open(tmp_path / f"{name}-images-idx3-ubyte", "wb") as file:
            file.write(np.array([0x803, count, 28, 28], ">u4").tobytes())
            file.truncate(16 + count * 784)
        idx.write(tmp_path / f"{name}-labels-idx1-ubyte.gz", np.zeros(count, np.uint8))
    shape = (60_000, 28, 28)
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, shape).flush()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", shape, np.float64)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    grown, (little, all_of_it) = json.loads(done.stdout)
    print(f"memory grows by {grown} MB; of the file {little}, then {all_of_it} MB are in memory")
    assert max(grown.values()) < 100, grown
    assert little < 150 < 300 < all_of_it
