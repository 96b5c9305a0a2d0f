"""Fuzz the IDX reader, guided by coverage: `python tests/fuzz_idx.py [-runs=100000]`, with atheris.

Whatever the bytes, `read` returns an array that is no larger than the bytes can hold, or raises
DatasetError, in memory that stays under MEMORY_MB. Each input is tried as it is and gzipped.
"""

import gzip
import io
import os
import resource
import struct
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit('fuzz_idx: skipped, atheris is not installed (python -m pip install -e ".[fuzz]")')

with atheris.instrument_imports(include=["nanocnn.data.idx", "gzip"]):
    import numpy as np

    from nanocnn.data import idx
    from nanocnn.errors import DatasetError

DEFLATE = 1032  # how far gzip can blow bytes up, by the format
MEMORY_MB = 200


def one_input(data: bytes) -> None:
    for variant in (data, gzip.compress(data, 1)):
        check(variant)


def check(data: bytes) -> None:
    try:
        array = idx.read(io.BytesIO(data))
    except DatasetError as error:
        assert "<open file>" in str(error)
        return
    assert array.nbytes <= DEFLATE * len(data) and array.flags.writeable
    again = io.BytesIO()
    idx.write(again, array)
    back = idx.read(io.BytesIO(again.getvalue()))
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def seeds(folder: Path) -> None:
    """A small corpus: every type, plain and gzipped, and the usual lies."""
    files = [b"", b"<html>", struct.pack(">4B2I", 0, 0, 8, 2, 1 << 31, 1 << 31)]
    for dtype in idx.CODES:
        file = io.BytesIO()
        idx.write(file, np.arange(6).reshape(1, 2, 3).astype(dtype))
        files += [file.getvalue(), gzip.compress(file.getvalue()), file.getvalue()[:-1]]
    for number, data in enumerate(files):
        (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        seeds(Path(folder))
        options = sys.argv[1:] or ["-runs=100000"]
        limits = [f"-rss_limit_mb={MEMORY_MB}", "-timeout=10", "-max_len=4096", "-verbosity=0"]
        pid = os.fork()  # libFuzzer ends the process itself
        if pid == 0:
            atheris.Setup([sys.argv[0], folder, *limits, *options], one_input)
            atheris.Fuzz()
        _, status = os.waitpid(pid, 0)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    code = os.waitstatus_to_exitcode(status)
    print(f"fuzz_idx: {' '.join(options)}: {'passed' if code == 0 else 'FAILED'}, peak {peak} MB")
    sys.exit(code)
