"""Seconds from starting Python to the end of an import or of the first training step.

Each sample is a new process, timed from outside until it prints that it is done. The programs
alternate, after one unmeasured round that brings their files into memory. Warm means that the
kernels were compiled by an earlier process, cold that all of them have to be compiled.

    python benchmarks/startup.py
    python benchmarks/startup.py --preset dropout --rounds 9
"""

import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import harness
from harness import say
from presets import PRESETS
from workers import environment

STEP = """
import sys
sys.path.insert(0, {here!r})
import numpy as np
from peers import CONTESTANTS, Task
from presets import PRESETS
preset = PRESETS[{preset!r}]
x, y = np.ones(({batch}, *preset.shape), np.float32), np.arange({batch}) % 10
CONTESTANTS[{name!r}][1](Task(preset, x, y, {batch}, {threads})).fit(1)
"""


def seconds(code: str, env: dict[str, str]) -> float:
    """Seconds that a new process takes to run `code`. Raises RuntimeError with its output."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code + "\nprint('done', flush=True)"],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    output = ""
    for line in process.stdout:
        output += line
        if line == "done\n":
            break
    elapsed = time.perf_counter() - start
    rest, errors = process.communicate()
    if not output.endswith("done\n"):
        raise RuntimeError(f"{code}\nfailed:\n{output}{rest}{errors[-3000:]}")
    return elapsed


def step(name: str, preset: str, batch: int, threads: int) -> str:
    """A program that makes one training step with the contestant `name`."""
    here = str(Path(__file__).parent)
    return STEP.format(here=here, name=name, preset=preset, batch=batch, threads=threads)


def cold(code: str, env: dict[str, str]) -> float:
    """`seconds` with no kernel compiled."""
    with tempfile.TemporaryDirectory() as empty:
        return seconds(code, {**env, "NUMBA_CACHE_DIR": empty})


def main() -> None:
    options = harness.parser(__doc__, rounds=7)
    options.add_argument(
        "--preset", choices=PRESETS, default="lenet", help="the network (default: %(default)s)"
    )
    options.add_argument(
        "--batch", type=int, default=128, help="images per step (default: %(default)s)"
    )
    options.add_argument(
        "--cold-rounds",
        type=int,
        default=3,
        help="rounds with nothing compiled (default: %(default)s)",
    )
    options = options.parse_args()
    if options.quick:
        options.preset, options.rounds, options.cold_rounds, options.batch = "tiny", 1, 1, 16
    host = harness.machine(options.threads)
    env = environment(options.threads)

    ours, torch, keras = (
        step(name, options.preset, options.batch, options.threads)
        for name in ("nanocnn", "torch", "keras")
    )
    with tempfile.TemporaryDirectory() as cache:
        warm_env = {**env, "NUMBA_CACHE_DIR": cache}
        programs = {
            "python alone": partial(seconds, "", env),
            "import numpy": partial(seconds, "import numpy", env),
            "import nanocnn": partial(seconds, "import nanocnn", env),
            "nanocnn, first step, warm": partial(seconds, ours, warm_env),
        }
        if find_spec("torch"):
            programs["import torch"] = partial(seconds, "import torch", env)
            programs["PyTorch, first step"] = partial(seconds, torch, env)
        else:
            say("torch is not installed: skipped")
        if find_spec("tensorflow"):
            programs["import tensorflow"] = partial(seconds, "import tensorflow", env)
            programs["Keras, first step"] = partial(seconds, keras, env)
        else:
            say("tensorflow is not installed: skipped")
        for run in programs.values():
            run()
        samples = harness.interleave(programs, options.rounds)

    nothing = {"nanocnn, first step, cold": partial(cold, ours, env)}
    samples |= harness.interleave(nothing, options.cold_rounds)

    print(f"\n### start-up, {options.preset}\n")
    alone = harness.summarize(samples["import torch"]).median if "import torch" in samples else None
    rows = []
    for name, times in samples.items():
        summary = harness.summarize(times)
        ratio = f"{summary.median / alone:.2f}" if alone else ""
        rows.append([name, summary.median, harness.spread(summary), ratio])
    shown = 3 if options.quick else 4
    header = ["from process start", "s", "quartiles", "of import torch"]
    print(harness.table(header[:shown], [row[:shown] for row in rows]))
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("startup", options.json, host, {"preset": options.preset, "seconds": samples})


if __name__ == "__main__":
    main()
