"""How fast the page of `nanocnn.explore` is, in a real browser (extras explore and test-browser).

stroke        from the last point of a stroke, as the browser timed the pointer, to all activations
              on the screen: 120 strokes on the page of lenet
page ready    from the first request of a page to all numbers of its view, in a new context
first view    bytes that the first view of dropout, 1.3 million parameters, takes, with headers

    python benchmarks/explore_page.py
"""

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import harness

NAMES = "chromium", "chromium-browser", "google-chrome"
STROKES, POINTS = 120, 24
PAUSE = 0.008  # seconds between two points: 125 a second, as most mice send them
READY = "html[data-ready='1']"
# When the newest point of a pointer came, and when the page was first ready.
WATCH = """
globalThis.seen = {point: 0, ready: 0};
addEventListener("pointermove", (event) => { seen.point = event.timeStamp; }, true);
new MutationObserver(() => {
  if (!seen.ready && document.documentElement?.dataset.ready === "1") {
    requestAnimationFrame(() => setTimeout(() => { seen.ready ||= performance.now(); }));
  }
}).observe(document, {attributes: true, subtree: true, attributeFilter: ["data-ready"]});
"""
# [ms from the last point to the screen, ms in between that the server took], or null until all in
# view is of the newest version.
STROKE = """() => {
  const last = performance.getEntriesByName("stroke").at(-1);
  const newest = performance.getEntriesByName("stroke-start").at(-1);
  const {version, ready} = document.documentElement.dataset;
  const maps = [...document.querySelectorAll(".column canvas.values[data-version]")];
  if (!last || last.startTime !== newest?.startTime || ready !== "1") return null;
  if (!maps.every((map) => map.dataset.version === version)) return null;
  const calls = performance.getEntriesByType("resource").filter(({name}) => /digit$/.test(name));
  const call = calls.at(-1);
  performance.clearResourceTimings();
  performance.clearMarks("stroke-start"); // the page itself clears them after 500, in a stroke
  return [last.startTime + last.duration - seen.point, call ? call.duration : 0];
}"""


class Target:
    """A row of the table: what is measured, and what it may be at most."""

    def __init__(self, what: str, most: float, unit: str, reached: float, spread: str) -> None:
        self.what, self.most, self.unit, self.reached, self.spread = (
            what, most, unit, reached, spread,
        )  # fmt: skip

    def row(self, quick: bool) -> list[Any]:
        verdict = "reached" if self.reached <= self.most else "MISSED"
        row = [self.what, f"<= {self.most:g} {self.unit}", self.reached, self.spread]
        return row if quick else [*row, verdict]


def serve(name: str) -> Any:
    """The page of an untrained preset."""
    import nanocnn
    from nanocnn import presets

    return nanocnn.explore(presets.build(name), open=False, block=False)


def strokes(browser: Any, url: str, count: int) -> list[tuple[float, float]]:
    """Draw strokes of random curves; (milliseconds to the screen, of these the request's)."""
    import random

    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.add_init_script(WATCH)
    page.goto(url)
    page.wait_for_selector(READY, state="attached")
    page.click("#clear")
    paper, draw, found = page.locator("#paper").bounding_box(), random.Random(0), []
    for number in range(count + 3):
        if number % 12 == 0:
            page.click("#clear")
        x, y = (paper[side] + paper[size] * draw.uniform(0.2, 0.8)
                for side, size in (("x", "width"), ("y", "height")))  # fmt: skip
        page.mouse.move(x, y)
        page.mouse.down()
        for _ in range(POINTS):
            x += draw.uniform(-6, 6)
            y += draw.uniform(-6, 6)
            page.mouse.move(x, y)
            time.sleep(PAUSE)
        page.mouse.up()
        while not (sample := page.evaluate(STROKE)):
            time.sleep(0.01)
        if number >= 3:  # the first ones compile scripts
            found.append(tuple(sample))
        time.sleep(0.15)
    page.close()
    return found


def first_view(browser: Any, url: str) -> tuple[float, int]:
    """Open the page in a new context: milliseconds until it is ready, and bytes it took."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page, sizes = context.new_page(), []
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.add_init_script(WATCH)
    page.goto(url)
    page.wait_for_selector(READY, state="attached")
    page.wait_for_timeout(500)  # what comes a little later counts too
    ready = page.evaluate("seen.ready")
    context.close()
    return ready, int(sum(sizes))


def measure(browser: Any, count: int, rounds: int) -> dict[str, Any]:
    """All samples."""
    results: dict[str, Any] = {}
    with serve("lenet") as shown:
        first_view(browser, shown.url)
        results["stroke_ms"] = strokes(browser, shown.url, count)
        results["ready_ms"] = [first_view(browser, shown.url)[0] for _ in range(rounds)]
    with serve("dropout") as shown:
        views = [first_view(browser, shown.url) for _ in range(rounds)]
        results["dropout_ready_ms"] = [ready for ready, _ in views]
        results["dropout_bytes"] = [size for _, size in views]
    return results


def targets(results: dict[str, Any]) -> list[Target]:
    """The goals of the page, and what was reached."""
    times = sorted(ms for ms, _ in results["stroke_ms"])
    late = times[min(len(times) - 1, int(0.99 * len(times)))]
    sizes = [size / 1024 for size in results["dropout_bytes"]]

    def middle(what: str, most: float, unit: str, samples: list[float]) -> Target:
        summary = harness.summarize(samples)
        return Target(what, most, unit, summary.median, harness.spread(summary))

    return [
        middle("stroke to screen, lenet: median", 50, "ms", times),
        Target("stroke to screen, lenet: 99th percentile", 120, "ms", late, f"max {times[-1]:.0f}"),
        middle("page ready, lenet", 1000, "ms", results["ready_ms"]),
        middle("page ready, dropout", 1000, "ms", results["dropout_ready_ms"]),
        middle("first view, dropout", 300, "KB", sizes),
    ]


def browse(work: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns for a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit('explore_page.py needs playwright: pip install "nanocnn[test-browser]"')
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        sys.exit(f"explore_page.py needs a browser: one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            return work(browser)
        finally:
            browser.close()


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    count = 4 if options.quick else STROKES
    rounds = 2 if options.quick else options.rounds
    host = harness.machine(options.threads)
    results = browse(lambda browser: measure(browser, count, rounds))
    print("\n### the page in a browser\n")
    header = ["what", "at most", "reached", "quartiles", *([] if options.quick else [""])]
    print(harness.table(header, [each.row(options.quick) for each in targets(results)]))
    inside = statistics.median(ms for _, ms in results["stroke_ms"])
    print(f"\nOf the median stroke, the request and its answer take {inside:.1f} ms.")
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("explore_page", options.json, host, results)


if __name__ == "__main__":
    main()
