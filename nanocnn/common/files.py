"""Open files for reading, write them atomically, and recognise them by their first bytes."""

import contextlib
import errno
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from .errors import DatasetError

NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

PEEK = 512  # bytes that `looks_like` needs
# The first bytes of files often found under a wrong name, what they are, and the fix.
FETCH = "fetch the file again"
KINDS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer to a large file (git-lfs); run `git lfs pull`"),
    (b"/annex/objects/", "a pointer to a large file (git-annex); run `git annex get`"),
    (b".git/annex/", "a pointer to a large file (git-annex); run `git annex get`"),
    (b"../", "a pointer to a large file (git-annex); run `git annex get`"),
    (b"outs:", "a pointer to a large file (DVC); run `dvc pull`"),
    (b"<", f"a web page saved in its place; {FETCH}"),
    (b"{", f"JSON text (a server's message, or a model without weights); {FETCH}"),
    (b"\x89HDF", "an HDF5 file, whose name should end in .h5"),
    (b"PK", "a zip archive, as .keras and .npz files are"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"BZh", "a bzip2 file; unpack it"),
    (b"\xfd7zXZ", "an xz file; unpack it"),
    (b"\x93NUMPY", "one array (.npy)"),
    (b"\0\0\x08", "an IDX file, as MNIST's are"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    *((b"\x80" + bytes([protocol]), "a pickle, which can run any code and is never opened")
      for protocol in range(2, 6)),
)  # fmt: skip


def looks_like(start: bytes) -> str:
    """Return what a file that starts with `start` probably is, and the fix; "" if unknown."""
    if not start:
        return f"the file is empty; {FETCH}"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in KINDS:
        if start.startswith(magic) or text.startswith(magic):
            return f"it looks like {what}"
    if start[4:8] == b"TFL3":
        return "it looks like a TensorFlow Lite model"
    if start[:1] == b"\x08" and start[2:3] == b"\x12":  # fields 1 and 2 of a protocol buffer
        return "it looks like a protocol buffer (ONNX, or the .pb of TensorFlow)"
    return ""


def path_name(path: Any, what: str = "path") -> str:
    """Return `path` as a str, or raise ValueError; `what` names it in the message."""
    if isinstance(path, (str, os.PathLike)) and isinstance(name := os.fspath(path), str) and name:
        try:
            if b"\0" not in os.fsencode(name):
                return name
            why = "it contains a null character"
        except UnicodeEncodeError as error:
            why = f"{error.encoding} cannot encode it"
        raise ValueError(f"{what}={path!r:.80}, expected the name of a file; {why}")
    raise ValueError(f"{what}={path!r:.80}, expected the name of a file: a str or a Path")


@contextlib.contextmanager
def opened(
    file: str | os.PathLike[str] | BinaryIO, what: str = "file"
) -> Iterator[tuple[BinaryIO, str]]:
    """Open a path for reading, or pass on an open file; yields it and its name for messages.

    Raises `DatasetError` for anything else, for a closed file and for one open in text mode.
    """
    if isinstance(file, (str, os.PathLike)):
        name = path_name(file, what)
        with open(name, "rb") as stream:
            yield stream, name
    else:
        yield file, stream_name(file, "read")


def stream_name(file: Any, method: str) -> str:
    """Return the name of a binary file that has `method` ("read", "write"), or DatasetError."""
    if not hasattr(file, method):
        raise DatasetError(f"file={file!r:.80}, expected a path or a file open in binary mode")
    name = str(getattr(file, "name", None) or "<open file>")
    if isinstance(file, io.TextIOBase):
        raise DatasetError(f"{name}: expected a file open in binary mode ('rb'), got a text file")
    if getattr(file, "closed", False):
        raise DatasetError(f"{name}: the file is closed, expected an open one")
    return name


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends without an error.

    It is written under a hidden name ending in `.part` in the same folder, flushed to disk, then
    renamed. After an error (or Ctrl-C) the old file is unchanged and the temporary file removed;
    after a power cut or `kill -9` the temporary file may remain, which is harmless. Links are
    followed; an existing file keeps its permissions. Raises `OSError` with the file's name.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".nanocnn-{secrets.token_hex(8)}.part")
    try:
        # open() gives a new file the usual permissions; tempfile would make it private.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise OSError(
                error.errno, "disk full (or file size limit reached); nothing was changed", path
            ) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    with contextlib.suppress(OSError):  # flush the renaming too, where the system can (not Windows)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise `OSError` if no file can be written at `path`; its folders need not exist yet."""
    try:
        path = os.path.realpath(path)
        os.stat(path)  # raises for a name too long, or a file in place of a folder
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from error
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, expected the name of a file", path)
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    try:
        tempfile.TemporaryDirectory(dir=folder).cleanup()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: cannot create a file there", path) from error
