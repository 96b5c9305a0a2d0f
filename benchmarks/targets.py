"""What nanocnn must reach, and what it reaches on this machine.

Runs the other benchmarks, or those of --only, and prints one table. Ratios are to the fastest peer
of the same run. Peak memory is that of a whole process in which lenet is trained, libraries
included, less the training data, over the least of PyTorch's. The first step is timed from the
start of Python, with no kernel compiled.

    python benchmarks/targets.py                             half an hour
    python benchmarks/targets.py --only inference lenet5 --rounds 3
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import harness
import inference
import lenet5
import processes
import scaling
import startup
import training
from peers import OURS
from presets import MNIST
from workers import environment


class Target(NamedTuple):
    """A number that must be reached: at least that, or at most if it is `at_most`."""

    what: str
    required: float
    aim: float
    at_most: bool = False
    unit: str = ""

    def goals(self) -> list[str]:
        sign = "<=" if self.at_most else ">="
        return [f"{sign} {each:g}{self.unit}" for each in (self.required, self.aim)]

    def verdict(self, reached: float) -> str:
        sign = -1 if self.at_most else 1
        if sign * reached >= sign * self.aim:
            return "aim reached"
        return "reached" if sign * reached >= sign * self.required else "MISSED"


def image_targets(
    count: str, mean: float, worst: float, aims: tuple[float, float]
) -> tuple[Target, Target]:
    return (
        Target(f"{count}: geometric mean of {', '.join(MNIST)}", mean, aims[0]),
        Target(f"{count}: the worst of them", worst, aims[1]),
    )


TARGETS = {
    "training": (
        Target("training: geometric mean of nine networks", 2.3, 3),
        Target("training: the worst of them", 1.6, 2),
    ),
    "lenet5": (Target("LeNet-5, ten epochs of MNIST", 12, 5.3, True, " s"),),
    "inference": (
        *image_targets("1 image", 1.0, 0.85, (1.3, 1.0)),
        *image_targets("8 images", 1.0, 0.8, (1.3, 1.0)),
        *image_targets("128 images", 1.4, 0.9, (1.8, 1.2)),
        Target("99th percentile of 1 image, in medians (the worst)", 2.5, 2, True),
    ),
    "memory": (Target("peak memory, lenet, of PyTorch's", 0.45, 0.33, True),),
    "startup": (Target("first step of lenet, nothing compiled", 8, 5, True, " s"),),
    "processes": (
        Target("lenet, batch 128: 2 processes, of the speed of 2 threads", 0.9, 1.0),
        Target("lenet, batch 1024: the same", 0.97, 1.0),
        Target("2 processes, of the speed of PyTorch's DDP (the worse batch)", 2, 3),
    ),
}
"""For each part the numbers in the order in which its function in PARTS yields them."""

Common = Callable[..., list[str]]  # the part and its own options -> all of its command line


def train(common: Common, _options: Any) -> Iterator[float | None]:
    yield from mean_and_worst(training.main(common("training"))["ratios"])


def race(common: Common, _options: Any) -> Iterator[float | None]:
    results = lenet5.main(common("lenet5"))
    whole = (results["images"], results["epochs"]) == (lenet5.IMAGES, 10)
    yield harness.summarize(results["seconds"]).median if whole else None


def predict(common: Common, _options: Any) -> Iterator[float | None]:
    found = inference.main(common("inference"))
    for batch in map(str, inference.BATCHES):
        yield from mean_and_worst(found["ratios"].get(batch, {}))
    late = [inference.late_over_median(each["1"], OURS) for each in found["networks"].values()]
    yield max((each for each in late if each is not None), default=None)


def memory(common: Common, _options: Any) -> Iterator[float | None]:
    peers = ["torch", "torch-cl"]
    line = common("memory", "--preset", "lenet", "--contestants", OURS, *peers)
    (result,) = training.main(line)["networks"].values()
    beyond = {who: m["peak"] - m["data"] for who, m in result["memory"].items()}
    torch = min((beyond[who] for who in peers if who in beyond), default=None)
    yield beyond[OURS] / torch if torch else None


def first_step(_common: Common, options: Any) -> Iterator[float | None]:
    code = startup.step(OURS, "tiny" if options.quick else "lenet", 128, options.threads)
    rounds = 1 if options.quick else min(options.rounds, 3)
    times = [startup.cold(code, environment(options.threads)) for _ in range(rounds)]
    yield harness.summarize(times).median


def several(common: Common, _options: Any) -> Iterator[float | None]:
    if missing := processes.missing():
        harness.say(missing)
        yield from (None,) * 3
        return
    line = common("processes", "--processes", "2", "--preset", "lenet")
    (ratios,) = scaling.main(line)["ratios"].values()
    yield ratios.get("2 processes, batch 128")
    yield ratios.get("2 processes, batch 1024")
    yield min((ratios[each] for each in ratios if each.startswith("DDP")), default=None)


PARTS = {
    "training": train, "lenet5": race, "inference": predict, "memory": memory,
    "startup": first_step, "processes": several,
}  # fmt: skip


def mean_and_worst(ratios: dict[str, float]) -> tuple[float | None, float | None]:
    """Both None if no peer was measured."""
    if not ratios:
        return None, None
    return harness.geometric_mean(ratios.values()), min(ratios.values())


def report(reached: dict[str, list[float | None]], compare: bool) -> None:
    """Print the table; without `compare` only what must be reached."""
    rows = []
    for part, numbers in reached.items():
        for target, number in zip(TARGETS[part], numbers, strict=True):
            got = "not measured" if number is None else harness.number(number) + target.unit
            verdict = "" if number is None else target.verdict(number)
            rows.append([target.what, *target.goals(), *[got, verdict] * compare])
    print("\n### what must be reached\n")
    print(harness.table(["what", "required", "aim", *["reached", ""] * compare], rows))


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.parser(__doc__, rounds=5)
    options.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
        help=f"of {', '.join(PARTS)} (default: all)",
    )  # fmt: skip
    options = options.parse_args(arguments)

    def common(part: str, *own: str) -> list[str]:
        line = ["--threads", str(options.threads), "--rounds", str(options.rounds), *own]
        file = options.json or harness.RESULTS / "targets.json"
        line += ["--json", str(file.with_stem(f"{file.stem}-{part}"))]
        return line + ["--quick"] * options.quick

    host = harness.machine(options.threads)
    reached = {part: list(PARTS[part](common, options)) for part in options.only}
    report(reached, compare=not options.quick)
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("targets", options.json, host, reached)


if __name__ == "__main__":
    main()
