"""How many threads: cores, quotas, `set_num_threads`, and BLAS held to one thread."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from nanocnn.jit import threads

# --- Cores: affinity, the quotas of control groups, OMP_NUM_THREADS ---


@pytest.fixture
def groups(tmp_path):
    """write(lines, files): what /proc/self/cgroup says, and files under /sys/fs/cgroup."""

    def write(lines, **files):
        (tmp_path / "cgroup").write_text(lines)
        for name, text in files.items():
            path = tmp_path / "mounts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return threads.cgroup_cores(tmp_path / "cgroup", tmp_path / "mounts")

    return write


@pytest.mark.parametrize(
    ("text", "count"),
    [("200000 100000\n", [2]), ("150000 100000\n", [2]), ("1000 100000\n", [1]),
     ("max 100000\n", []), ("", []), ("strange", []), ("1 0", []), ("-1 100000", [])],
)  # fmt: skip
def test_cgroup_version_2(groups, text, count):
    assert groups("0::/\n", **{"cpu.max": text}) == count


def test_cgroup_version_2_includes_the_parents(groups):
    files = {"cpu.max": "400000 100000", "a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}
    assert sorted(groups("0::/a/b\n", **files)) == [1, 4]
    assert groups("0::/of/the/host\n") == [4]  # a path that is not there


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("quota", "count"), [("250000", [3]), ("-1", [])])
def test_cgroup_version_1(groups, folder, quota, count):
    files = {f"{folder}/docker/x/cpu.cfs_quota_us": quota,
             f"{folder}/docker/x/cpu.cfs_period_us": "100000\n"}  # fmt: skip
    lines = "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n0::/\n"
    assert groups(lines, **files) == count


def test_no_control_groups(tmp_path):
    assert threads.cgroup_cores(tmp_path / "none", tmp_path) == []


def test_the_smallest_limit_is_used(monkeypatch):
    monkeypatch.setattr(threads, "allowed_cores", lambda: 8)
    monkeypatch.setattr(threads, "cgroup_cores", lambda: [6, 3])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads.usable_cores() == 3
    for text, count in [("2", 2), ("5", 3), ("1,4", 1), ("0", 3), ("no", 3)]:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads.usable_cores() == count


# --- The number of threads ---


def printed(code, **options):
    """What a new process that runs `code` prints, after it has ended well."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


@pytest.fixture
def two(set_threads):
    set_threads(2)


def test_the_number_of_threads_is_checked():
    before = threads.get_num_threads()
    for bad in (0, -1, 1.5, "2", None, True, 10**6, float("nan")):
        with pytest.raises(ValueError, match="set_num_threads"):
            threads.set_num_threads(bad)
    threads.set_num_threads(np.int64(3))
    assert threads.get_num_threads() == 3
    threads.set_num_threads(before)


def test_the_default_is_the_usable_cores():
    code = "from nanocnn import get_num_threads; print(get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert int(printed(code, env=environment)) == cores
    for asked, got in [("1", 1), ("999", cores), ("1,2", 1), ("no", cores), ("", cores)]:
        assert int(printed(code, env={**environment, "OMP_NUM_THREADS": asked})) == got


# --- BLAS held to one thread ---


def blas_threads():
    """Of NumPy's BLAS; numba may have loaded SciPy's since, which we don't call."""
    return [blas.get_num_threads() for blas in threads._blas()]


def test_single_threaded_blas(two):
    assert blas_threads() and set(blas_threads()) == {2}  # set_num_threads has set them too

    def inside(depth):
        assert set(blas_threads()) == {1}
        if depth:
            assert threads.single_threaded_blas(inside, depth - 1) == depth - 1
        else:
            threads.set_num_threads(3)
        assert set(blas_threads()) == {1}
        return depth

    assert threads.single_threaded_blas(inside, 2) == 2
    assert set(blas_threads()) == {3}
    with pytest.raises(ZeroDivisionError):
        threads.single_threaded_blas(lambda: 1 / 0)
    assert set(blas_threads()) == {3}


def test_single_threaded_blas_from_many_threads(two):
    wrong = []

    def caller():
        for _ in range(30):
            inside = threads.single_threaded_blas(blas_threads)
            if set(inside) != {1}:
                wrong.append(inside)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong and set(blas_threads()) == {2}


def test_it_loads_neither_numpy_nor_numba():
    code = "import sys, nanocnn.jit.threads; print({'numpy', 'numba'} & {*sys.modules})"
    assert printed(code) == "set()\n"


def test_a_model_of_reference_kernels_works_without_numba():
    code = """if True:
        import sys
        sys.modules.update(dict.fromkeys(("numba", "llvmlite")))
        import numpy as np
        from nanocnn import Conv2D, Dense, Flatten, Input, Sequential, set_num_threads
        set_num_threads(2)
        model = Sequential([Input((5, 5, 1)), Conv2D(2, 3), Flatten(), Dense(2, "softmax")],
                           kernels="reference")
        model.compile("adam", "sparse_categorical_crossentropy")
        x = np.ones((4, 5, 5, 1))
        model.fit(x, [0, 1, 0, 1], verbose=0)
        print(model.predict(x[:1]).shape, model.predict(x[:1]).shape)"""
    assert printed(code) == "(1, 2) (1, 2)\n"


def test_nanocnn_threads_is_an_import_path_for_it():
    from nanocnn import threads as moved

    assert moved is threads
