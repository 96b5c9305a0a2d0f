"""Opening files: one to read, and one to write so that a reader never finds half of it."""

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def opened(file: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """A path opened to be read, or a file that is open already; with its name for messages."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as stream:
            yield stream, os.fspath(file)
    else:
        yield file, str(getattr(file, "name", None) or "<open file>")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """An open binary file that takes the place of `path` when the block ends without an error.

    Written beside it under a hidden name ending in `.part`, flushed to the disk, then moved over
    it. After an error (Ctrl-C too) the old file is as it was and the temporary one is gone; after
    a power cut or `kill -9` the temporary one may stay, harmless. Links are followed; permissions
    are those of the old file, or of any new one.
    Raises `OSError` with the file's name, and a plain word when the disk is full.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".nanocnn-{secrets.token_hex(8)}.part")
    try:
        # "x" gives the permissions of any new file; tempfile would make it private.
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
                error.errno, "disk full (or file size limited); nothing was changed", path
            ) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync_folder(folder)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise `OSError` if no file can be written at `path`, whose folders may have to be made."""
    try:
        path = os.path.realpath(path)
        os.stat(path)  # finds a name too long, a file in place of a folder
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from error
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "a folder, expected the name of a file", path)
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    try:
        tempfile.TemporaryDirectory(dir=folder).cleanup()
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}: nothing can be written there", path
        ) from error


def sync_folder(folder: str) -> None:
    """Ask the disk to remember a rename in `folder`, where the system can (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
