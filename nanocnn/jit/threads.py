"""How many threads: the cores this process may use, `set_num_threads`, and BLAS held to one thread.

Only numbers: the threads themselves are in `pool`. Loads neither NumPy nor numba.
"""

import os
import threading
from collections.abc import Callable
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

from .launcher import launch

__all__ = ["get_num_threads", "set_num_threads", "single_threaded_blas"]


# --- Cores ---


def usable_cores() -> int:
    """The cores that the threads of this process can keep busy, at least 1.

    Processes that an MPI launcher started on this machine share its cores. A smaller
    OMP_NUM_THREADS is respected, as in BLAS.
    """
    cores = min([allowed_cores(), *cgroup_cores()])
    cores = max(1, cores // launch().local)
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else cores


def allowed_cores() -> int:
    """The cores the system may run this process on now (taskset, PYTHON_CPU_COUNT)."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


def cgroup_cores(
    groups: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """The CPU quotas of this process's control groups and their parents, in cores.

    Rounded up, each at least 1; empty where there is none. A container with a quota still sees all
    cores of its host. Source: cgroups(7), Linux's cgroup-v2.rst and sched-bwc.rst.
    """
    found = []
    for line in (_read(groups) or "").splitlines():  # "0::/a/b" (v2) or "4:cpu,cpuacct:/a/b" (v1)
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        version2 = controllers == ""
        if not version2 and "cpu" not in controllers.split(","):
            continue
        mount = mounts if version2 else mounts / controllers
        if not mount.exists():
            mount = mounts / ("unified" if version2 else "cpu")
        # inside a container the path may be the host's: then only the mount itself exists
        inner = mount / path.lstrip("/")
        for folder in (inner, *inner.parents):
            found += _cores(folder, version2)
            if folder == mount:
                break
    return found


def _cores(folder: Path, version2: bool) -> list[int]:
    if version2:
        numbers = (_read(folder / "cpu.max") or "").split()  # "max 100000" without a quota
    else:
        names = "cpu.cfs_quota_us", "cpu.cfs_period_us"  # a quota of -1 is none
        numbers = [(_read(folder / name) or "").strip() for name in names]
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) for number in numbers):
        return []
    return [-(-int(numbers[0]) // int(numbers[1]))]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


# --- The number of threads ---

_num_threads = usable_cores()
_lock = threading.RLock()  # reentrant: a signal handler may take it again


def get_num_threads() -> int:
    """How many threads one call of a kernel may use, the calling one included."""
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let kernels use `n` threads from now on, and BLAS (for the reference kernels) too.

    Results do not depend on it. Raises ValueError unless `n` is an integer from 1 to 1024.
    """
    global _num_threads
    if isinstance(n, bool) or not isinstance(n, Integral) or not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: n={n!r:.80}, expected an integer from 1 to 1024")
    with _lock:
        _num_threads = int(n)
        if _blas_users:
            _blas_threads[:] = [_num_threads] * len(_blas())
        else:
            for blas in _blas():
                _set(blas, _num_threads)


# --- BLAS has threads of its own: while ours run, one BLAS call may use one thread only ---

_blas_users: dict[object, int] = {}  # running calls of single_threaded_blas, and their threads
_blas_threads: list[int] = []  # what each BLAS was set to before the first of them


@cache
def _blas() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set(blas: Any, n: int) -> None:
    """Set the number of threads of one BLAS.

    `_real_set_num_threads` and `clear_controlling_thread` are of a threadpoolctl that lets a single
    thread control it, behind a lock; here any thread may, and a signal handler that waited for the
    lock of the thread it interrupted would wait for ever. Without these names threadpoolctl has no
    such lock.
    """
    if set_without_lock := getattr(blas, "_real_set_num_threads", None):
        set_without_lock(n)
        return
    release = getattr(blas, "clear_controlling_thread", None)
    if release:
        release(force=True)
    blas.set_num_threads(n)
    if release:
        release()


Result = TypeVar("Result")


def single_threaded_blas(function: Callable[..., Result], *args: Any) -> Result:
    """function(*args), in which each BLAS call runs on the calling thread alone.

    May be called by many threads at once, and by a signal handler in between. `_leave` is called
    twice so that it completes once, wherever an interruption comes.
    """
    user = object()
    try:
        try:
            _enter(user)
            return function(*args)
        finally:
            _leave(user)
    finally:
        _leave(user)


# A signal handler may run between any two lines of these, and enter and leave itself. It leaves
# BLAS as the users in the list want it, so each line must be correct after that too.


def _enter(user: object) -> None:
    with _lock:
        _blas_users[user] = threading.get_ident()
        if not _blas_threads:
            counts = [blas.get_num_threads() for blas in _blas()]
            _blas_threads[:] = _blas_threads or counts
        _adjust([1] * len(_blas()))


def _leave(user: object) -> None:
    with _lock:
        _blas_users.pop(user, None)
        if not _blas_users:
            _adjust(list(_blas_threads))
            _blas_threads.clear()


def _adjust(counts: list[int]) -> None:
    for blas, n in zip(_blas(), counts, strict=False):
        if blas.get_num_threads() != n:
            _set(blas, n)


def _after_fork() -> None:
    """In a forked child only the forking thread lives on."""
    global _lock
    _lock = threading.RLock()
    me = threading.get_ident()
    for user in [user for user, thread in _blas_users.items() if thread != me]:
        del _blas_users[user]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
