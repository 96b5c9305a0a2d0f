"""Milliseconds to predict 1 to 1024 images, compared with PyTorch and Keras.

nanocnn runs model.predict, PyTorch a call of the module in inference_mode, Keras the faster of
model.predict and a compiled call (tf.function). All return probabilities as NumPy arrays.

    python benchmarks/inference.py
    python benchmarks/inference.py --preset lenet --batches 1 32
"""

from functools import partial
from typing import Any

import harness
from harness import say
from peers import CONTESTANTS, DEFAULT, OURS, title
from presets import MNIST, PRESETS
from workers import ISA_SETTINGS, workers

BATCHES = (1, 8, 32, 128, 1024)


def measure(name: str, options: Any) -> dict[str, Any]:
    """Seconds per call on the network `name`, for every batch size and contestant."""
    results: dict[str, Any] = {}
    with workers(options.contestants, name, 1024, 128, options.threads, options.isa) as running:
        for batch in options.batches:
            forms: dict[str, str] = {}

            def turn(who: str, batch: int = batch, forms: dict[str, str] = forms) -> float:
                result = running[who].ask(do="predict", batch=batch, seconds=options.seconds)
                forms[who] = result["form"]
                return float(result["seconds"])

            for who in running:
                turn(who)  # warm-up
            say(f"{name}, {batch} images")
            turns = {who: partial(turn, who) for who in running}
            samples = harness.interleave(turns, options.rounds)
            results[str(batch)] = {"call_seconds": samples, "forms": forms}
    return results


def report(name: str, results: dict[str, Any], _compare: bool) -> None:
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
        rows.append(row)
    print(f"\n### {name}\n")
    print(harness.table(["ms by number of images", *results], rows))
    print("\n`*` a compiled call, faster than predict")


def conclude(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Print and return nanocnn's ratio to the fastest peer, by network and batch size."""
    ratios: dict[str, dict[str, float]] = {}
    for name, by_batch in results.items():
        for batch, result in by_batch.items():
            samples = result["call_seconds"]
            best = harness.fastest(samples, [who for who in samples if not who.startswith(OURS)])
            if OURS in samples and best is not None:
                ratio = harness.speed_up(samples[OURS], samples[best]).median
                ratios.setdefault(name, {})[batch] = ratio
    if not ratios:
        return ratios
    batches = list(next(iter(ratios.values())))
    rows = [[name, *(f"{row[batch]:.2f}x" for batch in batches)] for name, row in ratios.items()]
    if set(MNIST) <= set(ratios):
        means = [harness.geometric_mean(ratios[name][batch] for name in MNIST) for batch in batches]
        rows.append([f"geometric mean of {', '.join(MNIST)}", *(f"{mean:.2f}x" for mean in means)])
    print("\n### compared with the fastest peer\n")
    print(harness.table(["nanocnn is faster by", *batches], rows))
    return ratios


def main() -> None:
    options = harness.parser(__doc__, rounds=9)
    harness.add_contest(options, PRESETS, MNIST, CONTESTANTS, DEFAULT, ISA_SETTINGS)
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
    options = options.parse_args()
    if options.quick:
        options.preset, options.rounds, options.seconds, options.batches = ["tiny"], 2, 0.01, [1, 8]
    harness.contest("inference", options, measure, report, conclude)


if __name__ == "__main__":
    main()
