"""Zip archives and JSON from strangers: what is read takes no more memory than the file's size."""

import json
import struct
import zipfile
from collections.abc import Collection
from typing import IO, Any, BinaryIO

from ..common.errors import ModelFileError

MAX_JSON = 4 << 20  # bytes; parsed, JSON takes at most about 25 times its size
# Bytes of a zip directory, and members: those of 10,000 layers and their optimizer's state.
MAX_DIRECTORY, MAX_MEMBERS = 6 << 20, 2**16 - 2  # with one more a zip needs 64-bit fields
ENTRY = 46  # bytes of a member in the directory, beside its name
END = struct.Struct("<4s4H2LH")  # end of central directory, when it has no comment

FIRST_MEMBERS = {
    "nanocnn.npy": "a model of nanocnn's, whose name should end in .npz",
    "config.json": "a model of Keras's, whose name should end in .keras",
}

# All that zipfile raises for a damaged archive, depending on what is damaged.
DAMAGED = (
    zipfile.BadZipFile,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)


class Archive:
    """A zip archive whose members are stored, not compressed, and fit into the file together.

    `sizes`: bytes by member name. Raises `ModelFileError` for anything else than such an archive.
    """

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, 2)
        file.seek(max(0, size - END.size - 20))
        tail = file.read()
        if len(tail) < END.size or tail[-END.size :][:4] != b"PK\5\6" or tail[-2:] != b"\0\0":
            raise ModelFileError("not a zip archive, or one that was cut short")
        directory = END.unpack(tail[-END.size :])[5]
        # zipfile would follow a 64-bit end record to another directory, of another size.
        if directory > MAX_DIRECTORY or tail.startswith(b"PK\6\7"):
            raise ModelFileError(f"zip directory of more than {MAX_DIRECTORY} bytes, or zip64")
        try:
            self._zip = zipfile.ZipFile(file)
        except DAMAGED as error:
            raise ModelFileError(f"damaged zip archive: {error}") from error
        self.sizes: dict[str, int] = {}
        if len(self._zip.filelist) > MAX_MEMBERS:
            raise ModelFileError(f"zip archive of more than {MAX_MEMBERS} members")
        for info in self._zip.infolist():
            name = info.filename
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise ModelFileError(f"{name!r}: compressed; expected a stored member")
            if name in self.sizes:
                raise ModelFileError(f"{name!r}: there twice")
            self.sizes[name] = info.file_size
        if (total := sum(self.sizes.values())) > size:
            raise ModelFileError(f"members of {total} bytes together in a file of {size} bytes")

    def read(self, name: str) -> bytes:
        """The bytes of member `name`, checked against their CRC."""
        if name not in self.sizes:
            raise ModelFileError(f"{name!r} is missing{self._instead(name)}")
        try:
            data = self._zip.read(name)
        except DAMAGED as error:
            raise ModelFileError(f"{name!r}: damaged: {error}") from error
        if len(data) != self.sizes[name]:
            raise ModelFileError(f"{name!r}: {len(data)} bytes, expected {self.sizes[name]}")
        return data

    def _instead(self, name: str) -> str:
        """What the archive is, when it lacks the member that every one of its kind has."""
        if name not in FIRST_MEMBERS:
            return ""
        for other, what in FIRST_MEMBERS.items():
            if other in self.sizes:
                return f", {other!r} is there: {what}"
        return ": a zip archive, but no saved model"


def parse_json(text: bytes | str, what: str) -> dict[str, Any]:
    """The JSON object in `text`, which is at most MAX_JSON long; `what` names it in errors."""
    if len(text) > MAX_JSON:
        raise ModelFileError(f"{what}: {len(text)} bytes of JSON, expected at most {MAX_JSON}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{what}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{what}: {type(value).__name__}, expected a JSON object")
    return value


def check_members(names: Collection[str]) -> None:
    """Raise ValueError for more members, or longer names, than are read again."""
    directory = sum(ENTRY + len(name.encode()) for name in names)
    if len(names) > MAX_MEMBERS or directory > MAX_DIRECTORY:
        raise ValueError(
            f"{len(names)} arrays, whose names take {directory} bytes: expected at most "
            f"{MAX_MEMBERS} and {MAX_DIRECTORY} bytes"
        )


def add_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A stream into the new member `name`."""
    # A ZipInfo of its own has no time of day in it: equal models give equal files.
    return archive.open(zipfile.ZipInfo(name), "w")
