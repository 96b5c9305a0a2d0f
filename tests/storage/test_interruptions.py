"""An interrupted save leaves the old file or the new one: `kill -9`, Ctrl-C, a full disk."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from nanocnn import storage
from support.processes import ENVIRONMENT
from support.snapshots import assert_same, small

SUFFIXES = [".npz", ".h5", ".keras"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, signals and resource limits")

# Run by a process of its own: a child saves two models in turns until it is killed in the middle.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from support.snapshots import assert_same, small
from nanocnn import storage

path, kills = Path(sys.argv[1]), int(sys.argv[2])
models = [small(seed=0), small(seed=1)]
storage.save(models[0], path)
started = time.perf_counter()
storage.save(models[0], path)
duration = time.perf_counter() - started
found, halfway, kill, random = [0, 0], 0, 0, random.Random(1)
# Where the machine is busy fewer kills hit a save: then there are more of them.
while kill < kills or (kill < 20 * kills and not (halfway > kills // 20 and min(found) > 0)):
    kill += 1
    child = os.fork()
    if child == 0:
        while True:
            for model in models if kill % 2 else reversed(models):
                storage.save(model, path)
    time.sleep(random.uniform(0, 3 * duration))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with path.open("rb") as file:  # not `load`, whose own process takes its time
        loaded = storage.FORMATS[path.suffix].read(file)
    which = loaded.optimizer["iteration"] - 7
    assert_same(loaded, models[which], progress=path.suffix == ".npz")
    found[which] += 1
    for left in path.parent.glob(".nanocnn-*.part"):
        halfway += 1
        left.unlink()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
print(f"{kill} kills, {halfway} in the middle of a save; found each model {found} times")
assert halfway > kills // 20 and min(found) > 0
"""


def run(code, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(
        command,
        env=ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@posix
@pytest.mark.parametrize(
    ("suffix", "kills"),
    [
        (".npz", 20),
        pytest.param(".npz", 200, marks=pytest.mark.slow),
        pytest.param(".h5", 200, marks=pytest.mark.slow),
        pytest.param(".keras", 200, marks=pytest.mark.slow),
    ],
)
def test_kill_9_while_saving_leaves_a_whole_model(tmp_path, suffix, kills):
    """SIGKILL at random moments: the file is always one whole model, the old or the new one."""
    result = run(KILLER, tmp_path / f"model{suffix}", kills)
    print(result.stdout.strip())
    assert result.returncode == 0, result.stderr


# Files may not grow over so many bytes: to the process that is what a full disk is.
FULL_DISK = """
import resource, sys
from support.snapshots import small
from nanocnn import storage

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    storage.save(small(seed=1), sys.argv[1])
except OSError as error:
    print(error)
"""


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("limit", [0, 1, 1000, 3000])
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix, limit):
    path = tmp_path / f"model{suffix}"
    storage.save(small(seed=0), path)
    before = path.read_bytes()
    assert len(before) > limit
    result = run(FULL_DISK, path, limit)
    assert result.returncode == 0, result.stderr
    assert "disk full" in result.stdout and str(path) in result.stdout
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@posix
def test_a_full_disk_in_training_leaves_the_last_checkpoint(tmp_path):
    """The error comes out of `fit`, and the last checkpoint that had room stays."""
    code = """
    import resource, sys
    from support.small_models import digits, small_model
    from nanocnn import Callback, ModelCheckpoint

    class Fill(Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    model = small_model()
    try:
        model.fit(
            *digits(40), epochs=4, callbacks=[ModelCheckpoint(sys.argv[1]), Fill()], verbose=0
        )
    except OSError as error:
        print(error)
    assert model.predict(digits(3)[0]).shape == (3, 10)
    """
    path = tmp_path / "last.npz"
    result = run(code, path)
    assert result.returncode == 0, result.stderr
    assert "disk full" in result.stdout and str(path) in result.stdout
    assert storage.load(path).progress["epoch"] == 2
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


TRAINING = """
import sys
from pathlib import Path
from support.small_models import digits, every_layer
from nanocnn import ModelCheckpoint, load_model

path = Path(sys.argv[1])
model = load_model(path, kernels="reference") if path.exists() else every_layer()
first, print_now = model.progress.get("epoch", 0), lambda *x: print(*x, flush=True)
print_now("from epoch", first)
model.fit(*digits(150), 16, 10, callbacks=[ModelCheckpoint(path)], initial_epoch=first, verbose=0)
print_now("done")
"""


@posix
@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    """Resumed from its checkpoint each time; killed while saving or computing, as it happens."""
    whole, path = tmp_path / "whole" / "last.npz", tmp_path / "killed" / "last.npz"
    assert run(TRAINING, whole).returncode == 0
    chance, kills, lines = random.Random(0), 0, []
    while "done\n" not in lines:
        command = [sys.executable, "-c", TRAINING, path]
        piped = {"stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=ENVIRONMENT, **piped) as process:
            lines = [process.stdout.readline()]
            if kills < 20:
                # soon at first, so that it is killed often enough where training is quick
                time.sleep(chance.uniform(0, 0.03 * (kills + 1)))
                process.kill()
            lines += process.stdout.readlines()
        kills += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
    print(f"killed {kills} times, resumed from epoch {lines[0].split()[-1]} in the end")
    assert kills > 2 and path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), OSError(errno.EIO, "x")])
def test_an_error_while_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), storage.atomic_write(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_nothing_is_visible_before_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with storage.atomic_write(path) as file:
        file.write(b"new" * 10**6)
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" * 10**6


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.save(small(), tmp_path / "missing" / "m.npz")


@posix
def test_permissions_and_links_are_those_of_a_normal_file(tmp_path):
    normal, path, link = tmp_path / "normal", tmp_path / "m.npz", tmp_path / "link.npz"
    normal.write_bytes(b"")
    storage.save(small(), path)
    assert path.stat().st_mode == normal.stat().st_mode
    path.chmod(0o640)
    link.symlink_to(path)
    storage.save(small(seed=1), link)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    assert_same(storage.load(path), small(seed=1))


def test_the_longest_name_a_folder_takes_can_be_saved(tmp_path):
    path = tmp_path / ("é" * 125 + ".npz")
    storage.save(small(), path)
    assert np.array_equal(storage.load(path).weights["dense/bias"], small().weights["dense/bias"])
