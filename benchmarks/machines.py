"""A model of a training step on R machines, and where more machines stop paying.

`scaling.py --machines` runs this. A machine computes its shard of the batch as this one does: that
is measured, by shards of several sizes, and interpolated. Then the messages are simulated in the
order in which the engine sends them (nanocnn/distributed/mpi.py): when the backward has completed a
bucket of gradients, R - 1 segments leave and arrive; each machine adds them; the sums are gathered.
All machines are equal and never late, and the network carries while the processors compute.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import harness
import numpy as np
from processes import MESSAGES, Group, Team, seconds

COUNTS = tuple(2**i for i in range(3, 11))
LONG = 1 << 19  # bytes, from which on MPICH gathers in a ring
SIZES = [8, 1 << 10, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22]  # bytes that are exchanged
SHARE = 0.5  # of the speed, below which machines do not pay


class Network(NamedTuple):
    """Seconds until a message arrives, and bytes per second, each way.

    `carries`: while the processor computes; between processes of a machine it moves the bytes.
    """

    latency: float
    bandwidth: float
    carries: bool = True


NETWORKS = {
    "10 GbE": Network(20e-6, 1.25e9),
    "100 GbE": Network(5e-6, 12.5e9),
    "InfiniBand HDR": Network(1.5e-6, 25e9),
}
FREE = Network(0.0, math.inf)


class Software(NamedTuple):
    """Seconds of processor time: for each message, call of an addition, byte that is added, and
    machine whose loss and metrics are added."""

    message: float = 0.0
    call: float = 0.0
    byte: float = 0.0
    row: float = 0.0


class Compute(NamedTuple):
    """What a machine computes in a step, alone.

    pieces  seconds until each bucket of gradients is complete, since the one before; the first
            one's include update and forward
    rest    seconds from the last bucket until the sum is waited for
    sizes   bytes of each bucket
    """

    pieces: Sequence[float]
    rest: float
    sizes: Sequence[float]

    @property
    def total(self) -> float:
        return sum(self.pieces) + self.rest


def step(compute: Compute, machines: int, network: Network, software: Software) -> float:
    """Seconds of a step on `machines` machines."""
    if machines == 1:
        return compute.total
    others, rounds = machines - 1, math.ceil(math.log2(machines))
    time = free = 0.0  # of the processor; when the network can take more
    arrivals: list[float] = []  # of the segments of each bucket
    sums: list[float] = []  # when the sum of each bucket is there

    def send(size: float, latencies: int) -> float:
        """When the last of `size` bytes arrives, after as many latencies one after the other."""
        nonlocal time, free
        free = max(time, free) + size / network.bandwidth
        end = free + latencies * network.latency
        if not network.carries:
            time = end
        return end

    def add(size: float) -> None:
        """Add the others' segments of the next bucket, and gather the sums."""
        nonlocal time
        time += others * (software.call + size / machines * software.byte)
        sums.append(send(size * others / machines, others if size >= LONG else rounds))

    for piece, size in zip(compute.pieces, compute.sizes, strict=True):
        time += piece + others * software.message
        arrivals.append(send(size * others / machines, 1))
        while len(sums) < len(arrivals) and arrivals[len(sums)] <= time:  # poke
            add(compute.sizes[len(sums)])
    time += compute.rest + rounds * network.latency + others * software.row
    for bucket, size in enumerate(compute.sizes):  # finish
        if bucket == len(sums):
            time = max(time, arrivals[bucket])
            add(size)
        time = max(time, sums[bucket])
    return time


def interpolate(measured: Mapping[int, Compute], samples: float) -> Compute:
    """What a shard of `samples` takes, between the sizes that were measured."""
    sizes = sorted(measured)

    def at(values: Sequence[float]) -> float:
        return float(np.interp(samples, sizes, values))

    pieces = zip(*(measured[size].pieces for size in sizes), strict=True)
    rest = at([measured[size].rest for size in sizes])
    return Compute([at(each) for each in pieces], rest, measured[sizes[0]].sizes)


class Case(NamedTuple):
    """Machines that share a batch, or each have one of their own."""

    measured: Mapping[int, Compute]
    software: Software
    batch: int
    is_weak: bool

    @property
    def title(self) -> str:
        own = f"{self.batch} images for each machine (weak scaling)"
        return own if self.is_weak else f"a batch of {self.batch} images for all (strong scaling)"

    def shard(self, machines: int) -> Compute:
        return interpolate(self.measured, self.batch / (1 if self.is_weak else machines))

    def ideal(self, machines: int) -> float:
        """Seconds of a step if no machine were slowed down by the others."""
        return self.shard(1).total / (1 if self.is_weak else machines)

    def efficiency(self, machines: int, network: Network) -> float | None:
        """The speed of all, as a part of R times the speed of one; None with fewer images."""
        if not self.is_weak and machines > self.batch:
            return None
        return self.ideal(machines) / step(self.shard(machines), machines, network, self.software)

    def losses(self, machines: int, network: Network) -> dict[str, float]:
        """Seconds lost in a step, by what they are lost to."""
        shard = self.shard(machines)
        only_bytes = Software(byte=self.software.byte)
        levels = (
            self.ideal(machines),
            shard.total,
            step(shard, machines, network._replace(latency=0.0), only_bytes),
            step(shard, machines, network, self.software),
        )
        names = ("compute", "bandwidth", "latency")
        return {n: b - a for n, a, b in zip(names, levels, levels[1:], strict=False)}


WHY = {
    "compute": "a shard too small: the update, and the fixed cost of each call, do not get less",
    "bandwidth": "bandwidth: gradients are sent, received and added",
    "latency": "latency: each machine exchanges messages with all others",
}


def where_it_ends(case: Case, network: Network, counts: Sequence[int]) -> str:
    """From how many machines on less than half of the speed is left, and why."""
    found = [(n, case.efficiency(n, network)) for n in counts]
    known = [(n, value) for n, value in found if value is not None]
    machines, value = next(((n, v) for n, v in known if v < SHARE), known[-1])
    lost = case.losses(machines, network)
    why = WHY[max(lost, key=lambda name: lost[name])]
    shares = ", ".join(f"{name} {each * 1e3:.2f}" for name, each in lost.items())
    where = f"{value:.1%} at {machines:,} machines"
    if value < SHARE:
        where = f"below {SHARE:.0%} from {machines:,} machines on ({value:.1%})"
    return f"{where}; most is lost to {why} (ms of a step lost: {shares})"


def measure(running: dict[Team, Group], rows: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """What the model is made of, measured here, and steps to check it with."""
    alone, pair = running[Team(1, options.threads)], running[Team(2, 1)]
    largest = max(options.batches)
    shards = [2**i for i in range(int(math.log2(largest)) + 1)]
    if options.quick:
        shards = [1, largest]

    def compute(group: Group, shard: int, size: int) -> Compute:
        found = []
        for _ in range(options.rounds):
            answers = group.ask(do="compute", steps=8 if shard * size > 512 else 32,
                                shard=shard, size=size)  # fmt: skip
            found += [(*answer["pieces"], answer["rest"]) for answer in answers]
        *pieces, rest = np.median(found, axis=0).tolist()
        return Compute(pieces, rest, answers[0]["bytes"])

    measured = {shard: compute(alone, shard, 2) for shard in shards}
    many = 16 if options.quick else COUNTS[-1]
    row = max(compute(alone, 1, many).total - measured[1].total, 0) / (many - 2)
    exchanged, added = (
        pair.ask(do="exchange", sizes=SIZES, rounds=200)[0],
        pair.ask(do="addition")[0],
    )
    times = {int(size): value for size, value in exchanged["seconds"].items()}
    (small, large), (fast, slow) = SIZES[:: len(SIZES) - 1], (times[SIZES[0]], times[SIZES[-1]])
    here = Network(fast, (large - small) / max(slow - fast, 1e-9), carries=False)
    software = Software(exchanged["message"], added["call"], added["byte"], row)
    checks = [
        {
            "processes": count,
            "batch": batch,
            "seconds": harness.summarize(seconds(rows, Team(count, 1, MESSAGES), batch)).median,
            # Beside each other, since they share caches, memory and perhaps cores.
            "model": step(compute(running[Team(count, 1)], batch // count, count), count, here,
                          software),
        }
        for count in options.processes
        for batch in options.batches
    ]  # fmt: skip
    return {"compute": measured, "software": software, "here": here, "checks": checks,
            "exchange": times}  # fmt: skip


def report(name: str, found: dict[str, Any], options: Any) -> None:
    """Print what was measured, how well the model fits here, and what it expects."""
    here, software = found["here"], found["software"]
    print(f"\n### {name}: the model of a step, on this machine\n")
    print(
        f"Between two processes: latency {here.latency * 1e6:.1f} us, bandwidth "
        f"{here.bandwidth / 1e9:.1f} GB/s each way at once. Processor: {software.message * 1e6:.1f}"
        f" us for a message sent and one received, {software.call * 1e6:.1f} us for an addition "
        f"and {1e-9 / software.byte:.1f} GB/s of it, {software.row * 1e6:.1f} us for a machine's "
        "loss and metrics.\n"
    )
    header = ["processes x 1 thread", "whole batch", "ms", "the model's ms"]
    rows = [[c["processes"], c["batch"], c["seconds"] * 1e3, c["model"] * 1e3]
            for c in found["checks"]]  # fmt: skip
    if not options.quick:
        header.append("difference")
        for line, check in zip(rows, found["checks"], strict=True):
            line.append(f"{check['model'] / check['seconds'] - 1:+.0%}")
    print(harness.table(header, rows))
    print(
        "\nBy messages, as between machines. The model knows nothing of processes that share a "
        "core, nor of one\nthat is late."
    )
    networks = dict(NETWORKS)
    if options.latency is not None or options.bandwidth is not None:
        usual = NETWORKS["10 GbE"]
        own = Network(options.latency or usual.latency, options.bandwidth or usual.bandwidth)
        networks = {f"{own.latency * 1e6:g} us, {own.bandwidth / 1e9:g} GB/s": own}
    args = found["compute"], software
    cases = [Case(*args, options.batches[0], True)]
    cases += [Case(*args, batch, False) for batch in options.batches]
    for case in cases:
        expect(name, case, networks, options)


def expect(name: str, case: Case, networks: Mapping[str, Network], options: Any) -> None:
    """Print the expected efficiency, or with --quick the times, and where it stops paying."""
    rows = []
    for title, network in networks.items():
        values = [case.efficiency(n, network) for n in COUNTS]
        if options.quick:
            rows.append([title, *("" if v is None else case.ideal(n) / v * 1e3
                                  for n, v in zip(COUNTS, values, strict=True))])  # fmt: skip
        else:
            rows.append([title, *("" if v is None else f"{v:.0%}" for v in values)])
    what = "ms of a step" if options.quick else "expected efficiency"
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    print(f"\n### {name}: {what} on R machines of {threads}, {case.title}\n")
    print(harness.table(["network", *(f"{n:,}" for n in COUNTS)], rows))
    if not options.quick:
        print()
        for title, network in networks.items():
            print(f"- {title}: {where_it_ends(case, network, COUNTS)}.")
