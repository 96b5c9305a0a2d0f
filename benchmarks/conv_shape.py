"""One convolution of your own: which algorithm computes each product, and what limits it.

`kernels.py --conv HxWxC,KHxKW,F[,strides2][,same][,pool]` prints the table. Each algorithm that
supports the shape is checked against the reference, on few images, and timed; the one that is
chosen is marked. dx is never computed alone: its time is that of both gradients less that of
dweight. With `pool`, ReLU and a 2x2 max-pool are fused with the convolution.

What a product would take if one thing alone limited it, as a share of the time it takes:
    products     the multiply-adds of the definition, as fast as registers alone can do them;
                 Winograd and sparse gradients do fewer of them and may exceed 100%
    empty lanes  what is added if the last vector is partly empty, at full width: of filters (for
                 dx: of channels), or of a row of a window (sparse gradients)
    memory       each array once, at the speed of copying
    hand-over    as many kernel calls of as many parts, with nothing to do in them
The rest is packing, transforms, loads and stores from caches.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import harness
import numpy as np
from cases import Case, relu_pool_backward, relu_pool_forward
from harness import repeat_for, say
from scaling import Call, recording
from verify import algorithms, arrays_in, chosen, prepare

from nanocnn.jit.compile import kernel
from nanocnn.jit.cpu import cpu
from nanocnn.jit.pool import run
from nanocnn.jit.simd import fma, pointer, rows, splat, tile, total
from nanocnn.kernels import reference
from nanocnn.kernels.geometry import sliding_window

CHECKED = 2  # images
GRADIENTS = "dweight", "dx"
FILTERS_IN_LANES, ROWS_IN_LANES = ("direct", "winograd"), ("sparse", "scatter")
LIMITS = "products", "empty lanes", "memory", "hand-over"


class Shape(NamedTuple):
    """A convolution without the batch: image, channels, kernel, filters, and the options."""

    H: int
    W: int
    C: int
    KH: int
    KW: int
    F: int
    strides: int
    padding: str
    pool: bool


def parse(text: str) -> Shape:
    """The shape in a text like 56x56x64,3x3,128,strides2,same. Raises SystemExit."""
    found = re.fullmatch(
        r"(\d+)x(\d+)x(\d+),(\d+)x(\d+),(\d+)((?:,strides\d+|,same|,pool)*)", text.strip()
    )
    options = found[7].split(",")[1:] if found else []
    strides = [int(word[7:]) for word in options if word.startswith("strides")] or [1]
    if not found or 0 in (*map(int, found.groups()[:6]), *strides) or len(strides) > 1:
        raise SystemExit(
            f"--conv {text}: expected HxWxC,KHxKW,F[,strides2][,same][,pool], all at least 1, "
            "such as 56x56x64,3x3,128,same"
        )
    if "pool" in options and strides != [1]:
        raise SystemExit(f"--conv {text}: a pool is fused with convolutions of strides 1 only")
    padding = "same" if "same" in options else "valid"
    return Shape(*map(int, found.groups()[:6]), strides[0], padding, "pool" in options)


def make_cases(fast: Any, shape: Shape, text: str, N: int, dtype: str) -> dict[str, Case]:
    """The forward pass, dweight alone, and both gradients, of N images."""
    rng = np.random.default_rng(0)
    H, W, C, KH, KW, F, S, padding, pooled = shape
    window = sliding_window((H, W), (KH, KW), (S, S), padding)

    def random(*size: int) -> Any:
        return rng.standard_normal(size, np.float32).astype(dtype, copy=False)

    x, bias = random(N, H, W, C), random(F)
    weight = random(KH, KW, C, F) / np.dtype(dtype).type(np.sqrt(KH * KW * C))
    flops = 2 * N * window.OH * window.OW * F * KH * KW * C
    if pooled:
        pool = sliding_window((window.OH, window.OW), (2, 2), (2, 2))
        name, group = "conv2d_relu_pool", "fused convolution"
        up, given = relu_pool_forward, (x, weight, bias, window, pool)
        argmax = fast.conv2d_relu_pool_forward(*given)[1]
        down = relu_pool_backward
        gradient = (random(*argmax.shape), x, weight, argmax, window, pool)
    else:
        name, group = "conv2d", "convolution"
        up, given = reference.conv2d_forward, (x, weight, bias, window)
        down = reference.conv2d_backward
        gradient = (random(N, window.OH, window.OW, F), x, weight, window)
    return {
        "forward": Case(group, text, f"{name}_forward", given, flops, up),
        "dweight": Case(group, text, f"{name}_backward", (*gradient, False), flops, down),
        "both": Case(group, text, f"{name}_backward", gradient, 2 * flops, down),
    }


class Candidate(NamedTuple):
    """One way to compute a product: its algorithms, what is called, and what that gives."""

    made: tuple[str, ...]
    call: Callable[[], Any]
    results: list[Any]


def candidates(fast: Any, checked: Case, case: Case, products: tuple[str, ...]) -> list[Candidate]:
    """The kernels' own choice, then every other algorithm that supports `case`.

    Raises `Wrong` if the results for the few images of `checked` differ from the reference's.
    """
    function = getattr(fast, case.operation)
    found: list[Candidate] = []
    for algorithm in algorithms(function):
        try:
            prepare(function, checked, algorithm)
        except ValueError:
            if algorithm is None:
                raise
            continue
        made = tuple(chosen(case, algorithm, products))
        if made not in [each.made for each in found]:
            extra = {"algorithm": algorithm} if algorithm else {}
            out = function(*case.args, **extra)
            results = [a for a in (out if isinstance(out, tuple) else (out,)) if a is not None]
            found.append(Candidate(made, partial(function, *case.args, out=out, **extra), results))
    return found


@kernel
def _multiply_adds(part, parts, x, count):
    px = pointer(x)
    acc, value = tile(12, 1, px), splat(px, 1e-9)  # more than are under way at once
    for i in range(rows(acc)):
        acc[i, 0] = splat(px, 0)
    for _ in range(count):
        for i in range(rows(acc)):
            acc[i, 0] = fma(value, value, acc[i, 0])
    for i in range(1, rows(acc)):
        acc[0, 0] = acc[0, 0] + acc[i, 0]
    x[part] = total(acc[0, 0])


def multiply_add_peak(dtype: str, threads: int, seconds: float) -> float:
    """The FLOP/s of multiply-adds on registers, with all threads."""
    sums, count = np.zeros(threads, dtype), 100_000
    call = partial(run, _multiply_adds, threads, sums, count)
    best = min(repeat_for(call, seconds / 5) for _ in range(5))
    return threads * count * 12 * 2 * (cpu.bytes // sums.itemsize) / best


@kernel
def _empty(part, parts):
    pass


def in_lanes(made: str, product: str, shape: Shape) -> int:
    """How many numbers the lanes of a register run along; 0 if the algorithm always fills them."""
    if made in ROWS_IN_LANES:
        return shape.KW * shape.C
    if made in FILTERS_IN_LANES:
        return shape.C if product == "dx" else shape.F
    return 0


def hand_over(calls: list[Call], seconds: float) -> float:
    """Seconds of as many calls of as many parts, with nothing to do."""
    counts = [len(call.seconds) for call in calls]
    each = {parts: repeat_for(partial(run, _empty, parts), seconds) for parts in set(counts)}
    return sum(each[parts] for parts in counts)


def measure(fast: Any, text: str, top: dict[str, float], options: Any) -> list[dict[str, Any]]:
    """Check and time one shape; a row for each product and algorithm."""
    shape = parse(text)
    few = make_cases(fast, shape, text, CHECKED, options.dtype)
    cases = make_cases(fast, shape, text, options.batch, options.dtype)
    products = {"forward": ("forward",), "dweight": GRADIENTS[:1], "both": GRADIENTS}
    say(text)
    ways = {name: candidates(fast, few[name], cases[name], products[name]) for name in cases}
    turns = {
        (name, way.made): partial(repeat_for, way.call, options.seconds)
        for name, each in ways.items() for way in each
    }  # fmt: skip
    for turn in turns.values():
        turn()
    samples = harness.interleave(turns, options.rounds, pause=0.001, quiet=True)
    lanes = cpu.bytes // np.dtype(options.dtype).itemsize
    found: list[dict[str, Any]] = []
    for name, each in ways.items():
        for way in each:
            made, times = way.made[-1], samples[name, way.made]
            with recording() as calls:
                way.call()
            idle = hand_over(calls, options.seconds / 10)
            product = "dx" if name == "both" else name
            arrays = [*arrays_in(cases[name].args), *way.results]
            if name == "both":
                dweight = samples.get(("dweight", way.made[:1]))
                if dweight is None or ("dx", made) in [(r["product"], r["by"]) for r in found]:
                    continue
                times = [max(both - one, 1e-9) for both, one in zip(times, dweight, strict=True)]
                dy, x, weight = cases[name].args[:3]
                arrays = [dy, x, weight]
            flops = cases["forward"].flops
            least = flops / top["flops"]
            width = in_lanes(made, product, shape)
            empty = -width % lanes
            seconds = (
                least, least * empty / max(width, 1),
                sum(a.nbytes for a in arrays) / top["bytes"], idle,
            )  # fmt: skip
            found.append({
                "shape": text, "product": product, "by": made,
                "chosen": way is each[0], "seconds": times, "flops": flops,
                "calls": [[call.kernel, len(call.seconds)] for call in calls],
                "limits": dict(zip(LIMITS, seconds, strict=True)),
                "lanes": [width, width + empty],
            })  # fmt: skip
    return found


def report(measured: list[dict[str, Any]], compare: bool) -> None:
    """Print the tables; with `compare` also the shares, and what limits each product."""
    for text in dict.fromkeys(row["shape"] for row in measured):
        lines = []
        for row in (row for row in measured if row["shape"] == text):
            median = harness.summarize(row["seconds"]).median
            shares = {limit: seconds / median for limit, seconds in row["limits"].items()}
            most = max(shares, key=lambda limit: shares[limit])
            filled, of = row["lanes"]
            lines.append(
                [row["product"], row["by"], "chosen" if row["chosen"] else "", median * 1e3,
                 row["flops"] / median / 1e9, f"{filled} of {of}" if of else "", parts_of(row),
                 *(f"{share:.0%}" for share in shares.values()), most]
            )  # fmt: skip
        shown = None if compare else -len(LIMITS) - 1
        header = ["product", "by", "", "ms", "GFLOP/s", "lanes filled", "parts", *LIMITS]
        print(f"\n### {text}\n")
        print(harness.table([*header, "most"][:shown], [line[:shown] for line in lines]))


def parts_of(row: dict[str, Any]) -> str:
    """The parts of each kernel call, "1+16"."""
    return "+".join(str(parts) for _, parts in row["calls"])
