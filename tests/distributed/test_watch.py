"""The process that watches the others names the one that has died first."""

import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest

from nanocnn.distributed.watch import PROGRAM, connect
from support.processes import ENVIRONMENT

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs Linux: elsewhere nothing is watched"
)
# Reads the name of what watches it, connects, and does what it is told.
WATCHED = """
import os, sys, time
from nanocnn.distributed.watch import connect
connection = connect(bytes.fromhex(input()))
print("connected", flush=True)
for line in map(str.strip, sys.stdin):
    if line == "close":
        os.close(connection)
    if line == "fork" and os.fork() == 0:
        for stream in range(3):
            os.close(stream)
        time.sleep(5)
    print("done", flush=True)
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments], env=ENVIRONMENT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def tell(process, line):
    process.stdin.write(f"{line}\n".encode())
    process.stdin.flush()
    assert process.stdout.readline()


@contextmanager
def watched(first=""):
    """Two processes, which run `first`, 0 and 1 of 2, the one that watches them, and its name."""
    two = [start("-c", WATCHED.replace("connection =", f"{first}\nconnection =")) for _ in range(2)]
    numbers = [f"{rank}:{process.pid}" for rank, process in enumerate(two)]
    watch = start("-I", "-S", "-c", PROGRAM, "2", "here", *numbers)
    try:
        name = watch.stdout.read()
        for process in two:
            tell(process, name.hex())
        yield two, watch, name
    finally:
        for process in (*two, watch):
            process.kill()
            process.communicate()


def named(watch):
    said = watch.stderr.read().decode()
    assert watch.wait(10) == 0 and said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("rank", [0, 1])
def test_the_one_that_is_killed_is_named(rank):
    with watched() as (two, watch, _):
        two[rank].kill()
        line = f"process {rank} of 2 (PID {two[rank].pid} on here) has died: all are ended\n"
        assert named(watch) == line


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_that_closes_its_files_is_named(rank):
    """As the one that died first does, while a launcher has already ended the others."""
    with watched() as (two, watch, _):
        tell(two[rank], "close")
        two[1 - rank].kill()
        assert f"process {rank} of 2" in named(watch)


def test_a_process_whose_child_holds_its_files_is_named():
    with watched() as (two, watch, _):
        tell(two[0], "fork")
        two[0].kill()
        assert "process 0 of 2" in named(watch)


def test_the_connection_is_the_first_of_its_files_that_a_process_closes():
    with watched() as (two, _, _):
        numbers = [int(name) for name in os.listdir(f"/proc/{two[0].pid}/fd")]
        (own,) = [
            number for number in numbers
            if os.readlink(f"/proc/{two[0].pid}/fd/{number}").startswith("socket:")
        ]  # fmt: skip
        assert own == max(numbers) >= min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1)


def test_few_files_are_enough():
    with watched("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))") as (
        two, watch, _,
    ):  # fmt: skip
        tell(two[0], "close")
        two[1].kill()
        assert "process 0 of 2" in named(watch)


def test_a_connection_of_another_process_counts_for_nothing():
    with watched() as (two, watch, name):
        os.close(connect(name))
        two[1].kill()
        assert "process 1 of 2" in named(watch)
    assert connect(name) is None  # nobody is there any more
    assert connect(b"") is None
