"""What must not slow down: the 20,000th training step, 16 threads at once, the end after Ctrl-C.

Other load on the machine affects these figures; the tests only count what does not depend on it.
Numbers of one run are compared by their medians.

    python benchmarks/steadiness.py
    python benchmarks/steadiness.py --kernels fast --steps 5000
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import harness
from harness import say

WARM_UP = 100  # steps
TRAINING = """
import sys
sys.path.insert(0, {here!r})
from steadiness import digits, model
x, y = digits(8192)
m = model({kernels!r}, {threads})
m.train_on_batch(x[:64], y[:64])
print("ready", flush=True)
try:
    m.fit(x, y, 64, 100_000, verbose=0)
finally:
    print("ended", flush=True)
"""


def digits(count: int) -> tuple[Any, Any]:
    """`count` images of the package's sample, repeated as needed, and their labels."""
    import numpy as np

    from nanocnn.data import mnist

    (x, y), _ = mnist.sample()
    rows = np.arange(count) % len(x)
    return x[rows], y[rows]


def model(kernels: str, threads: int) -> Any:
    """The preset lenet, compiled for class numbers."""
    import nanocnn
    from nanocnn import presets

    nanocnn.set_num_threads(threads)
    network = presets.build("lenet", kernels=kernels)
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


def late_steps(kernels: str, steps: int, threads: int) -> dict[str, Any]:
    """Seconds of each step in the first and last tenth, by wall clock and processor time."""
    from nanocnn import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            self.wall: list[float] = []
            self.processor: list[float] = []

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.wall.append(time.perf_counter())
            self.processor.append(time.process_time())

    clock, (x, y) = Clock(), digits(50 * 8)
    model(kernels, threads).fit(x, y, 8, -(-steps // 50), callbacks=[clock], verbose=0)
    found: dict[str, Any] = {}
    for name, times in (("clock", clock.wall), ("processor", clock.processor)):
        each = [b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]
        part = max(1, len(each) // 10)
        found[name] = {"first": each[:part], "last": each[-part:]}
    return found


def rates(kernels: str, rounds: int, seconds: float, threads: int) -> dict[str, list[float]]:
    """Predictions of 90 images per second by 1 thread and by 16 at once, alternating."""
    network, (x, _) = model(kernels, threads), digits(90)
    network.predict(x)

    def together(count: int) -> float:
        done = [0] * count
        end = time.perf_counter() + seconds

        def work(i: int) -> None:
            while time.perf_counter() < end:
                network.predict(x)
                done[i] += 1

        callers = [threading.Thread(target=work, args=(i,)) for i in range(count)]
        start = time.perf_counter()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        return sum(done) / (time.perf_counter() - start)

    return harness.interleave(
        {"1": lambda: together(1), "16": lambda: together(16)}, rounds, quiet=True
    )


def after_ctrl_c(kernels: str, rounds: int, threads: int) -> list[float]:
    """Seconds from Ctrl-C during a `fit` until it has ended, one for each process."""
    found = []
    for i in range(rounds):
        code = TRAINING.format(here=str(Path(__file__).parent), kernels=kernels, threads=threads)
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.3 + 0.17 * (i % 5))  # at different moments
            start = time.perf_counter()
            process.send_signal(signal.SIGINT)
            while process.stdout.readline() not in ("ended\n", ""):
                pass
            found.append(time.perf_counter() - start)
    return found


def main() -> None:
    options = harness.parser(__doc__, rounds=5)
    options.add_argument(
        "--steps", type=int, default=20_000, help="training steps (default: %(default)s)"
    )
    options.add_argument(
        "--kernels", choices=("fast", "reference"), help="one kernel set (default: both)"
    )
    options.add_argument(
        "--seconds", type=float, default=1.0, help="length of a run (default: %(default)s)"
    )
    options = options.parse_args()
    if options.quick:
        options.steps, options.rounds, options.seconds = 200, 1, 0.05
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # read when NumPy is loaded
    host, results, rows = harness.machine(options.threads), {}, []
    for kernels in [options.kernels] if options.kernels else ["fast", "reference"]:
        say(f"{kernels}: {options.steps:,} steps")
        steps = late_steps(kernels, options.steps, options.threads)
        say(f"{kernels}: predictions by 1 and 16 threads")
        counts = rates(kernels, options.rounds, options.seconds, options.threads)
        say(f"{kernels}: Ctrl-C")
        ends = after_ctrl_c(kernels, options.rounds, options.threads) if os.name == "posix" else []
        results[kernels] = {"steps": steps, "predictions": counts, "ctrl_c": ends}
        rows += table_rows(kernels, results[kernels], compare=not options.quick)
    print(f"\n### steadiness, {options.steps:,} steps of 8 images, predictions of 90\n")
    header = ["what", "kernels", "before", "after", "after / before"][: len(rows[0])]
    print(harness.table(header, rows))
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("steadiness", options.json, host, results)


def table_rows(kernels: str, result: dict[str, Any], compare: bool) -> list[list[Any]]:
    """The rows of one kernel set; ratios only with `compare`."""
    rows = []
    for name, parts in result["steps"].items():
        first, last = (harness.summarize(parts[part]).median * 1e3 for part in ("first", "last"))
        rows.append([f"ms per step, first and last tenth, {name}", kernels, first, last])
    one, many = (harness.summarize(result["predictions"][count]).median for count in ("1", "16"))
    rows.append(["predictions per second by 1 and by 16 threads", kernels, one, many])
    if compare:
        for row in rows:
            row.append(f"{row[3] / row[2]:.2f}")
    if result["ctrl_c"]:
        ends = [min(result["ctrl_c"]), max(result["ctrl_c"])]
        words = "s from Ctrl-C to the end of fit, min and max"
        rows.append([words, kernels, *ends, *[""] * compare])
    return rows


if __name__ == "__main__":
    main()
