"""nanocnn's format: a NumPy `.npz` with everything needed to resume training, and no pickles.

Members: `nanocnn` (JSON as bytes: format, version, config, compile_config, progress),
`weights/LAYER/WEIGHT`, `optimizer/...` and `callbacks/...`. `numpy.load` opens it; this module
uses a stricter parser that accepts only what `write` produces.
"""

import json
import re
import zipfile
from math import prod
from typing import Any, BinaryIO

import numpy as np

from ..common.errors import ModelFileError
from .architecture import Config, Shape, check_array
from .keras_config import read_model
from .safe_zip import MAX_JSON, Archive, add_member, check_members, parse_json
from .snapshot import Array, Snapshot, check_progress

VERSION = 1
MAGIC, KIND = b"PK", "a zip archive, as .npz files are"
MAX_STEPS = 2**62  # of an optimizer: far below an overflow
# The header that numpy.save writes: magic, version 1.0, length (2 bytes), a Python dict as text.
# No separator is optional: otherwise a hostile shape causes catastrophic backtracking.
HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '(<[fiu][248]|\|[iu]1)', 'fortran_order': False, "
    rb"'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,7})\), \} *\n",
    re.DOTALL,
)


def read(file: BinaryIO, compile: bool = True, into: Config | None = None) -> Snapshot:
    """Read the model from an open `.npz` file, bit for bit.

    With `into`, a `target` in keras_weights.py, read what `write` made of weights for that model.
    """
    archive = Archive(file)
    header = parse_json(read_array(archive, "nanocnn").tobytes(), "nanocnn.npy")
    if header.get("format") != "nanocnn" or header.get("version") != VERSION:
        raise ModelFileError(
            f"nanocnn.npy: format {header.get('format')!r:.80}, version "
            f"{header.get('version')!r:.80}, expected 'nanocnn', {VERSION}"
        )
    progress: Any = header.get("progress")  # checked below
    if into is None:
        model = {"class_name": "Sequential", "config": header.get("config")}
        snapshot, _, shapes = read_model(model, header.get("compile_config"), True, compile)
    else:
        snapshot = Snapshot(into["config"], {}, into["compile_config"])
        stored = (key for key in into["shapes"] if f"weights/{key}.npy" in archive.sizes)
        shapes = {key: tuple(into["shapes"][key]) for key in stored}
    snapshot.progress = progress
    _read_arrays(archive, snapshot, shapes)
    if into is None:
        check_progress(snapshot)
    if snapshot.compile_config is None:
        snapshot.optimizer = {}
    return snapshot


def _read_arrays(archive: Archive, snapshot: Snapshot, shapes: dict[str, Shape]) -> None:
    """Read all arrays of a snapshot whose weights have these shapes."""
    config = snapshot.config
    members = set(archive.sizes) - {"nanocnn.npy"}
    for key, shape in shapes.items():
        snapshot.weights[key] = _read(archive, f"weights/{key}", shape, config["dtype"])
        members.discard(f"weights/{key}.npy")
    for member in [name for name in archive.sizes if name.startswith(("optimizer/", "callbacks/"))]:
        name = member.removesuffix(".npy")
        part, _, key = name.partition("/")
        weight = key.rpartition("/")[0]
        count = name == "optimizer/iteration"
        if not count and weight not in shapes:
            raise ModelFileError(f"{member!r:.200}: belongs to no weight")
        dtype = "int64" if count else config["dtype"]
        getattr(snapshot, part)[key] = _read(archive, name, shapes.get(weight, ()), dtype)
        members.discard(member)
    if members:
        raise ModelFileError(f"{min(members)!r:.200}: not a member of a nanocnn file")
    steps = snapshot.optimizer.get("iteration", np.int64(0))
    if not 0 <= steps < MAX_STEPS:
        raise ModelFileError(f"optimizer/iteration: {steps}, expected a number of steps")


def _read(archive: Archive, name: str, shape: Shape, dtype: str) -> Array:
    array = read_array(archive, name)
    check_array(name, array, shape, dtype)
    return array


def read_array(archive: Archive, name: str) -> Array:
    """Return the array in member `name` after comparing its header with the member's size."""
    data = archive.read(f"{name}.npy")
    match = HEADER.match(data)
    if not match or int.from_bytes(match[1], "little") != match.end() - 10:
        raise ModelFileError(f"{name}.npy: not an array as nanocnn writes it: {data[:40]!r}")
    dtype = np.dtype(match[2].decode())
    shape = tuple(map(int, re.findall(rb"\d+", match[3])))
    expected = prod(shape) * dtype.itemsize
    if len(data) - match.end() != expected:
        raise ModelFileError(
            f"{name}.npy: {len(data) - match.end()} bytes of data, expected {expected} for "
            f"{dtype} of shape {shape}"
        )
    try:
        return np.frombuffer(data, dtype, offset=match.end()).reshape(shape).copy()
    except ValueError as error:  # (0, huge)
        raise ModelFileError(f"{name}.npy: NumPy does not support shape {shape}: {error}") from None


def write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write the model; equal snapshots give equal bytes."""
    header: dict[str, Any] = {"format": "nanocnn", "version": VERSION}
    for part in ("config", "compile_config", "progress"):
        header[part] = getattr(snapshot, part)
    text = json.dumps(header).encode()
    if len(text) > MAX_JSON:
        raise ValueError(f"{len(text)} bytes of configuration, expected at most {MAX_JSON}")
    arrays = {"nanocnn": np.frombuffer(text, np.uint8)}
    arrays |= {f"weights/{key}": array for key, array in snapshot.weights.items()}
    arrays |= {f"optimizer/{key}": array for key, array in snapshot.optimizer.items()}
    arrays |= {f"callbacks/{key}": array for key, array in snapshot.callbacks.items()}
    members = {f"{name}.npy": array for name, array in arrays.items()}
    check_members(members)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            with add_member(archive, name) as stream:
                values = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
                np.lib.format.write_array(stream, values, (1, 0), allow_pickle=False)
