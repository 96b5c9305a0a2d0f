"""Untrusted zip archives and JSON, read in memory bounded by the size of the file."""

import json
import struct
import zipfile
from collections.abc import Collection
from typing import IO, Any, BinaryIO

from ..common.errors import ModelFileError

MAX_JSON = 4 << 20  # bytes; parsed, JSON takes at most about 25 times its size
# Bytes of a zip directory and number of members: enough for 10,000 layers and optimizer state.
MAX_DIRECTORY, MAX_MEMBERS = 6 << 20, 2**16 - 2  # one more needs zip64
ENTRY = 46  # bytes of a member in the directory, without its name
END = struct.Struct("<4s4H2LH")  # end of central directory, without comment

FIRST_MEMBERS = {
    "nanocnn.npy": "a nanocnn model, whose name should end in .npz",
    "config.json": "a Keras model, whose name should end in .keras",
}


class Archive:
    """A zip archive of uncompressed members, together no larger than the file.

    `sizes`: bytes by member name. Raises `ModelFileError` for any other archive.
    """

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, 2)
        file.seek(max(0, size - END.size - 20))
        tail = file.read()
        if len(tail) < END.size or tail[-END.size :][:4] != b"PK\5\6" or tail[-2:] != b"\0\0":
            raise ModelFileError("not a zip archive, or a truncated one")
        directory = END.unpack(tail[-END.size :])[5]
        # zipfile would follow a zip64 record to another directory of another size.
        if directory > MAX_DIRECTORY or tail.startswith(b"PK\6\7"):
            raise ModelFileError(f"zip64, or a zip directory of more than {MAX_DIRECTORY} bytes")
        try:
            self._zip = zipfile.ZipFile(file)
        except Exception as error:  # zipfile raises many kinds for damaged archives
            raise ModelFileError(f"damaged zip archive: {error}") from error
        self.sizes: dict[str, int] = {}
        if len(self._zip.filelist) > MAX_MEMBERS:
            raise ModelFileError(f"zip archive of more than {MAX_MEMBERS} members")
        for info in self._zip.infolist():
            name = info.filename
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise ModelFileError(f"{name!r}: compressed; expected a stored member")
            if name in self.sizes:
                raise ModelFileError(f"{name!r}: duplicate member")
            self.sizes[name] = info.file_size
        if (total := sum(self.sizes.values())) > size:
            raise ModelFileError(f"members of {total} bytes in total in a file of {size} bytes")

    def read(self, name: str) -> bytes:
        """Return the bytes of member `name`, checked against their CRC."""
        if name not in self.sizes:
            raise ModelFileError(f"{name!r} is missing{self._instead(name)}")
        try:
            data = self._zip.read(name)
        except Exception as error:
            raise ModelFileError(f"{name!r}: damaged: {error}") from error
        if len(data) != self.sizes[name]:
            raise ModelFileError(f"{name!r}: {len(data)} bytes, expected {self.sizes[name]}")
        return data

    def _instead(self, name: str) -> str:
        """Describe the archive if the missing `name` is the member that its format requires."""
        if name not in FIRST_MEMBERS:
            return ""
        for other, what in FIRST_MEMBERS.items():
            if other in self.sizes:
                return f", but {other!r} is present: {what}"
        return ": a zip archive, but not a saved model"


def parse_json(text: bytes | str, what: str) -> dict[str, Any]:
    """Parse `text`, at most MAX_JSON long, as a JSON object; `what` names it in errors."""
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
    """Raise ValueError for more members, or longer names, than `Archive` accepts."""
    directory = sum(ENTRY + len(name.encode()) for name in names)
    if len(names) > MAX_MEMBERS or directory > MAX_DIRECTORY:
        raise ValueError(
            f"{len(names)} arrays with a directory of {directory} bytes, expected at most "
            f"{MAX_MEMBERS} and {MAX_DIRECTORY} bytes"
        )


def add_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Return a stream to write the new member `name`."""
    # A default ZipInfo has a fixed date: equal models give equal files.
    return archive.open(zipfile.ZipInfo(name), "w")
