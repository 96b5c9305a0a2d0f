"""Milliseconds per training step, compared with PyTorch and Keras on the same CPU.

Every contestant trains the same network on the same images in its own process, and they alternate.
A step is one minibatch in the usual training loop of the library: model.fit for nanocnn and Keras,
a plain loop for PyTorch. The last column is the speedup of nanocnn, with quartiles over the rounds.
The fixed cost of a call of fit is subtracted (measured by a fit of one step), since an epoch of
MNIST has 469 steps, not the dozens of a run here. Peak memory is that of the whole process,
libraries included, minus its training data.

    python benchmarks/training.py                        all nine networks
    python benchmarks/training.py --preset lenet vgg --rounds 3
    python benchmarks/training.py --isa avx2             all limited to AVX2
    python benchmarks/training.py --widths               only nanocnn: is AVX-512 ever slower?
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import harness
from harness import say
from peers import AVX2, CONTESTANTS, DEFAULT, OURS, PREDICTORS, title
from presets import NINE, PRESETS
from workers import CLOCKS, ISA_SETTINGS, Worker, workers


def measure(name: str, options: Any) -> dict[str, Any]:
    """Seconds per step, losses and memory of all contestants on the network `name`."""
    most = 2 if options.quick else 100
    image = 4 * math.prod(PRESETS[name].shape)
    most = max(1, min(most, 2**26 // (image * options.batch)))  # at most 64 MiB of images
    images = (most + 1) * options.batch
    batch, threads, isa = options.batch, options.threads, options.isa
    with workers(options.contestants, name, images, batch, threads, isa) as running:
        if not running:
            raise SystemExit("none of the contestants is installed")
        first = {who: train(worker, 1, options.clock)["call"] for who, worker in running.items()}
        quickest = min(
            train(worker, min(most, 8), options.clock)["step"] for worker in running.values()
        )
        steps = max(1, min(most, round(options.seconds / quickest)))
        for worker in running.values():
            train(worker, steps, options.clock)
        seconds = ", ".join(f"{who} {first[who]:.2f}" for who in running)
        say(f"{name}: {steps} steps per run; seconds of the first step: {seconds}")
        losses: dict[str, float] = {}

        def turn(who: str) -> float:
            result = train(running[who], steps, options.clock)
            losses[who] = result["loss"]
            return float(result["step"])

        samples = harness.interleave({who: partial(turn, who) for who in running}, options.rounds)
        memory = {who: worker.ask(do="memory") for who, worker in running.items()}
    return {
        "steps": steps,
        "step_seconds": samples,
        "first_step_seconds": first,
        "loss": losses,
        "memory": memory,
    }


def train(worker: Worker, steps: int, clock: str) -> dict[str, float]:
    """Train in the worker; seconds per step and of a one-step fit, and the loss."""
    result = worker.ask(do="train", steps=steps, clock=clock)
    if not math.isfinite(result["loss"]):
        raise RuntimeError(f"{worker.name} does not train: its loss is {result['loss']}")
    return result


def report(name: str, result: dict[str, Any], compare: bool) -> None:
    """Print one network's table; with `compare` also nanocnn's speedup over each peer."""
    samples, memory = result["step_seconds"], result["memory"]
    header = ["training step", "ms", "quartiles", "best", "loss", "peak MiB"]
    header += ["nanocnn is faster by"] * compare
    rows = []
    for who, times in samples.items():
        summary = harness.summarize(times)
        row: list[Any] = [
            title(who),
            summary.median * 1e3,
            harness.spread(summary, 1e3),
            summary.best * 1e3,
            f"{result['loss'][who]:.3f}",
            f"{(memory[who]['peak'] - memory[who]['data']) / 2**20:.0f}",
        ]
        if compare and who != OURS and OURS in samples:
            ratio = harness.speed_up(samples[OURS], times)
            row.append(f"{ratio.median:.2f}x ({harness.spread(ratio)})")
        elif compare:
            row.append("")
        rows.append(row)
    print(f"\n### {name}\n")
    print(harness.table(header, rows))


def conclude(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Print and return the speedup over the fastest peer by network; print mean and minimum."""
    rows, ratios = [], {}
    for name, result in results.items():
        samples = result["step_seconds"]
        peers = [who for who in samples if not who.startswith(OURS)]
        best = harness.fastest(samples, peers)
        if OURS not in samples or best is None:
            continue
        ratio = harness.speed_up(samples[OURS], samples[best])
        ratios[name] = ratio.median
        ours, theirs = (harness.summarize(samples[who]).median * 1e3 for who in (OURS, best))
        of_bests = min(min(samples[who]) for who in peers) / min(samples[OURS])
        beyond = {who: m["peak"] - m["data"] for who, m in result["memory"].items()}
        torch = min((beyond[who] for who in peers if who.startswith("torch")), default=None)
        share = f"{beyond[OURS] / torch:.2f}" if torch else ""
        measured = [f"{ratio.median:.2f}x", harness.spread(ratio), f"{of_bests:.2f}x", share]
        rows.append([name, ours, theirs, title(best), *measured])
    if not rows:
        return ratios
    print("\n### compared with the fastest peer\n")
    header = ["network", "nanocnn ms", "fastest peer ms", "which", "ratio", "quartiles"]
    print(harness.table([*header, "ratio of bests", "memory / PyTorch's"], rows))
    print(f"\n{harness.mean_and_worst(ratios)}")
    return ratios


def compare_widths(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Print and return how much longer AVX2 takes than this processor's full width, by network."""
    rows, ratios = [], {}
    for name, result in results.items():
        samples = result["step_seconds"]
        ratio = harness.speed_up(samples[OURS], samples[AVX2])
        ratios[name] = ratio.median
        full, avx2 = (harness.summarize(samples[who]).median * 1e3 for who in (OURS, AVX2))
        verdict = "slower" if ratio.high < 1 else "perhaps slower" if ratio.median < 1 else ""
        of_bests = min(samples[AVX2]) / min(samples[OURS])
        times = [f"{ratio.median:.2f}x", harness.spread(ratio), f"{of_bests:.2f}x"]
        rows.append([name, full, avx2, *times, verdict])
    print("\n### full width compared with AVX2, nanocnn alone\n")
    header = ["network", "full width ms", "AVX2 ms", "ratio", "quartiles"]
    print(harness.table([*header, "ratio of bests", "full width is"], rows))
    print(f"\n{harness.mean_and_worst(ratios)}. Slower: also the upper quartile is below 1.")
    return ratios


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = harness.parser(__doc__, rounds=7)
    trainers = [name for name in CONTESTANTS if name not in PREDICTORS]
    harness.add_contest(options, PRESETS, NINE, trainers, DEFAULT, ISA_SETTINGS)
    options.add_argument(
        "--widths",
        action="store_true",
        help="compare nanocnn with itself limited to AVX2, and with nobody else",
    )
    options.add_argument(
        "--batch", type=int, default=128, help="images per step (default: %(default)s)"
    )
    options.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="length of a run of the fastest contestant (default: %(default)s)",
    )
    options.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor time, for a busy machine with --threads 1 (default: %(default)s)",
    )
    options = options.parse_args(arguments)
    if options.quick:
        options.preset, options.rounds, options.batch = ["tiny"], 2, 16
    if options.widths:
        options.contestants = [OURS, AVX2]
    end = compare_widths if options.widths else conclude
    return harness.contest("training", options, measure, report, end)


if __name__ == "__main__":
    main()
