"""What all benchmarks share: interleaved rounds, statistics, tables, JSON, the machine's name.

Contestants alternate, A B C A B C ..., so that other load on the machine affects all of them. A
number is the median over the rounds, with quartiles; a ratio compares medians of one run.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parent.parent / "results"


class Summary(NamedTuple):
    """Statistics of a contestant's samples: median, quartiles, minimum and count."""

    median: float
    low: float
    high: float
    best: float
    count: int


def summarize(samples: Sequence[float]) -> Summary:
    """The statistics of `samples`, quartiles interpolated linearly. Raises ValueError if empty."""
    if not samples:
        raise ValueError("no samples to summarize: at least one round is needed")
    if len(samples) == 1:
        low = middle = high = samples[0]
    else:
        low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Summary(middle, low, high, min(samples), len(samples))


def speed_up(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """How many times faster `ours` is: ratio of medians, and quartiles over the rounds' ratios."""
    rounds = summarize([b / a for a, b in zip(ours, theirs, strict=True)])
    return rounds._replace(median=statistics.median(theirs) / statistics.median(ours))


def geometric_mean(values: Iterable[float]) -> float:
    """The mean in which 2x faster and 2x slower cancel."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def mean_and_worst(ratios: Mapping[str, float]) -> str:
    """The geometric mean of the networks' ratios and the worst of them, as a sentence."""
    worst = min(ratios, key=lambda name: ratios[name])
    return (
        f"Geometric mean over {', '.join(ratios)}: {geometric_mean(ratios.values()):.2f}x; "
        f"the worst: {ratios[worst]:.2f}x ({worst})"
    )


def fastest(samples: Mapping[str, Sequence[float]], names: Iterable[str]) -> str | None:
    """The one of `names` with the smallest median; None if none of them was measured."""
    found = [name for name in names if name in samples]
    return min(found, key=lambda name: statistics.median(samples[name]), default=None)


def interleave(
    contestants: Mapping[str, Callable[[], float]],
    rounds: int,
    pause: float = 0.05,
    quiet: bool = False,
) -> dict[str, list[float]]:
    """Run every contestant once per round; return the samples of each, in order.

    Each round starts with another contestant. Before each run there is a `pause` in seconds, since
    the thread pools of most libraries keep spinning for some milliseconds after their work.
    """
    names = list(contestants)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            samples[name].append(contestants[name]())
        latest = " ".join(f"{name} {samples[name][-1] * 1e3:.4g}" for name in names)
        if not quiet:
            say(f"round {turn + 1}/{rounds}, ms: {latest}")
    return samples


def repeat_for(work: Callable[[], Any], seconds: float) -> float:
    """Seconds per call of `work`, called repeatedly for about `seconds`."""
    start = time.perf_counter()
    calls = 0
    while True:
        work()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return elapsed / calls


def call_times(work: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call of `work`, called repeatedly for about `seconds`."""
    times: list[float] = []
    before = start = time.perf_counter()
    while before - start < seconds:
        work()
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return times


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, padded so that it is readable in a terminal too.

    Columns after the first are right-aligned; floats have three significant digits.
    """
    cells = [[number(c) if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    rule = [
        "-" * width if i == 0 else "-" * (max(width, 2) - 1) + ":" for i, width in enumerate(widths)
    ]

    def line(row: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    return "\n".join([line(header), line(rule), *map(line, cells)])


def number(value: float) -> str:
    """A float with three significant digits and no exponent."""
    digits = 2 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    return f"{value:.{min(max(digits, 0), 6)}f}"


def spread(summary: Summary, scale: float = 1.0) -> str:
    """The quartiles as text, "12.1-12.9"."""
    return f"{number(summary.low * scale)}-{number(summary.high * scale)}"


def machine(threads: int, isa: str = "native") -> dict[str, Any]:
    """What the results depend on: processor, cores, SIMD, system, versions, load at the start."""
    model, flags = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
        info = {key.strip(): value.strip() for key, _, value in lines}
        model, flags = info.get("model name", model), info.get("flags", info.get("Features", ""))
    known = ("avx512f", "avx2", "avx", "asimd", "neon")
    simd = next((name for name in known if name in flags.split()), "unknown")
    versions = {}
    for name in ("numpy", "numba", "nanocnn", "torch", "tensorflow", "tensorflow-cpu", "keras",
                 "onnxruntime", "openvino"):  # fmt: skip
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": usable_cores(),
        "threads": threads,
        "simd": simd,
        "isa": isa,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def usable_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(host: Mapping[str, Any]) -> str:
    """The machine in two lines, printed below the tables."""
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    held = "" if host["isa"] == "native" else f", all limited to {host['isa']}"
    return (
        f"{host['cpu']}, {host['cores']} cores, {host['threads']} threads, {host['simd']}{held}; "
        f"{host['system']}\nPython {host['python']}, {versions}"
    )


def say(line: str) -> None:
    """Print progress to stderr; stdout is for the tables."""
    print(line, file=sys.stderr, flush=True)


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        help="threads of each contestant (default: %(default)s)",
    )
    options.add_argument(
        "--rounds",
        type=int,
        default=rounds,
        help="runs of each contestant (default: %(default)s)",
    )
    options.add_argument(
        "--quick",
        action="store_true",
        help="few short runs, to test the benchmark itself; prints no ratios",
    )
    options.add_argument(
        "--json", type=Path, metavar="FILE", help="for the raw samples (default: results/NAME.json)"
    )
    return options


def add_contest(
    options: argparse.ArgumentParser,
    presets: Iterable[str],
    default_presets: Sequence[str],
    contestants: Iterable[str],
    default_contestants: Sequence[str],
    isas: Iterable[str],
) -> None:
    """The options of a comparison: networks, libraries and instruction set."""
    options.add_argument(
        "--preset",
        nargs="+",
        choices=presets,
        default=list(default_presets),
        metavar="NAME",
        help=f"networks, of {', '.join(presets)} (default: %(default)s)",
    )
    options.add_argument(
        "--contestants",
        nargs="+",
        choices=contestants,
        default=list(default_contestants),
        metavar="NAME",
        help=f"of {', '.join(contestants)} (default: %(default)s); skipped if not installed",
    )
    options.add_argument("--compile", action="store_true", help="also measure torch.compile")
    options.add_argument(
        "--isa",
        choices=isas,
        default="native",
        help="instruction set of all contestants (default: %(default)s)",
    )


def contest(
    benchmark: str,
    options: argparse.Namespace,
    measure: Callable[[str, argparse.Namespace], Any],
    report: Callable[[str, Any, bool], None],
    conclude: Callable[[dict[str, Any]], Any],
) -> dict[str, Any]:
    """Measure and report the networks one by one, then compare them, except with --quick.

    Returns the "networks", each as `measure` gave it, and the "ratios" of `conclude`.
    """
    options.contestants += ["torch-compile"] * options.compile
    host = machine(options.threads, options.isa)
    results: dict[str, Any] = {}
    for name in options.preset:
        results[name] = measure(name, options)
        report(name, results[name], not options.quick)
        save(benchmark, options.json, host, {"networks": results})
    ratios = {} if options.quick else conclude(results)
    if options.quick:
        print(NO_VERDICT)
    found = {"networks": results, "ratios": ratios}
    finish(benchmark, options.json, host, found)
    return found


NO_VERDICT = (
    "\n--quick: a few runs, too short to compare contestants; ratios and verdicts are omitted."
)


def command() -> str:
    """The command that started this, printed below the tables."""
    return "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def save(name: str, file: Path | None, host: Mapping[str, Any], results: Any) -> Path:
    """Write samples and machine as JSON, to `file` or results/NAME.json."""
    file = file or RESULTS / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": name, "command": command(), "machine": host, "results": results}
    file.write_text(json.dumps(content, indent=1))
    return file


def finish(name: str, file: Path | None, host: Mapping[str, Any], results: Any) -> None:
    """Print the machine and the command, and save the results."""
    print(f"\n{describe(host)}\n`{command()}`")
    if host["load"] is not None and host["load"] > 0.5:
        say(f"the machine was busy at the start (load {host['load']:.1f}): expect noise")
    say(f"written: {save(name, file, host, results)}")
