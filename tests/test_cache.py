"""Compiled kernels on disk: found again, never stale, never mixed up, and never in the way."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nanocnn

KERNELS = Path(nanocnn.__file__).parent / "kernels"

# A miniature of the package: its real compiler.py, and two kernels that share a callee elsewhere
CALLEE = """
from .compiler import inlined
@inlined
def factor():
    return 2
"""
KERNEL = """
from .callee import factor
from .compiler import compiled
@compiled
def scale(x):
    for i in range(x.size):
        x[i] *= factor()
def make(n):
    @compiled
    def add(x):
        for i in range(x.size):
            x[i] += n
    return add
"""
RUN = """
import json, sys
import numpy as np
from mini.kernels.fast.compiler import cache_folder, counts
from mini.kernels.fast import kernel
x = np.ones(3, sys.argv[1])
kernel.scale(x)
for n in (10, 100):
    kernel.make(n)(x)
print(json.dumps({"x": x.tolist(), "folder": str(cache_folder()), **counts}))
"""


@pytest.fixture
def mini(tmp_path):
    fast = tmp_path / "mini" / "kernels" / "fast"
    fast.mkdir(parents=True)
    for folder in (fast, fast.parent, fast.parent.parent):
        (folder / "__init__.py").touch()
    for name in ("threads.py", "cores.py", "recording.py"):
        shutil.copy(KERNELS.parent / name, fast.parent.parent)
    for name in ("compiler.py", "ahead.py"):
        shutil.copy(KERNELS / "fast" / name, fast)
    for source in KERNELS.glob("*.py"):
        if source.stem not in ("__init__", "reference"):
            shutil.copy(source, fast.parent)
    (fast / "callee.py").write_text(CALLEE)
    (fast / "kernel.py").write_text(KERNEL)
    return fast


def start(mini, dtype="float32", **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "NANOCNN_CACHE")}
    kept |= {"XDG_CACHE_HOME": str(mini.parent / "user"), "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= environment
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RUN, dtype], cwd=mini.parent.parent.parent, text=True,
        env={k: v for k, v in kept.items() if v is not None},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(output) | {"said": errors}


def run(mini, dtype="float32", **environment):
    return finish(start(mini, dtype, **environment))


def test_the_second_process_compiles_nothing(mini):
    first = run(mini)
    assert first["x"] == [112, 112, 112]
    assert first["compiled"] == 3 and first["loaded"] == 0
    assert first["said"].count("compiling kernels for this machine (once)") == 1
    assert first["said"].count("\n") == 1
    second = run(mini)
    assert second["compiled"] == 0 and second["loaded"] == 3 and second["x"] == first["x"]
    assert second["said"] == ""
    other = run(mini, "float64")
    assert other["compiled"] == 3 and other["x"] == first["x"]


def test_an_edited_callee_in_another_file_is_compiled_anew(mini):
    run(mini)
    (mini / "callee.py").write_text(CALLEE.replace("2", "3"))
    edited = run(mini)
    assert edited["x"] == [113, 113, 113] and edited["loaded"] == 0
    (mini / "callee.py").write_text(CALLEE)
    assert run(mini)["loaded"] == 3  # as it was: what was compiled then is good again


@pytest.mark.slow
def test_an_edited_simd_module_is_seen(mini):
    run(mini)
    with open(mini.parent / "simd.py", "a") as file:
        file.write("# changed\n")
    assert run(mini)["loaded"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name, value", [("NUMBA_CPU_NAME", "haswell"), ("NUMBA_BOUNDSCHECK", "1")])
def test_another_processor_or_debugging_has_its_own(mini, name, value):
    run(mini)
    assert run(mini, **{name: value})["loaded"] == 0
    assert run(mini, **{name: value})["compiled"] == 0
    assert run(mini)["compiled"] == 0


def test_a_folder_that_cannot_be_written(mini):
    (mini / "__pycache__").write_text("a file where the folder should be")
    first = run(mini)
    assert first["folder"] == str(mini.parent / "user" / "nanocnn" / "compiled")
    assert run(mini)["loaded"] == 3


@pytest.mark.slow
def test_no_folder_at_all(mini):
    (mini / "__pycache__").write_text("a file where the folder should be")
    (mini.parent / "user").write_text("another")
    result = run(mini)
    assert result["folder"] == "None" and result["x"] == [112, 112, 112]
    assert "once a process" in result["said"]


@pytest.mark.slow
def test_no_home(mini):
    assert run(mini, HOME=None, XDG_CACHE_HOME=None)["x"] == [112, 112, 112]
    (mini / "__pycache__" / "compiled").rename(mini / "elsewhere")
    (mini / "__pycache__").rmdir()
    (mini / "__pycache__").write_text("a file where the folder should be")
    nowhere = run(mini, HOME="/dev/null", XDG_CACHE_HOME=None)
    assert nowhere["folder"] == "None" and nowhere["x"] == [112, 112, 112]


@pytest.mark.slow
def test_it_can_be_switched_off(mini):
    for _ in range(2):
        result = run(mini, NANOCNN_CACHE="0")
        assert result["folder"] == "None" and result["compiled"] == 3
    assert not (mini / "__pycache__").exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions only")
def test_a_folder_that_others_may_write_to_is_not_trusted(mini):
    folder = mini / "__pycache__" / "compiled"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert run(mini)["folder"] != str(folder)
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    assert run(mini)["folder"] == str(folder)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives away")
def test_a_folder_of_somebody_else_is_not_trusted(mini):
    folder = mini / "__pycache__" / "compiled"
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    assert run(mini)["folder"] != str(folder)


@pytest.mark.slow
def test_broken_entries_are_written_anew(mini):
    run(mini)
    folder = mini / "__pycache__" / "compiled"
    entries = sorted(folder.glob("*.nbc"))
    assert len(entries) == 3
    content = [entry.read_bytes() for entry in entries]
    entries[0].write_bytes(content[0][:-100])
    entries[1].write_bytes(b"")
    entries[2].write_bytes(content[2][:200] + b"\0" + content[2][201:])
    result = run(mini)
    assert result["x"] == [112, 112, 112] and result["loaded"] == 0
    assert run(mini)["loaded"] == 3


def test_an_entry_of_another_kernel_is_not_taken(mini):
    run(mini)
    first, second, _ = sorted((mini / "__pycache__" / "compiled").glob("*.nbc"))
    assert first.name.split("-")[0] == second.name.split("-")[0] == "add"
    assert first.read_bytes() != second.read_bytes()  # made with 10 and with 100


@pytest.mark.slow
def test_processes_that_start_at_once(mini):
    processes = [start(mini, dtype) for dtype in ("float32", "float64", "float32")]
    for process in processes:
        assert finish(process)["x"] == [112, 112, 112]
    for dtype in ("float32", "float64"):
        again = run(mini, dtype)
        assert again["x"] == [112, 112, 112] and again["compiled"] == 0
    assert not list((mini / "__pycache__" / "compiled").glob("*.tmp"))


@pytest.mark.slow
def test_old_entries_of_other_versions_are_removed(mini):
    run(mini)
    folder = mini / "__pycache__" / "compiled"
    for name in ("old-00000000-1.nbc", "new-00000000-1.nbc"):
        (folder / name).touch()
    os.utime(folder / "old-00000000-1.nbc", (0, 0))
    for entry in folder.glob("add-*"):
        os.utime(entry, (0, 0))  # old, but of this version
    run(mini, "float64")
    names = [entry.name for entry in folder.iterdir()]
    assert "old-00000000-1.nbc" not in names and "new-00000000-1.nbc" in names
    assert sum(name.startswith("add-") for name in names) == 4
