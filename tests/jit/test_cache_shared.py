"""Compiled kernels on disk, and other people and processes: who is trusted, and who compiles."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from nanocnn.jit import claims
from support import tiny_package
from support.tiny_package import RUN, compiled, entries, finish, run, start

posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions only")
root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives away"
)


@pytest.fixture
def mini(tmp_path):
    return tiny_package.make(tmp_path)


# --- Who is trusted ---


@posix
def test_a_folder_that_others_may_write_to_is_not_trusted(mini):
    folder = compiled(mini)
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert run(mini)["folder"] != str(folder)
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    assert run(mini)["folder"] == str(folder)


@pytest.mark.slow
@root
def test_a_folder_of_another_user_is_not_trusted(mini):
    folder = compiled(mini)
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    assert run(mini)["folder"] != str(folder)


@posix
@pytest.mark.parametrize("mode, trusted", [(0o777, False), (0o775, False), (0o1777, True),
                                           (0o755, True)])  # fmt: skip
def test_a_folder_below_one_that_others_may_write_to_is_not_trusted(mini, tmp_path, mode, trusted):
    place = tmp_path / "shared" / "between" / "mine"
    place.mkdir(parents=True)
    (tmp_path / "shared").chmod(mode)
    folder = run(mini, NUMBA_CACHE_DIR=str(place))["folder"]
    assert (folder == str(place / "mini")) == trusted
    assert folder != "None"  # the next in the row is taken


@root
def test_a_folder_below_one_of_another_user_is_not_trusted(mini, tmp_path):
    place = tmp_path / "theirs" / "mine"
    place.mkdir(parents=True)
    os.chown(tmp_path / "theirs", 12345, 12345)
    assert run(mini, NUMBA_CACHE_DIR=str(place))["folder"] == str(compiled(mini))


@posix
def test_a_link_is_followed_once(mini, tmp_path):
    """Whoever turns it to another place later does not reach a program that runs."""
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    folder = run(mini, NUMBA_CACHE_DIR=str(tmp_path / "link"))["folder"]
    assert folder == str((tmp_path / "place" / "mini").resolve())
    (tmp_path / "place").chmod(0o777)
    assert run(mini, NUMBA_CACHE_DIR=str(tmp_path / "link"))["folder"] != folder


@posix
def test_created_folders_are_writable_by_this_user_only(mini, tmp_path):
    code = f"import os; os.umask(0)\n{RUN}"
    assert run(mini, code=code, NUMBA_CACHE_DIR=str(tmp_path / "a" / "b"))["folder"] != "None"
    for path in ("a", "a/b", "a/b/mini"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o755
    for entry in (tmp_path / "a/b/mini").iterdir():
        assert entry.stat().st_mode & 0o022 == 0


def linked(entry):
    entry.rename(entry.with_suffix(".away"))
    entry.symlink_to(entry.with_suffix(".away"))


def piped(entry):
    entry.unlink()
    os.mkfifo(entry)


@posix
@pytest.mark.parametrize("spoil", [
    lambda entry: entry.chmod(0o666),
    pytest.param(lambda entry: entry.chmod(0o664), marks=pytest.mark.slow),
    pytest.param(lambda entry: os.chown(entry, 12345, 12345), marks=root),
    linked,
    pytest.param(piped, marks=pytest.mark.slow),
], ids=["others write", "group writes", "somebody else's", "a link", "a pipe"])  # fmt: skip
def test_an_entry_that_others_may_write_to_is_not_read(mini, spoil):
    run(mini)
    for entry in entries(mini):
        spoil(entry)
    assert run(mini)["loaded"] == 0
    assert run(mini)["loaded"] == 3  # written anew


# --- Who compiles ---


def test_processes_that_start_together_compile_each_kernel_once(mini):
    dtypes = ("float32", "float64", "float32", "float32")
    results = [finish(process) for process in [start(mini, dtype) for dtype in dtypes]]
    assert [each["x"] for each in results] == [[112, 112, 112]] * 4
    assert sum(each["compiled"] for each in results) == 6
    assert sum(each["loaded"] for each in results) == 6
    for dtype in ("float32", "float64"):
        again = run(mini, dtype)
        assert again["x"] == [112, 112, 112] and again["compiled"] == 0
    assert not list((compiled(mini)).glob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [
    "claims.fcntl.lockf = broken",
    "claims._file = broken",
    "claims.take = lambda entry: False; claims.TIMEOUT = 0.1",
    "numba_private._pack = broken",
    "precompile.start = broken",
])  # fmt: skip
def test_failing_claims_only_cost_time(mini, fault):
    code = f"""
from mini.jit import cache, claims, numba_private, precompile
def broken(*args):
    raise OSError("no locks available")
{fault}
{RUN}"""
    both = [finish(process) for process in [start(mini, code=code) for _ in range(2)]]
    assert [each["x"] for each in both] == [[112, 112, 112]] * 2


HOLD = """
import pathlib, sys, time
from nanocnn.jit import claims
print(claims.take(pathlib.Path(sys.argv[1])), flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has claimed an entry, and the entry."""
    entry = tmp_path / "kernel-0123abc.nbc"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(entry)], stdout=subprocess.PIPE) as held:
        assert held.stdout.read(4) == b"True"
        yield held, entry
        held.kill()


def test_a_claim_ends_with_its_process(holder):
    process, entry = holder
    assert not claims.take(entry)
    process.kill()
    process.wait()
    assert claims.take(entry) and claims.take(entry)  # one's own is no obstacle
    claims.drop(entry)


def test_waiting_ends_with_the_entry_the_claim_or_the_timeout(holder, monkeypatch):
    process, entry = holder
    other = entry.with_name("kernel-0123abd.nbc")
    claims.wait(other)  # nobody has claimed that one
    entry.touch()
    claims.wait(entry)
    entry.unlink()
    monkeypatch.setattr(claims, "TIMEOUT", 0.2)  # two that hold what the other needs: both go on
    start = time.monotonic()
    claims.wait(entry)
    assert time.monotonic() - start >= 0.2
    monkeypatch.setattr(claims, "TIMEOUT", 600)
    process.kill()
    claims.wait(entry)
    assert not claims._held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_cannot_release_the_parents_claim(tmp_path):
    entry = tmp_path / "kernel-0123abc.nbc"
    assert claims.take(entry)
    child = multiprocessing.get_context("fork").Process(target=claims.drop, args=(entry,))
    child.start()
    child.join()
    other = [sys.executable, "-c", HOLD.replace("time.sleep(600)", ""), str(entry)]
    assert subprocess.run(other, capture_output=True, text=True).stdout == "False\n"
    claims.drop(entry)
    assert subprocess.run(other, capture_output=True, text=True).stdout == "True\n"


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_process_killed_while_it_compiles_leaves_the_rest_to_others(mini):
    code = f"""
import os, signal
from mini.jit import cache
def killed(*args):
    os.kill(os.getpid(), signal.SIGKILL)
cache.write = killed
{RUN}"""
    process = start(mini, code=code)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert run(mini)["compiled"] == 3


def test_a_failed_compilation_releases_its_claim(mini):
    code = f"""
from mini import kernel
from mini.jit import claims
try:
    kernel.scale(0, 1, 1.5)
except Exception:
    assert not claims._held
else:
    raise AssertionError
{RUN}"""
    assert run(mini, code=code)["x"] == [112, 112, 112]
