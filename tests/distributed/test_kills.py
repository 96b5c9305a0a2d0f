"""Processes that are killed at any moment: no hang, they are named, and checkpoints are whole."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from nanocnn import ModelCheckpoint, load_model
from nanocnn.distributed import get_communicator
from support.mpi import needs_mpi, started
from support.sharded import BATCH, SHARDS
from support.small_models import digits, small_model

pytestmark = needs_mpi
PROGRAM = "from test_kills import main; main()"


def main():
    """In a process: write down the PID, and train for long; killed in step `step` of a save."""
    folder, step = Path(sys.argv[1]), sys.argv[2]
    rank = get_communicator().rank
    (folder / f"{rank}.pid").write_text(str(os.getpid()))
    x, y = digits(96)
    model = small_model("fast")
    if step and rank == 0:
        function = getattr(os, step)

        def kill(*args, **options):
            if "a.npz" in str(args) or step == "fsync":
                kill.calls += 1
            if kill.calls == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        kill.calls = 0
        setattr(os, step, kill)
    model.fit(
        x, y, BATCH, 10**6, shards=SHARDS, callbacks=[ModelCheckpoint(folder / "a.npz")], verbose=0
    )


def wait_for(*paths):
    end = time.monotonic() + 60
    while not all(path.exists() and path.read_bytes() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.01)


def kill(folder, processes, rank, seconds):
    """Kill a process so many seconds after the first checkpoint, or before it if they are < 0."""
    with started(processes, PROGRAM, folder, "") as it:
        pids = [folder / f"{each}.pid" for each in range(processes)]
        wait_for(*pids)
        if seconds >= 0:
            wait_for(folder / "a.npz")
        time.sleep(abs(seconds))
        os.kill(int(pids[rank].read_text()), signal.SIGKILL)
        it.wait(10)
    return it


def check_killed(it, folder, rank, processes):
    assert it.code != 0, it.err
    path = folder / "a.npz"
    if path.exists():
        model = load_model(path)
        epoch = model.progress["epoch"]
        assert model.progress["shards"] == SHARDS
        model.fit(*digits(96), BATCH, epoch + 1, initial_epoch=epoch, verbose=0)
        assert model.progress["epoch"] == epoch + 1
    return f"process {rank} of {processes}" in it.err


@pytest.mark.slow
def test_fifty_kills_at_random_moments(tmp_path):
    choose = random.Random(0)
    named, slowest = 0, 0.0
    for number in range(50):
        processes = choose.choice([2, 3, 4])
        rank = choose.randrange(processes)
        seconds = choose.uniform(-0.5, 1.0)
        folder = tmp_path / str(number)
        folder.mkdir()
        it = kill(folder, processes, rank, seconds)
        is_named = check_killed(it, folder, rank, processes)
        if not is_named:
            print(f"process {rank} of {processes} after {seconds:.3f} s:\n{it.out}\n{it.err}")
        named += is_named
        slowest = max(slowest, it.seconds)
    print(f"50 kills, 0 hangs, 0 broken checkpoints, {named} named, {slowest:.1f} s at most")
    assert named == 50


@pytest.mark.parametrize(("processes", "rank", "seconds"), [(2, 0, -0.1), (3, 2, 0.2)])
def test_a_killed_process_ends_the_others_and_is_named(processes, rank, seconds, tmp_path):
    it = kill(tmp_path, processes, rank, seconds)
    assert check_killed(it, tmp_path, rank, processes), it.err


@pytest.mark.parametrize(("step", "epoch"), [("replace", 2), ("fsync", 1)])
def test_a_kill_while_the_checkpoint_is_written_leaves_the_last_one(step, epoch, tmp_path):
    """In the third call: of `fsync` there is one for the file and one for its folder."""
    with started(2, PROGRAM, tmp_path, step) as it:
        it.wait(60)
    assert check_killed(it, tmp_path, 0, 2), it.err
    assert load_model(tmp_path / "a.npz").progress["epoch"] == epoch
