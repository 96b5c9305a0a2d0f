"""What must hold when a fuzzed file of a model, or of weights, is read: for fuzz_targets.py."""

import io
import os
import tempfile
import warnings
from pathlib import Path

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a disk would be waited for
FOLDER = tempfile.TemporaryDirectory(prefix="nanocnn-fuzz-", dir=MEMORY)


def check_model(suffix, isolated=False):
    """`load_model` gives a model, which is saved and read back with the same bits, or an error.

    Keras's formats are read in this process unless `isolated`: a child for each input would take
    half a second. What the child does is done here too, its file in between included.
    """

    def check(data):
        from nanocnn import load_model, storage
        from nanocnn.common.errors import ModelFileError

        def read(file, suffix, compile=True, into=None):
            snapshot, between = storage.FORMATS[suffix].read(file, compile), io.BytesIO()
            storage.npz.write(snapshot, between)
            return storage.npz.read(between)

        path, again = (Path(FOLDER.name) / f"{os.getpid()}{end}" for end in (suffix, "-2.npz"))
        path.write_bytes(data)
        original = storage.sandbox.read
        storage.sandbox.SECONDS = 5
        storage.sandbox.read = original if isolated else read
        try:
            with warnings.catch_warnings(action="ignore"):
                model = load_model(path, kernels="reference")
        except ModelFileError as error:
            assert str(error).startswith(str(path))
            return
        finally:
            storage.sandbox.read = original
        model.save(again)
        saved = again.read_bytes()
        load_model(again, kernels="reference").save(again)
        assert again.read_bytes() == saved

    return check


def check_weights(isolated=False):
    """`load_weights` sets all weights, which are saved and read back, or none: an error."""

    def check(data):
        from nanocnn import storage
        from nanocnn.common.errors import ModelFileError
        from support.snapshots import small

        def read(file, suffix, compile=True, into=None):
            snapshot, between = storage.keras_weights.read(file, into), io.BytesIO()
            storage.npz.write(snapshot, between)
            return storage.npz.read(between, into=into)

        path = Path(FOLDER.name) / f"{os.getpid()}.weights.h5"
        path.write_bytes(data)
        original = storage.sandbox.read
        storage.sandbox.SECONDS = 5
        storage.sandbox.read = original if isolated else read
        model = small()
        try:
            with warnings.catch_warnings(action="ignore"):
                found = storage.load_weights(path, model)
                part = storage.load_weights(path, model, skip_mismatch=True)
        except ModelFileError as error:
            assert str(error).startswith(str(path))
            return
        finally:
            storage.sandbox.read = original
        assert list(found.weights) == list(model.weights) == list(part.weights)
        for name, array in found.weights.items():
            assert array.shape == model.weights[name].shape and array.dtype == "float32"

    return check
