"""Who compiles what: of all processes that share a cache folder, one compiles each kernel.

A claim is a lock on one byte of a file in the folder, chosen by the entry's name. The system takes
it back when its process ends, however that ends, so none is left behind. Who finds an entry claimed
waits for it, but not for ever, and then compiles for itself: the worst that a claim can do is cost
time. (Nobody waits in a circle: while one kernel is compiled, only kernels that it calls are.)
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


PATIENCE = 60  # seconds that another process may take for one kernel; most take one or two
_held: set[Path] = set()


@cache
def _file(folder: Path) -> int:
    """The file of the locks; never closed, since closing it gives back all locks of a process."""
    return os.open(folder / "claims", os.O_RDWR | os.O_CREAT, 0o644)


def _place(entry: Path) -> int:
    return int(entry.stem[-7:], 16)  # of the hash; two entries at one place just wait needlessly


def take(entry: Path) -> bool:
    """Whether this process is the one to compile `entry`. It is claimed until `drop(entry)`."""
    if entry not in _held:
        try:
            _lock(_file(entry.parent), _place(entry), True)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # a file system without locks, a full disk: then each for itself
        _held.add(entry)
    return True


def drop(entry: Path) -> None:
    """Give back a claim."""
    if entry in _held:
        _held.remove(entry)
        _lock(_file(entry.parent), _place(entry), False)


def wait(entry: Path) -> None:
    """Wait until `entry` is there or nobody compiles it any more, `PATIENCE` seconds at most."""
    end = time.monotonic() + PATIENCE
    while not entry.exists() and time.monotonic() < end:
        if take(entry):  # given up: then those who have waited need not wait for one another
            drop(entry)
            return
        time.sleep(0.01)
