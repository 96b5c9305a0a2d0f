"""What `Explorer` adds to a training: lenet and lenet5 with and without it, in turns.

Watched: nobody has opened the page. Polled: a page asks once a second for the training's state and
curves and for the prediction of the newest weights, and every other second for the distributions
of a kernel and its gradients, as an open page does.

    python benchmarks/explore.py
    python benchmarks/explore.py --threads 1 --clock cpu
"""

import json
import multiprocessing
import os
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import harness
from steadiness import digits

BATCH, SECONDS = 128, 2.0  # of a run, about
NETWORKS = ("lenet", "lenet5")


def page(url: str, trained: Any) -> None:
    """Ask like an open page, in a process of its own: every second of training."""
    session = ask(url, "session", {})["id"]
    since, asked, even = -1, 0.0, False
    while True:
        if (left := 1 - (trained.value - asked)) > 0:
            time.sleep(max(left, 0.05))  # waking takes a core from what is timed
            continue
        asked = trained.value
        run = ask(url, "run", {"since": since}, session)
        ask(url, "state", {}, session)
        since, even = run["step"], not even
        for of in ("weights", "gradients") if even and run["layers"] else ():
            ask(url, "history", {"name": run["layers"][0], "of": of}, session)


def ask(url: str, action: str, body: dict[str, Any], session: str = "") -> Any:
    """The result of a request."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}api/{action}", data, {"X-Session": session})
    with urllib.request.urlopen(request, timeout=60) as answer:
        packed = answer.read()
    return json.loads(packed[4 : 4 + int.from_bytes(packed[:4], "little")])["result"]


def contestants(
    name: str, quick: bool, clock: Callable[[], float]
) -> dict[str, Callable[[], float]]:
    """Functions that train for some seconds and return the seconds of a step."""
    from nanocnn import Explorer, LambdaCallback, presets

    x, y = digits(BATCH * 4)
    models = {}
    for kind in ("plain", "watched", "polled"):
        model = models[kind] = presets.build(name)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, BATCH, 2, verbose=0)  # compiles and captures
    start = time.perf_counter()
    models["plain"].fit(x, y, BATCH, 4, verbose=0)
    steps = 4 if quick else max(int(16 * SECONDS / (time.perf_counter() - start)), 4)
    x, y = digits(BATCH * steps)

    def runner(kind: str) -> Callable[[], float]:
        explorer = None if kind == "plain" else Explorer(open=False)
        context = multiprocessing.get_context("spawn")
        trained = context.Value("d", 0.0)

        def tick(batch: int, logs: Any) -> None:
            trained.value = clock()  # a busy machine makes the training slower, and so the page

        callbacks = [LambdaCallback(on_train_batch_end=tick)]  # of all, as it takes microseconds
        if explorer is not None:
            callbacks.append(explorer)

        def measured() -> float:
            start = clock()
            models[kind].fit(x, y, BATCH, verbose=0, callbacks=callbacks)
            return (clock() - start) / steps

        measured()  # begins the page
        if kind == "polled" and explorer is not None:
            arguments = (explorer.url, trained)
            context.Process(target=page, args=arguments, daemon=True).start()
            time.sleep(0 if quick else 3)  # until it has started
        return measured

    return {kind: runner(kind) for kind in models}


def main() -> None:
    parser = harness.parser(__doc__, rounds=9)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: the time that all threads of the process compute, for one thread on a busy "
        "machine (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    if options.quick:
        options.rounds = 2
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # read when NumPy is loaded
    host = harness.machine(options.threads)
    import nanocnn

    nanocnn.set_num_threads(options.threads)
    rows, results = [], {}
    for name in NETWORKS:
        samples = harness.interleave(contestants(name, options.quick, clock), options.rounds)
        results[name] = samples
        for kind, each in samples.items():
            summary = harness.summarize(each)
            row = [f"{name}, {kind}", summary.median * 1e3, harness.spread(summary, 1e3)]
            if not options.quick:
                added = summary.median / harness.summarize(samples["plain"]).median - 1
                row.append(f"{added:.1%}")
            rows.append(row)
    print(f"\n### milliseconds of a training step, batch {BATCH}\n")
    header = ["network", "ms", "quartiles", *([] if options.quick else ["added"])]
    print(harness.table(header, rows))
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("explore", options.json, host, {"step_seconds": results})


if __name__ == "__main__":
    main()
