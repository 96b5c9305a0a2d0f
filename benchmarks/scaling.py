"""What 1 to 64 threads can gain in a training step: parts and imbalance, simulated.

Every kernel call of a step is recorded, with as many parts as it is cut into for that number of
threads. One thread runs the parts one by one; each is timed (the shortest of --rounds steps). Then
they are given to T threads as the pool does it: whoever is free takes the next part, and a call
ends when its last part does. The bound is the time of all parts for one thread over what T threads
need. It knows nothing of what cores share (memory, caches, clock rates), nor of Python and the
hand-over between calls: a machine can only be slower.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --preset lenet5 --batch 32 --counts 2 4 8
    python benchmarks/scaling.py --processes          measured: 1, 2 and 4 processes (processes.py)
    python benchmarks/scaling.py --machines           a model of 8 to 1,024 machines (machines.py)
"""

import contextlib
import heapq
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import harness
import machines
import processes
from harness import say
from networks import keras_layers
from presets import NINE, PRESETS
from workers import make_data

COUNTS = (1, 2, 4, 8, 16, 32, 64)
WORST = 3  # kernels that are named for each network


class Call(NamedTuple):
    """One call of a kernel and the seconds of each of its parts."""

    kernel: str
    seconds: list[float]


@contextlib.contextmanager
def recording() -> Iterator[list[Call]]:
    """Let this thread alone run all kernels, part by part; yields the growing list of calls.

    The one place that knows how kernels are called: by `pool.start`, or by a program's replay.
    """
    from nanocnn.jit import capture, executor, pool, program

    calls: list[Call] = []
    capturing, noted = capture.capturing, pool.start
    memory = pool.aligned(0)

    def run(kernel: Any, parts: int, arguments: Any) -> None:
        nonlocal memory
        if memory.nbytes < arguments.memory:
            memory = pool.aligned(arguments.memory)
        entry = kernel.address(arguments.types, arguments.buffers)
        seconds = []
        for part in range(parts):
            start = time.perf_counter()
            executor.call(entry, part, parts, arguments.address, pool.address_of(memory))
            seconds.append(time.perf_counter() - start)
        calls.append(Call(kernel.__name__, seconds))

    def start(kernel: Any, parts: int, arguments: Any, depth: int) -> None:
        if capturing(depth) is None:
            run(kernel, parts, arguments)
        else:
            noted(kernel, parts, arguments, depth + 1)

    def replay(self: program.Program) -> None:
        for call in self.calls:
            if isinstance(call, capture.KernelCall):
                run(*call)
            elif call.flags is None or call.flags.any():
                call.function(*call.args)

    with (
        mock.patch.object(pool, "start", start),
        mock.patch.object(program.Program, "replay", replay),
    ):
        yield calls


def shortest(calls: list[Call], before: list[Call]) -> list[Call]:
    """The calls of a step, each part with the shorter of its times in two steps."""
    if [(c.kernel, len(c.seconds)) for c in calls] != [(c.kernel, len(c.seconds)) for c in before]:
        raise RuntimeError("two steps differ in their kernel calls")
    return [
        Call(new.kernel, list(map(min, new.seconds, old.seconds)))
        for new, old in zip(calls, before, strict=True)
    ]


def finish_time(seconds: Sequence[float], threads: int) -> float:
    """When the last part ends, if a free thread takes the next one."""
    free = [0.0] * min(threads, len(seconds))
    for part in seconds:
        heapq.heapreplace(free, free[0] + part)
    return max(free)


def measure(name: str, options: Any) -> dict[int, list[Call]]:
    """The calls of a training step of the network `name`, by number of threads."""
    import nanocnn

    preset = PRESETS[name]
    x, y = make_data(preset, options.batch)
    model = nanocnn.Sequential(keras_layers(preset.layers, nanocnn), seed=0)
    model.compile(preset.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    found: dict[int, list[Call]] = {}
    with recording() as calls:
        for _ in range(1 + options.rounds):  # the first one compiles
            for threads in options.counts:
                nanocnn.set_num_threads(threads)
                calls.clear()
                model.train_on_batch(x, y)
                found[threads] = shortest(calls, found.get(threads, calls))
    say(f"{name}: {', '.join(str(sum(len(c.seconds) for c in calls)) for calls in found.values())}"
        f" parts for {', '.join(map(str, found))} threads")  # fmt: skip
    return found


def bound(found: dict[int, list[Call]], threads: int) -> float:
    """The most that `threads` can gain over one thread."""
    alone = sum(sum(call.seconds) for call in found[1])
    return alone / sum(finish_time(call.seconds, threads) for call in found[threads])


def worst(calls: list[Call], threads: int) -> list[list[Any]]:
    """The kernels that lose most by waiting for their last part: rows for a table."""
    total = sum(finish_time(call.seconds, threads) for call in calls)
    lost: dict[str, list[Any]] = {}
    for call in calls:
        took = finish_time(call.seconds, threads)
        row = lost.setdefault(call.kernel, [0, 0, 0.0, 0.0])
        row[0] += 1
        row[1] = min(row[1] or len(call.seconds), len(call.seconds))
        row[2] += took
        row[3] += took - sum(call.seconds) / threads
    order = sorted(lost, key=lambda kernel: -lost[kernel][3])[:WORST]
    return [
        [kernel, lost[kernel][0], lost[kernel][1], f"{lost[kernel][2] / total:.0%}",
         f"{lost[kernel][3] / total:.0%}"]
        for kernel in order
    ]  # fmt: skip


def report(found: dict[str, dict[int, list[Call]]], compare: bool) -> None:
    """Print the parts, and with `compare` the bounds and the worst kernels."""
    counts = list(next(iter(found.values())))
    rows = []
    for name, by_count in found.items():
        few = [sum(len(c.seconds) < threads for c in by_count[threads]) for threads in counts]
        rows.append([name, len(by_count[counts[0]]), *few])
    print("\n### calls of kernels in a step, and those with fewer parts than threads\n")
    print(harness.table(["threads", "calls", *map(str, counts)], rows))
    if not compare:
        return
    rows = [[name, *(bound(each, t) for t in counts)] for name, each in found.items()]
    print("\n### the speed-up over one thread is at most\n")
    print(harness.table(["threads", *map(str, counts)], rows))
    most = counts[-1]
    rows = [[name, *row] for name, each in found.items() for row in worst(each[most], most)]
    print(f"\n### kernels that wait longest for their last part, {most} threads\n")
    header = ["network", "kernel", "calls", "fewest parts", "of the time", "of it waiting"]
    print(harness.table(header, rows))


def several(options: Any) -> dict[str, Any]:
    """Measure processes, and what the model of machines is made of; report both."""
    if problem := processes.missing() or processes.refused(options.processes, options.batches):
        raise SystemExit(problem)
    counts, with_peers = options.processes, options.with_peers
    found, ratios = {}, {}
    for name in options.preset:
        teams = dict.fromkeys(
            team
            for team, _ in processes.cells(counts, options.batches, with_peers, options.machines)
        )
        if options.machines:
            teams |= dict.fromkeys([processes.Team(1, options.threads), processes.Team(2, 1)])
        with processes.groups(list(teams), name) as running:
            rows = processes.measure(running, options)
            model = machines.measure(running, rows, options) if options.machines else None
        ratios[name] = processes.report(name, rows, options)
        if model is not None:
            machines.report(name, model, options)
        found[name] = {"processes": rows, "machines": model}
    return {"networks": found, "ratios": ratios}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = harness.parser(__doc__, rounds=3)
    options.add_argument(
        "--preset", nargs="+", choices=PRESETS, metavar="NAME",
        help=f"networks, of {', '.join(PRESETS)} (default: all but tiny; lenet and simple for "
        "--processes, lenet for --machines)",
    )  # fmt: skip
    options.add_argument(
        "--batch", type=int, default=128, help="images per step (default: %(default)s)"
    )
    options.add_argument(
        "--counts", nargs="+", type=int, default=list(COUNTS), metavar="T",
        help="numbers of threads, 1 is added (default: %(default)s)",
    )  # fmt: skip
    group = options.add_argument_group("several processes")
    group.add_argument(
        "--processes", nargs="*", type=int, metavar="R",
        help="measure as many, of one thread each (2 4 without numbers)",
    )  # fmt: skip
    group.add_argument("--machines", action="store_true", help="model many machines")
    group.add_argument(
        "--batches", nargs="+", type=int, default=[128, 1024], metavar="N",
        help="images per step of all processes; the first one also of each (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--seconds", type=float, default=0.5, help="of a run (default: %(default)s)")
    group.add_argument(
        "--latency", type=float, metavar="S", help="of the network, instead of three"
    )
    group.add_argument(
        "--bandwidth", type=float, metavar="B", help="its bytes per second, each way"
    )
    options = options.parse_args(arguments)
    if options.quick:
        options.preset, options.rounds, options.batch, options.counts = ["tiny"], 1, 16, [1, 64]
        options.batches = [16]
    host = harness.machine(options.threads)
    if options.processes is not None or options.machines:
        options.with_peers = options.processes is not None
        options.preset = options.preset or ["lenet", "simple"][: 1 + options.with_peers]
        options.processes = options.processes or ([2] if options.quick else [2, 4])
        results = several(options)
    else:
        options.counts = sorted({1, *options.counts})
        found = {name: measure(name, options) for name in options.preset or NINE}
        report(found, compare=not options.quick)
        results = {name: {t: calls for t, calls in each.items()} for name, each in found.items()}
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("scaling", options.json, host, results)
    return results


if __name__ == "__main__":
    main()
