"""What `Explorer` adds to a training: lenet and lenet5 with and without it, in turns.

Watched: nobody has opened the page. Polled: a page asks for the training's state four times a
second, and looks at the newest weights, as an open page does.

    python benchmarks/explore.py
"""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import harness
from steadiness import digits

BATCH, SECONDS = 128, 2.0  # of a run, about
NETWORKS = ("lenet", "lenet5")


class Page(threading.Thread):
    """Asks like an open page, until it is stopped."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.stopped, self.requests = url, threading.Event(), 0
        self.session = self.ask("session", {})["id"]

    def ask(self, action: str, body: dict[str, Any]) -> Any:
        """The result of a request."""
        headers = {"X-Session": getattr(self, "session", "")}
        request = urllib.request.Request(
            f"{self.url}api/{action}", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = answer.read()
        return json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])["result"]

    def run(self) -> None:
        since = -1
        while not self.stopped.wait(0.25):
            since = self.ask("run", {"since": since})["step"]
            self.requests += 1

    def stop(self) -> None:
        """Stop, and wait for the last answer."""
        self.stopped.set()
        self.join()


def contestants(name: str, quick: bool) -> dict[str, Callable[[], float]]:
    """Functions that train for some seconds and return the seconds of a step."""
    from nanocnn import Explorer, presets

    models = {}
    for kind in ("plain", "watched", "polled"):
        model = models[kind] = presets.build(name)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = digits(BATCH * 4)
    for model in models.values():
        model.fit(x, y, BATCH, 2, verbose=0)  # compiles and captures
    start = time.perf_counter()
    models["plain"].fit(x, y, BATCH, 4, verbose=0)
    steps = 4 if quick else max(int(16 * SECONDS / (time.perf_counter() - start)), 4)
    x, y = digits(BATCH * steps)

    def runner(kind: str) -> Callable[[], float]:
        callbacks = [] if kind == "plain" else [Explorer(open=False)]

        def measured() -> float:
            page = None
            if kind == "polled" and callbacks[0].url:
                page = Page(callbacks[0].url)
                page.start()
            start = time.perf_counter()
            models[kind].fit(x, y, BATCH, verbose=0, callbacks=callbacks)
            seconds = (time.perf_counter() - start) / steps
            if page is not None:
                page.stop()
            return seconds

        measured()  # begins the page
        return measured

    return {kind: runner(kind) for kind in models}


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    if options.quick:
        options.rounds = 2
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # read when NumPy is loaded
    host = harness.machine(options.threads)
    import nanocnn

    nanocnn.set_num_threads(options.threads)
    rows, results = [], {}
    for name in NETWORKS:
        samples = harness.interleave(contestants(name, options.quick), options.rounds)
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
