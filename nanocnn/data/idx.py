"""Strict reading and writing of IDX files, the format of MNIST.

An IDX file is two zero bytes, a type code, the number of dimensions, each size as a big-endian
uint32, then the values, big-endian in C order (as defined on the MNIST page).
"""

import gzip
import math
import os
import shlex
import struct
import zlib
from typing import Any, BinaryIO, cast

import numpy as np

from nanocnn.common.arrays import Array
from nanocnn.common.errors import DatasetError
from nanocnn.common.files import PEEK, atomic_write, looks_like, opened, path_name, stream_name
from nanocnn.common.validate import flag, integer

File = str | os.PathLike[str] | BinaryIO

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(text).newbyteorder("="): code for code, text in TYPES.items()}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20


def read(file: File, max_bytes: int = 1 << 32, *, mmap: bool = False) -> Array:
    """Read an array from an IDX file, plain or gzipped (detected by content, not by name).

    file       a path, or a file open in binary mode, read from its current position to its end
    max_bytes  the largest array accepted (4 GiB), against gzip bombs with a truthful header
    mmap       map a plain file on disk into memory: only the parts that are used are read, and
               `max_bytes` is not needed. The file must not be shortened meanwhile
    returns    a writable array, C order, native byte order; with `mmap` a read-only np.memmap in
               the file's byte order

    Memory is bounded by the file's content, not by its header, and at most one byte more than the
    header declares is decompressed. Raises DatasetError unless the file is exactly one array,
    OSError for a path that cannot be opened.
    """
    max_bytes = integer(max_bytes, "max_bytes", 0, bits=63)
    mmap = flag(mmap, "mmap")
    with opened(file) as (stream, name):
        try:
            if _peek(stream) != GZIP_MAGIC:
                return _parse(stream, name, max_bytes, _bytes_left(stream), mmap)
            if mmap:
                raise DatasetError(f"{name}: mmap=True, but it is gzipped; {how_to_unpack(name)}")
            with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
                return _parse(cast(BinaryIO, unpacked), name, max_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DatasetError(
                f"{name}: expected a complete gzip file, got a truncated or damaged one ({error}); "
                "delete it and fetch it again"
            ) from error


def how_to_unpack(*names: str) -> str:
    """The command that unpacks gzip files and keeps them."""
    command = shlex.join(["python", "-m", "gzip", "-d", *names])
    first = "" if all(name.endswith(".gz") for name in names) else "give it a name in .gz, then "
    return f"{first}unpack with: {command}"


def _parse(
    file: BinaryIO, name: str, max_bytes: int, left: int | None = None, mmap: bool = False
) -> Array:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or start[3] == 0:
        raise DatasetError(
            f"{name}: expected an IDX file (bytes 0, 0, a type of 08 09 0B 0C 0D 0E, 1 or more "
            f"dimensions), got {start!r}{_hint(start + file.read(PEEK))}"
        )
    dtype, ndim = np.dtype(TYPES[start[2]]), start[3]
    header = file.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise DatasetError(
            f"{name}: expected {ndim} sizes in the header, got {len(header)} bytes of them; "
            "the file is truncated: fetch it again"
        )
    shape = struct.unpack(f">{ndim}I", header)
    expected = math.prod(shape) * dtype.itemsize
    declared = f"{name}: expected {expected:,} bytes of data for shape {shape} of {dtype.name}"
    if expected > max_bytes and not mmap:
        raise DatasetError(f"{declared}, more than max_bytes={max_bytes:,}")
    if left is not None and left - 4 - 4 * ndim != expected:
        raise DatasetError(f"{declared}, got {left - 4 - 4 * ndim:,}; fetch the file again")
    try:
        np.broadcast_to(np.zeros((), dtype), shape)  # which takes no memory
    except ValueError as error:  # too many dimensions, or (0, huge, huge)
        raise DatasetError(f"{name}: NumPy does not support shape {shape}: {error}") from error
    if mmap:
        return _map(file, name, dtype, shape)
    data = bytearray()
    # One byte more reveals trailing data; reading to the end makes gzip check its CRC.
    while chunk := file.read(min(CHUNK, expected + 1 - len(data))):
        data += chunk
        if len(data) > expected:
            raise DatasetError(f"{declared}, got more: wrong header or trailing bytes")
    if len(data) < expected:
        raise DatasetError(f"{declared}, got {len(data):,}; the file is truncated: fetch it again")
    array = np.frombuffer(data, dtype).reshape(shape)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array


def _map(file: BinaryIO, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The array that begins at the file's position, mapped read-only."""
    try:
        file.fileno()
        start = file.tell()
    except (AttributeError, OSError) as error:
        raise DatasetError(f"{name}: mmap=True, expected a file on disk ({error})") from error
    return np.memmap(file, dtype, "r", start, shape)


def write(file: File, array: Array) -> None:
    """Write an array as an IDX file, gzipped for a path that ends in .gz, plain for an open file.

    array  1 or more dimensions; uint8, int8, int16, int32, float32 or float64; any byte order

    A path is written atomically: it has the old array or the new one. Equal arrays give equal
    bytes. Raises DatasetError for an array that IDX cannot store.
    """
    path = path_name(file, "file") if isinstance(file, (str, os.PathLike)) else None
    name = path or stream_name(file, "write")
    array = np.asarray(array)
    code = CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise DatasetError(
            f"{name}: expected an array of {', '.join(d.name for d in CODES)}, got {array.dtype}; "
            "convert it first, such as with array.astype('int32')"
        )
    if array.ndim == 0 or max(array.shape) >= 1 << 32:
        raise DatasetError(f"{name}: expected 1 or more sizes below 2**32, got {array.shape}")
    if path is None:
        return _write(cast(BinaryIO, file), code, array)
    with atomic_write(path) as part:
        if not path.endswith(".gz"):
            return _write(part, code, array)
        with gzip.GzipFile("", "wb", 9, part, mtime=0) as stream:
            _write(cast(BinaryIO, stream), code, array)


def _write(file: BinaryIO, code: int, array: Array) -> None:
    file.write(struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape))
    file.write(np.ascontiguousarray(array, TYPES[code]).tobytes())


def _peek(file: BinaryIO) -> bytes:
    """Return the next two bytes without consuming them."""
    if hasattr(file, "peek"):
        return bytes(file.peek(2)[:2])
    start = file.read(2)
    file.seek(-len(start), os.SEEK_CUR)
    return start


def _bytes_left(file: BinaryIO) -> int | None:
    """Return the number of unread bytes, None for a stream that cannot seek."""
    if not file.seekable():
        return None
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return end - here


def _hint(start: bytes) -> str:
    """A hint from the first bytes: the likely file format, and the fix."""
    if start[:2] == GZIP_MAGIC:
        return ": it is gzipped twice; unpack it once"
    text = looks_like(start)
    return f": {text}" if text else ""
