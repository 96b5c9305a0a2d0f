"""Read Keras's files in a child process, because HDF5's C library hangs on some damaged files.

Of 14,000 files with a few bytes changed, 10 made it loop forever while reading an attribute, which
h5py cannot prevent. The child converts the file to an `.npz`, which is read like any other; its
time and memory are limited, and its crash becomes a `ModelFileError`.

Where no Python process can be started, such as in a frozen program, the file is read in this
process with the same checks but without these limits. A damaged file can then hang or crash the
program, so such a program should open only files from trusted sources.
"""

import contextlib
import io
import json
import math
import subprocess
import sys
import warnings
from typing import BinaryIO

from ..common.errors import ModelFileError, warn
from ..jit import child_process
from . import keras_weights, keras_zip, npz
from .architecture import Config
from .safe_hdf5 import import_h5py
from .safe_zip import Archive
from .snapshot import Snapshot

SECONDS, BYTES_PER_SECOND = 30, 10 << 20  # time limit: for the start, and by the file's size
MEMORY_LIMIT, MEMORY_RATIO = 1 << 30, 8  # address space limit: bytes, plus times file size
REFUSED = 3  # the child's exit code for a ModelFileError
CODE = f"""
try:
    from nanocnn.storage import sandbox
    sandbox.import_h5py()
except ImportError:
    sys.exit({child_process.NOT_IMPORTED})
sandbox.main(*sys.argv[1:])
"""


def read(file: BinaryIO, suffix: str, compile: bool = True, into: Config | None = None) -> Snapshot:
    """Return the model in an open file in the format of `suffix`, like that format's `read`.

    With `into`, the `target` of a model, only its weights: see keras_weights.py. Raises
    `ModelFileError`, also if the library crashes or exceeds the time limit.
    """
    import_h5py()
    data = file.read()
    seconds = SECONDS + len(data) / BYTES_PER_SECOND
    child = child_process.start(
        CODE, str(MEMORY_LIMIT + MEMORY_RATIO * len(data)),
        str(math.ceil(seconds)),
        environment={"OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if child is None:
        return _read(data, suffix, compile, into)
    job = json.dumps([suffix, compile, into]).encode() + b"\n"
    with child:
        try:
            output, errors = child.communicate(job + data, seconds)
        except subprocess.TimeoutExpired:
            raise ModelFileError(f"damaged: not read within {seconds:.0f} seconds") from None
        finally:
            child.kill()  # after Ctrl-C too; no effect if it has ended
    message = errors.decode("utf-8", "replace").strip()
    if child.returncode == child_process.NOT_IMPORTED:
        return _read(data, suffix, compile, into)
    if child.returncode == REFUSED:
        raise ModelFileError(message)
    if child.returncode:
        raise ModelFileError(
            f"damaged: the reading process ended with {child.returncode}: {message[-500:]}"
        )
    snapshot = npz.read(io.BytesIO(output), into=into)
    for text in snapshot.progress.pop("warnings"):
        warn(text)
    return snapshot


def _read(data: bytes, suffix: str, compile: bool, into: Config | None) -> Snapshot:
    """Return the model or weights in `data`, read in this process."""
    from . import FORMATS

    file: BinaryIO = io.BytesIO(data)
    try:
        if into is not None:
            archived = suffix == ".keras"
            file = keras_zip.weights_file(Archive(file)) if archived else file
            return keras_weights.read(file, into)
        snapshot: Snapshot = FORMATS[suffix].read(file, compile)
    except (RecursionError, MemoryError) as error:
        raise ModelFileError(str(error) or type(error).__name__) from error
    return snapshot


def main(memory: str, seconds: str) -> None:
    """The child: convert a Keras file on standard input to an `.npz` on standard output."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not available on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
        # The parent kills a child that takes too long, unless the parent has been killed.
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    suffix, compile, into = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            snapshot = _read(data, suffix, compile, into)
    except ModelFileError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)
    snapshot.progress["warnings"] = [str(warning.message) for warning in caught]
    stream = io.BytesIO()
    npz.write(snapshot, stream)
    sys.stdout.buffer.write(stream.getbuffer())
