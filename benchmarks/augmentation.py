"""What augmentation adds to a training step: lenet with five random layers, against lenet alone.

The layers are those of the preset `record` and an erasure; both models train in turns.

    python benchmarks/augmentation.py
"""

import os
import time
from collections.abc import Callable
from typing import Any

import harness
from steadiness import digits

BATCH, STEPS = 128, 30  # of a run


def models() -> dict[str, Any]:
    """Lenet alone, and behind the random layers."""
    from nanocnn import RandomErasing, Sequential, presets

    layers = presets.lenet()
    random = [layer for layer in presets.record() if type(layer).__name__.startswith("Random")]
    found = {
        "lenet": Sequential(layers),
        "lenet, augmented": Sequential(
            [layers[0], *random, RandomErasing(0.5), *presets.lenet()[1:]]
        ),
    }
    for model in found.values():
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return found


def run(model: Any, x: Any, y: Any) -> Callable[[], float]:
    """A function that trains for an epoch and returns the seconds of a step."""
    model.fit(x, y, BATCH, verbose=0)  # compiles and captures

    def measured() -> float:
        start = time.perf_counter()
        model.fit(x, y, BATCH, verbose=0)
        return (time.perf_counter() - start) / (len(x) // BATCH)

    return measured


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    steps = STEPS
    if options.quick:
        steps, options.rounds = 2, 2
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # read when NumPy is loaded
    host = harness.machine(options.threads)
    import nanocnn

    nanocnn.set_num_threads(options.threads)
    x, y = digits(BATCH * steps)
    found = {name: run(model, x, y) for name, model in models().items()}
    samples = harness.interleave(found, options.rounds)
    rows = []
    for name, each in samples.items():
        summary = harness.summarize(each)
        rows.append([name, summary.median * 1e3, harness.spread(summary, 1e3)])
    print(f"\n### milliseconds of a training step, batch {BATCH}\n")
    print(harness.table(["network", "ms", "quartiles"], rows))
    if options.quick:
        print(harness.NO_VERDICT)
    else:
        plain, augmented = samples.values()
        share = harness.summarize(augmented).median / harness.summarize(plain).median - 1
        print(f"\nAugmentation adds {share:.1%} to the step.")
    harness.finish("augmentation", options.json, host, {"step_seconds": samples})


if __name__ == "__main__":
    main()
