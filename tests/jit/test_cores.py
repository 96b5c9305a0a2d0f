"""How many cores may be used: affinity, the quotas of control groups, OMP_NUM_THREADS."""

import pytest

from nanocnn.jit import cores


@pytest.fixture
def groups(tmp_path):
    """write(lines, files): what /proc/self/cgroup says, and files under /sys/fs/cgroup."""

    def write(lines, **files):
        (tmp_path / "cgroup").write_text(lines)
        for name, text in files.items():
            path = tmp_path / "mounts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cores.cgroup_cores(tmp_path / "cgroup", tmp_path / "mounts")

    return write


@pytest.mark.parametrize(
    ("text", "count"),
    [("200000 100000\n", [2]), ("150000 100000\n", [2]), ("1000 100000\n", [1]),
     ("max 100000\n", []), ("", []), ("strange", []), ("1 0", []), ("-1 100000", [])],
)  # fmt: skip
def test_version_2(groups, text, count):
    assert groups("0::/\n", **{"cpu.max": text}) == count


def test_version_2_asks_the_parents_too(groups):
    files = {"cpu.max": "400000 100000", "a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}
    assert sorted(groups("0::/a/b\n", **files)) == [1, 4]
    assert groups("0::/of/the/host\n") == [4]  # a path that is not there


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("quota", "count"), [("250000", [3]), ("-1", [])])
def test_version_1(groups, folder, quota, count):
    files = {f"{folder}/docker/x/cpu.cfs_quota_us": quota,
             f"{folder}/docker/x/cpu.cfs_period_us": "100000\n"}  # fmt: skip
    lines = "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n0::/\n"
    assert groups(lines, **files) == count


def test_without_control_groups(tmp_path):
    assert cores.cgroup_cores(tmp_path / "none", tmp_path) == []


def test_the_smallest_counts(monkeypatch):
    monkeypatch.setattr(cores, "allowed_cores", lambda: 8)
    monkeypatch.setattr(cores, "cgroup_cores", lambda: [6, 3])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores.usable_cores() == 3
    for text, count in [("2", 2), ("5", 3), ("1,4", 1), ("0", 3), ("no", 3)]:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert cores.usable_cores() == count
