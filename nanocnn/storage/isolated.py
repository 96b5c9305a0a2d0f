"""Keras's files are read in a process of their own: HDF5's C library hangs on some damaged files.

In 14,000 files with a few bytes changed it looped forever in 10, in reading an attribute's text,
and h5py has no way round it. The child turns the file into an `.npz`, which is read as any other;
it has a limit of time and memory, and if it crashes that is an error like the others.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from typing import BinaryIO

from ..errors import ModelFileError
from . import npz
from .keras_hdf5 import import_h5py
from .snapshot import Snapshot

SECONDS, BYTES_PER_SECOND = 30, 10 << 20  # time allowed: to start, and for the file's size
MEMORY, TIMES = 1 << 30, 8  # address space allowed: to start, and times the file's size
REFUSED = 3  # the child's exit code for a ModelFileError
CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from nanocnn.storage import isolated; isolated.main(*sys.argv[2:])"
)


def read(file: BinaryIO, suffix: str, compile: bool = True) -> Snapshot:
    """The model in an open file of the format of `suffix`, as that format's `read` gives it.

    Raises `ModelFileError`, also when the library crashes or takes too long on the file.
    """
    import_h5py()
    data = file.read()
    seconds = SECONDS + len(data) / BYTES_PER_SECOND
    arguments = [json.dumps(sys.path), suffix, "compile" * compile, str(MEMORY + TIMES * len(data))]
    try:
        child = subprocess.run(
            [sys.executable, "-c", CODE, *arguments],
            input=data,
            capture_output=True,
            timeout=seconds,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(f"damaged: not read within {seconds:.0f} seconds") from None
    message = child.stderr.decode("utf-8", "replace").strip()
    if child.returncode == REFUSED:
        raise ModelFileError(message)
    if child.returncode:
        raise ModelFileError(f"damaged: reading it ended with {child.returncode}: {message[-500:]}")
    snapshot = npz.read(io.BytesIO(child.stdout))
    for text in snapshot.progress.pop("warnings"):
        warnings.warn(text, stacklevel=3)
    return snapshot


def main(suffix: str, compile: str, memory: str) -> None:
    """The child: a Keras file from standard input to an `.npz` on standard output."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    from . import FORMATS

    data = io.BytesIO(sys.stdin.buffer.read())
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            snapshot: Snapshot = FORMATS[suffix].read(data, bool(compile))
    except (ModelFileError, RecursionError, MemoryError) as error:
        sys.stderr.write(str(error) or type(error).__name__)
        sys.exit(REFUSED)
    snapshot.progress["warnings"] = [str(warning.message) for warning in caught]
    stream = io.BytesIO()
    npz.write(snapshot, stream)
    sys.stdout.buffer.write(stream.getbuffer())
