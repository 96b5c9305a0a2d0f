"""Claims: of all processes that share a cache folder, only one compiles each kernel.

A claim is a lock on one byte of a file in the folder; the entry's name determines the byte. The
operating system releases it when the process ends, whatever the cause. A process that finds an
entry claimed waits for it, up to a limit, and then compiles the kernel itself, so a claim can only
cost time. There is no deadlock: only kernels that a kernel calls are compiled during its own
compilation.
"""

import os
import sys
import time
from functools import cache
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, at: int, on: bool) -> None:
        os.lseek(file, at, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK if on else msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int, at: int, on: bool) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB if on else fcntl.LOCK_UN, 1, at)


TIMEOUT = 60  # seconds to wait for another process; most kernels take one or two
_held: set[Path] = set()


@cache
def _file(folder: Path) -> int:
    """The lock file; never closed, because closing it releases all locks of the process."""
    return os.open(folder / "claims", os.O_RDWR | os.O_CREAT, 0o644)


def _place(entry: Path) -> int:
    return int(entry.stem[-7:], 16)  # of the hash; a collision only causes a needless wait


def take(entry: Path) -> bool:
    """Claim `entry` until `drop(entry)`; False if another process has claimed it."""
    if entry not in _held:
        _held.add(entry)  # before: after an interruption here `drop` must know of it
        try:
            _lock(_file(entry.parent), _place(entry), True)
        except OSError as error:
            _held.remove(entry)
            # else no locks on this file system, or a full disk: each process compiles
            return not isinstance(error, BlockingIOError | PermissionError)
    return True


def drop(entry: Path) -> None:
    """Release a claim."""
    if entry in _held:
        _held.remove(entry)
        _lock(_file(entry.parent), _place(entry), False)


def wait(entry: Path) -> None:
    """Wait until `entry` exists or its claim is released, at most `TIMEOUT` seconds."""
    end = time.monotonic() + TIMEOUT
    while not entry.exists() and time.monotonic() < end:
        if take(entry):  # released without a result: the waiting processes all compile
            drop(entry)
            return
        time.sleep(0.01)
