"""The limits of the machine, and the roofline picture of kernels.py: each kernel below them.

python benchmarks/roofline.py results/kernels.json      draws it again from saved results
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import harness
from harness import repeat_for

MARKS = {
    "convolution": "o",
    "fused convolution": "s",
    "dense": "^",
    "pooling": "D",
    "elementwise": "x",
    "optimizer": "+",
}
OVER = (
    "Over the roof: Winograd multiplies less often than the definition counts,\n"
    "a sparse weight gradient skips zeros, and arrays that stay in a cache\n"
    "move faster than memory."
)


def peak(dtype: str, threads: int, seconds: float) -> dict[str, float]:
    """The best FLOP/s of a large matrix product and bytes/s of copying, with all threads."""
    import numpy as np

    a, b = np.ones((1536, 1536), dtype), np.ones((1536, 1536), dtype)
    out = np.empty_like(a)
    flops = 2 * 1536**3
    product = min(repeat_for(lambda: np.matmul(a, b, out=out), seconds / 5) for _ in range(5))
    source, target = np.ones(2**25, dtype), np.ones(2**25, dtype)
    pieces = list(
        zip(np.array_split(source, threads), np.array_split(target, threads), strict=True)
    )

    def copy() -> float:
        workers = [threading.Thread(target=np.copyto, args=(t, s)) for s, t in pieces]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - start

    copying = min(copy() for _ in range(10))
    return {"flops": flops / product, "bytes": 2 * source.nbytes / copying}


def picture(rows: list[dict[str, Any]], top: dict[str, float], title: str) -> Any:
    """Speed over arithmetic intensity, with numbered points and a legend of the numbers below.

    rows  results of kernels.py; only the kernels' own choices are drawn
    top   the machine's "flops" and "bytes" per second
    """
    from matplotlib.figure import Figure

    chosen = [row for row in rows if row["algorithm"] == "chosen"]
    chosen.sort(key=lambda row: list(MARKS).index(row["group"]))
    columns = 3
    lines = -(-len(chosen) // columns)
    figure = Figure(figsize=(8, 5.4 + 0.125 * lines), dpi=100)
    bottom = (0.125 * lines + 0.75) / figure.get_size_inches()[1]
    axes = figure.add_axes((0.085, bottom, 0.9, 0.955 - bottom))
    _draw_roof(axes, top)
    points = [(row["flops"] / row["bytes"], row["flops"] / _median(row) / 1e9) for row in chosen]
    for group, mark in MARKS.items():
        places = [p for p, row in zip(points, chosen, strict=True) if row["group"] == group]
        if places:
            axes.plot(
                *zip(*places, strict=True), linestyle="none", marker=mark, markersize=5,
                color="black", markerfacecolor="none" if mark in "os^D" else None, label=group,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylabel="GFLOP/s", xlim=(0.03, 3000))
    axes.set_xlabel("FLOPs of the definition per byte of the arrays", labelpad=1)
    axes.set_title(title, fontsize=10)
    speeds = [speed for _, speed in points]
    axes.set_ylim(min(speeds) / 2, 2.5 * max(*speeds, top["flops"] / 1e9))
    axes.grid(True, color="0.9")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    axes.text(0.985, 0.03, OVER, transform=axes.transAxes, ha="right", va="bottom", fontsize=8,
              bbox={"facecolor": "white", "edgecolor": "0.6"})  # fmt: skip
    _number(axes, points)
    for i, row in enumerate(chosen):
        place = (0.012 + i // lines * 0.332, bottom - (0.62 + 0.125 * (i % lines)) /
                 figure.get_size_inches()[1])  # fmt: skip
        words = f"{i + 1:>2} {row['operation'].replace('conv2d_relu_pool', 'conv_pool')}"
        figure.text(*place, f"{words} {row['shape']}", fontsize=7.5, va="center")
    return figure


def _draw_roof(axes: Any, top: dict[str, float]) -> None:
    speed, memory = top["flops"] / 1e9, top["bytes"] / 1e9
    words = f"roof: np.matmul {speed:.0f} GFLOP/s,\ncopying {memory:.0f} GB/s"
    line = (0.03, speed / memory, 3000), (0.03 * memory, speed, speed)
    axes.plot(*line, color="black", linewidth=1.5, label=words)


def _number(axes: Any, points: list[tuple[float, float]]) -> None:
    """Write 1, 2, 3, ... beside the points, each where it covers the fewest others."""
    at = axes.transData.transform(points)  # in pixels
    places = [(x, y) for r in (9, 15, 21) for x, y in ((r, 0), (-r, 0), (0, r), (0, -r),
              (r, r), (-r, r), (r, -r), (-r, -r))]  # fmt: skip
    taken = [tuple(point) for point in at]
    for i, (x, y) in enumerate(at):

        def crowd(offset: tuple[int, int], x: float = x, y: float = y) -> float:
            px, py = x + offset[0], y + offset[1]
            near = sum(abs(px - a) < 14 and abs(py - b) < 10 for a, b in taken)
            return near + 0.01 * (abs(offset[0]) + abs(offset[1]))

        best = min(places, key=crowd)
        taken.append((x + best[0], y + best[1]))
        axes.annotate(
            str(i + 1), points[i], xytext=[d * 72 / axes.figure.dpi for d in best],
            textcoords="offset points", ha="center", va="center", fontsize=7.5,
        )  # fmt: skip


def _median(row: dict[str, Any]) -> float:
    return harness.summarize(row["seconds"]).median


def title_of(host: dict[str, Any], rows: list[dict[str, Any]], quick: bool = False) -> str:
    """What was measured, and where; a warning if with --quick."""
    title = f"nanocnn kernels, {rows[0]['dtype']}, {host['threads']} threads, {host['cpu']}"
    return "--quick: noise only; " * quick + title


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        raise SystemExit(__doc__)
    file = Path(sys.argv[1])
    written = json.loads(file.read_text())
    rows, top = written["results"]["kernels"], written["results"]["peak"]
    title = title_of(written["machine"], rows, "--quick" in written["command"])
    picture(rows, top, title).savefig(file.with_suffix(".png"), dpi=150)
    harness.say(f"written: {file.with_suffix('.png')}")


if __name__ == "__main__":
    main()
