"""Milliseconds to predict 1 to 128 images, compared with PyTorch, Keras, ONNX Runtime and OpenVINO.

nanocnn runs model.predict, PyTorch a call of the module in inference_mode, Keras the faster of
model.predict and a compiled call (tf.function). ONNX Runtime and OpenVINO run the file that
PyTorch's exporter writes, compiled for the number of images, once with all threads and once with
one: the faster of them counts. OpenVINO is held to float32, where it would take bfloat16 on some
processors. All have the same weights and return probabilities as NumPy arrays, which must be those
of the reference kernels to 1e-4 before anything is timed.

A number is the median over the rounds of each run's median, or of its 99th percentile.

    python benchmarks/inference.py
    python benchmarks/inference.py --preset lenet --batches 1 32 1024
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import harness
from harness import say
from peers import CONTESTANTS, DEFAULT, OURS, PREDICTORS, title
from presets import MNIST, PRESETS
from workers import ISA_SETTINGS, workers

BATCHES = (1, 8, 128)
CHECKED = 128  # images whose predictions are compared
MIN_CALLS = 100  # in a run, for a 99th percentile


def measure(name: str, options: Any) -> dict[str, Any]:
    """Seconds per call on the network `name`, for every batch size and contestant."""
    results: dict[str, Any] = {}
    images = max(options.batches)
    with workers(
        options.contestants, name, images, 128, options.threads, options.isa, CHECKED
    ) as running:
        for batch in options.batches:
            forms: dict[str, str] = {}
            late: dict[str, list[float]] = {who: [] for who in running}

            def turn(who: str, batch: int = batch, forms: Any = forms, late: Any = late) -> float:
                result = running[who].ask(do="predict", batch=batch, seconds=options.seconds)
                forms[who] = result["form"]
                if result["calls"] >= MIN_CALLS:
                    late[who].append(result["p99"])
                return float(result["seconds"])

            for who in running:
                turn(who)  # warm-up
                late[who].clear()
            say(f"{name}, {batch} images")
            turns = {who: partial(turn, who) for who in running}
            samples = harness.interleave(turns, options.rounds)
            results[str(batch)] = {"call_seconds": samples, "p99_seconds": late, "forms": forms}
    return results


def late_over_median(result: dict[str, Any], who: str) -> float | None:
    """How many times the median the 99th percentile is; None if most runs had too few calls."""
    late, times = result["p99_seconds"][who], result["call_seconds"][who]
    if 2 * len(late) < len(times):
        return None
    return harness.summarize(late).median / harness.summarize(times).median


def report(name: str, results: dict[str, Any], compare: bool) -> None:
    """Print one network's table: a row per contestant, a column per batch size."""
    contestants = list(next(iter(results.values()))["call_seconds"])
    rows = []
    for who in contestants:
        row: list[Any] = [title(who)]
        for result in results.values():
            form = result["forms"][who]
            mark = " *" if form == "compiled call" else ""
            median = harness.summarize(result["call_seconds"][who]).median
            row.append(harness.number(median * 1e3) + mark)
        for result in results.values() if compare else ():
            late = late_over_median(result, who)
            row.append("" if late is None else f"{late:.2f}x")
        rows.append(row)
    print(f"\n### {name}\n")
    ends = [f"p99 of {batch} / median" for batch in results] if compare else []
    print(harness.table(["ms by number of images", *results, *ends], rows))
    print("\n`*` a compiled call, faster than predict")


def conclude(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Print and return nanocnn's ratio to the fastest peer, by batch size and network."""
    ratios: dict[str, dict[str, float]] = {}
    rows = []
    for name, by_batch in results.items():
        row = [name]
        for batch, result in by_batch.items():
            samples = result["call_seconds"]
            best = harness.fastest(samples, [who for who in samples if not who.startswith(OURS)])
            if OURS in samples and best is not None:
                ratio = harness.speed_up(samples[OURS], samples[best]).median
                ratios.setdefault(batch, {})[name] = ratio
                row.append(f"{ratio:.2f}x ({title(best)})")
        rows.append(row)
    if not ratios:
        return ratios
    print("\n### compared with the fastest peer\n")
    print(harness.table(["nanocnn is faster by", *ratios], rows))
    for batch, each in ratios.items():
        print(f"\nBatches of {batch}. {harness.mean_and_worst(each)}")
    return ratios


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = harness.parser(__doc__, rounds=9)
    contestants = *DEFAULT, *PREDICTORS
    harness.add_contest(options, PRESETS, MNIST, CONTESTANTS, contestants, ISA_SETTINGS)
    options.add_argument(
        "--batches",
        nargs="+",
        type=int,
        default=list(BATCHES),
        metavar="N",
        help="images per call (default: %(default)s)",
    )
    options.add_argument(
        "--seconds", type=float, default=0.2, help="length of a run (default: %(default)s)"
    )
    options = options.parse_args(arguments)
    if options.quick:
        options.preset, options.rounds, options.seconds, options.batches = ["tiny"], 2, 0.01, [1, 8]
    return harness.contest("inference", options, measure, report, conclude)


if __name__ == "__main__":
    main()
