"""Several processes that train one model, measured: against one process, and against PyTorch's.

`scaling.py --processes` runs this. A contestant is a group of processes (ranks.py), asleep while
another one runs.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import harness
from harness import say
from peers import OURS
from presets import PRESETS
from workers import Missing, environment, write_data

RANKS = Path(__file__).with_name("ranks.py")
IMAGES = 1 << 14  # that all contestants have
MESSAGES = f"{OURS}, by messages"  # as between machines
SUM = "start", "poke", "add_up", "finish", "exchange"  # methods of an AllReduce
DDP = {
    "torch": "PyTorch DDP",
    "torch-cl": "PyTorch DDP, channels-last, fused Adam",
}


def launcher() -> str | None:
    """The command that starts MPI processes: that beside Python, whose library mpi4py loads."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((beside, os.environ.get("PATH", "")))
    return shutil.which("mpiexec", path=path) or shutil.which("mpirun", path=path)


def missing() -> str:
    """What to install to start several processes; "" if nothing."""
    if launcher() is None:
        what = "mpiexec"
    elif importlib.util.find_spec("mpi4py") is None:
        what = "mpi4py"
    else:
        return ""
    return (
        f"{what} is not installed, which several processes need: "
        'python -m pip install -e ".[mpi]" (mpi4py and MPICH)'
    )


def refused(counts: Sequence[int], batches: Sequence[int]) -> str:
    """Why these cannot be measured; "" if they can."""
    for count in counts:
        if count < 2 or any(batch % count for batch in batches):
            return (
                f"--processes {count} --batches {' '.join(map(str, batches))}: expected 2 or more "
                "processes, and batches that they can share out"
            )
    return ""


class Team(NamedTuple):
    """`processes` of `threads` each, of nanocnn or a peer."""

    processes: int
    threads: int
    library: str = OURS

    @property
    def title(self) -> str:
        def count(n: int, what: str) -> str:
            return f"{n} {what}{'' if n == 1 else 'es' if what == 'process' else 's'}"

        names = {MESSAGES: "by messages", **DDP}
        name = f"{names[self.library]}, " if self.library in names else ""
        return f"{name}{count(self.processes, 'process')} x {count(self.threads, 'thread')}"


class Group:
    """A team's processes. `Missing` if its library is not installed."""

    def __init__(self, team: Team, preset: str, data: Path) -> None:
        self.team, self.links = team, []
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
            command = [sys.executable, str(RANKS), host, str(port)]
            if team.processes > 1:
                command = [str(launcher()), "-n", str(team.processes), *command]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors,
                env=environment(team.threads),
            )  # fmt: skip
            server.settimeout(0.2)
            while len(self.links) < team.processes:
                with contextlib.suppress(TimeoutError):
                    link, _ = server.accept()
                    link.setblocking(True)
                    self.links.append(link.makefile("rw"))
                    link.close()
                if self.process.poll() is not None:
                    raise self.failure("the start")
        setup = {"preset": preset, "data": str(data), "batch": 1, "threads": team.threads}
        ready = self.ask(name=team.library, **setup)
        if "missing" in ready[0]:
            self.close()
            raise Missing(ready[0]["missing"])

    def ask(self, **request: Any) -> list[dict[str, Any]]:
        """The answers of all processes. RuntimeError with what they printed if one has died."""
        for link in self.links:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(request), file=link, flush=True)
        lines = [link.readline() for link in self.links]
        if not all(lines):
            raise self.failure(request)
        return [json.loads(line) for line in lines]

    def failure(self, when: object) -> RuntimeError:
        self.process.wait()
        self.errors.seek(0)
        return RuntimeError(f"{self.team.title} failed at {when}:\n{self.errors.read()[-3000:]}")

    def close(self) -> None:
        for link in self.links:
            with contextlib.suppress(BrokenPipeError):
                link.close()
        self.process.wait()
        self.errors.close()


@contextlib.contextmanager
def groups(teams: Sequence[Team], preset: str) -> Iterator[dict[Team, Group]]:
    """The processes of each team whose library is installed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        data = write_data(Path(folder, "data.npz"), PRESETS[preset], IMAGES)
        started = {}
        for team in teams:
            try:
                started[team] = Group(team, preset, data)
            except Missing as missing:
                say(f"{team.title} is skipped: {missing}")
                continue
            stack.callback(started[team].close)
        yield started


def cells(
    counts: Sequence[int], batches: Sequence[int], peers: bool, messages: bool = False
) -> Iterator[tuple[Team, int]]:
    """What is measured: teams, and the size of their batches."""
    if messages:
        yield from ((Team(count, 1, MESSAGES), batch) for count in counts for batch in batches)
    for count in (1, *counts):
        whole = {*batches, batches[0] * count}  # strong scaling, and weak
        for batch in sorted(whole):
            yield Team(count, 1), batch
            if count > 1:
                yield Team(1, count), batch
    if 2 in counts and peers:
        yield from ((Team(2, 1, name), batch) for name in DDP for batch in batches)


def measure(running: dict[Team, Group], options: Any) -> list[dict[str, Any]]:
    """Seconds of a step for each of `cells`: the median of each run, by round."""
    turns, rows = {}, []
    for team, batch in cells(
        options.processes, options.batches, options.with_peers, options.machines
    ):
        if team not in running:
            continue
        most = IMAGES // batch
        row = {"team": team, "batch": batch, "runs": []}
        ask = partial(running[team].ask, do="train", batch=batch)
        (first, *_) = ask(steps=min(most, 2 if options.quick else 8))
        steps = 4 if options.quick else max(8, min(most, round(options.seconds / first["step"])))

        def turn(row: dict[str, Any] = row, ask: Any = ask, steps: int = steps) -> float:
            (answer, *_) = ask(steps=steps)
            row["runs"].append(answer)
            return float(answer["step"])

        turns[f"{team.processes}x{team.threads} {team.library} {batch}"] = turn
        rows.append(row)
    harness.interleave(turns, options.rounds, quiet=options.quick)
    return rows


def seconds(rows: Sequence[dict[str, Any]], team: Team, batch: int) -> list[float]:
    """The team's seconds of a step, by round; none if it was not measured."""
    return [
        run["step"]
        for row in rows
        if (row["team"], row["batch"]) == (team, batch)
        for run in row["runs"]
    ]


def part_of(row: dict[str, Any], *names: str) -> str:
    """Of a step, in percent: what the communicator's methods take."""
    shares = [sum(run["parts"].get(name, 0) for name in names) / run["step"] for run in row["runs"]]
    return f"{harness.summarize(shares).median:.1%}"


def report(name: str, rows: list[dict[str, Any]], options: Any) -> dict[str, float]:
    """Print one network's tables; returns the ratios that must be reached."""
    compare, ratios = not options.quick, {}
    header = ["whole batch", "team", "ms a step", "quartiles"]
    header += ["sum", "waiting", "speed of one process"] * compare
    table = []
    for row in sorted(rows, key=lambda row: (row["batch"], row["team"].library != OURS)):
        team, batch = row["team"], row["batch"]
        times = [run["step"] for run in row["runs"]]
        summary = harness.summarize(times)
        line = [batch, team.title, summary.median * 1e3, harness.spread(summary, 1e3)]
        if compare:
            several = team.processes > 1
            ours = several and team.library == OURS
            one = seconds(rows, Team(1, team.processes), batch) if several else []
            ratio = harness.speed_up(times, one).median if one else None
            if ours and ratio:
                ratios[f"{team.processes} processes, batch {batch}"] = ratio
            line += [part_of(row, *SUM), part_of(row, "gather")] if ours else ["", ""]
            line += [f"{ratio:.2f}x" if ratio and ours else ""]
        table.append(line)
    print(f"\n### {name}: processes of one thread, and one process of as many threads\n")
    print(harness.table(header, table))
    if compare:
        print(
            "\nsum: the part of a step in which gradients are sent, received and added; waiting: "
            "until all\nprocesses are there, and their loss and metrics."
        )
    cores = harness.usable_cores()
    if many := [count for count in options.processes if count > cores]:
        print(
            f"\nThis machine has {cores} cores: {' and '.join(map(str, many))} processes, or "
            "threads, share them, and\nthose that wait take time from those that compute: this "
            "says nothing about more cores."
        )
    if compare:
        weak(name, rows, options)
        ratios |= against_torch(rows, options)
    return ratios


def weak(name: str, rows: list[dict[str, Any]], options: Any) -> None:
    """Print what is left of the speed of one process if each has a batch of its own."""
    each, table = options.batches[0], []
    alone = harness.summarize(seconds(rows, Team(1, 1), each)).median
    for count in (1, *options.processes):
        step = harness.summarize(seconds(rows, Team(count, 1), each * count)).median
        table.append([count, each * count, step * 1e3, each * count / step, f"{alone / step:.0%}"])
    print(f"\n### {name}: {each} images for each process\n")
    print(harness.table(["processes", "whole batch", "ms", "images/s", "efficiency"], table))


def against_torch(rows: list[dict[str, Any]], options: Any) -> dict[str, float]:
    """Print and return how much faster two processes are than two of PyTorch's, by batch."""
    ratios = {}
    for batch in options.batches:
        ours = seconds(rows, Team(2, 1), batch)
        theirs = {who: seconds(rows, Team(2, 1, who), batch) for who in DDP}
        theirs = {who: times for who, times in theirs.items() if times}
        if ours and (best := harness.fastest(theirs, theirs)):
            ratio = harness.speed_up(ours, theirs[best])
            ratios[f"DDP, batch {batch}"] = ratio.median
            print(
                f"\nBatch {batch}, 2 processes x 1 thread: nanocnn is faster than {DDP[best]}, "
                f"gloo, by {ratio.median:.2f}x ({harness.spread(ratio)})."
            )
    return ratios
