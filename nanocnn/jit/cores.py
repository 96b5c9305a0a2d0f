"""How many cores this process may use: its affinity, its container's quota, OMP_NUM_THREADS."""

import os
from pathlib import Path


def usable_cores() -> int:
    """The cores that the threads of this process can keep busy, at least 1.

    A smaller OMP_NUM_THREADS is respected, as in BLAS.
    """
    cores = min([allowed_cores(), *cgroup_cores()])
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else cores


def allowed_cores() -> int:
    """The cores the system may run this process on now (taskset, PYTHON_CPU_COUNT)."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not say
        return os.cpu_count() or 1


def cgroup_cores(
    groups: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """The quotas of processor time of this process's control groups and their parents, in cores.

    Rounded up, each at least 1; empty where there is none. A container has such a quota, and sees
    all cores of its host all the same. Source: cgroups(7), Linux's cgroup-v2.rst and sched-bwc.rst.
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
        # inside a container the path may be the host's: then only the mount itself is there
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
