"""Time every fast kernel, after checking that it equals the reference up to rounding.

GFLOP/s count the operations of the definition, so Winograd and the backward passes that skip zeros
can exceed 100% of what a large matrix product (np.matmul) reaches in the same process. GB/s count
each array once, read or written, and are compared with copying; arrays that stay in a cache are
faster. The last column is the speedup over the reference (NumPy). "by" names the algorithms, for a
backward pass those of dweight and dx: the kernels' own choice, then each one that supports the
shape. A roofline picture is written beside the JSON file.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --only convolution
    python benchmarks/kernels.py --stairs      # one layer, from plain loops to the fast kernels
    python benchmarks/kernels.py --dtype float64 --rounds 3
"""

import inspect
import os
import sys
import threading
import time
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import harness
from harness import repeat_for, say
from roofline import MARKS, picture, title_of

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
WINOGRAD_TOLERANCE = 1e-4
PRODUCTS = ("convolution", "fused convolution", "dense")


class Wrong(Exception):
    """The result of a fast kernel differs from the reference."""


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def largest_error(actual: Any, expected: Any) -> float:
    """Largest difference relative to the largest expected number, over all results."""
    import numpy as np

    errors = [0.0]
    for got, wanted in zip(as_tuple(actual), as_tuple(expected), strict=True):
        if wanted is not None:
            if got.shape != wanted.shape:
                raise Wrong(f"shape {got.shape}, expected {wanted.shape}")
            scale = np.abs(wanted).max(initial=0) or 1
            errors.append(float(np.abs(got.astype(np.float64) - wanted).max(initial=0) / scale))
    return max(errors)


def float64(arg: Any) -> Any:
    """The argument for the reference: float32 arrays as float64, all others unchanged."""
    return arg.astype("float64") if getattr(arg, "dtype", None) == "float32" else arg


def copies(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.copy() if hasattr(a, "copy") else a for a in args)


def algorithms(function: Any) -> tuple[str | None, ...]:
    """The values of a kernel's `algorithm` argument; None is its own choice."""
    choice = inspect.signature(function).parameters.get("algorithm")
    names = getattr(sys.modules[function.__module__], "ALGORITHMS", ())
    return (None, *names) if choice else (None,)


def made_by(case: Any, algorithm: str | None) -> str:
    """The algorithm of a case, such as "winograd"; two for a backward pass (dweight, dx)."""
    if "convolution" not in case.group:
        return algorithm or "chosen"
    from nanocnn.kernels.fast.conv import conv2d as conv
    from nanocnn.kernels.geometry import Window

    backward = case.operation.endswith("backward")
    window = next(arg for arg in case.args if isinstance(arg, Window))
    weight = case.args[backward + 1]
    products = conv.BACKWARD if backward else ("forward",)
    pooled = "pool" in case.operation
    choice = conv.choose(window, *weight.shape[2:], pooled, algorithm, products)
    made = ", ".join(getattr(choice, product) for product in products)
    return made if algorithm else f"chosen: {made}"


def prepare(function: Any, case: Any, algorithm: str | None) -> tuple[Any, float, list[Any]]:
    """The call to time, which takes no arguments, its error, and its results.

    Raises `Wrong` if the result differs from the reference, ValueError if the algorithm does not
    support this shape.
    """
    extra = {"algorithm": algorithm} if algorithm else {}
    wide = tuple(float64(a) for a in copies(case.args))
    if case.in_place:
        mine = copies(case.args)
        function(*mine, **extra)
        case.expected(*wide)
        results = [a for a in mine if hasattr(a, "shape")]
        error = largest_error(tuple(results), tuple(a for a in wide if hasattr(a, "shape")))
        call = partial(function, *mine, **extra)
    else:
        out = function(*case.args, **extra)
        function(*case.args, out=out, **extra)  # into existing arrays, as in training
        error = largest_error(out, case.expected(*wide))
        results = [a for a in as_tuple(out) if a is not None]
        call = partial(function, *case.args, out=out, **extra)
    dtype = str(case.arrays()[0].dtype)
    allowed = TOLERANCE[dtype]
    if algorithm in (None, "winograd") and case.group.endswith("convolution"):
        allowed = max(allowed, WINOGRAD_TOLERANCE)
    if not error <= allowed:
        raise Wrong(f"differs from the reference by {error:.1e}, allowed {allowed:.0e}")
    return call, error, results


def measure(fast: Any, case: Any, options: Any) -> list[dict[str, Any]]:
    """Check and time one case: its algorithms, alternating, and then the reference."""
    function = getattr(fast, case.operation)
    calls: dict[str, Any] = {}
    proven = {}
    for algorithm in algorithms(function):
        name = algorithm or "chosen"
        try:
            calls[name], proven[name], results = prepare(function, case, algorithm)
        except ValueError as error:
            if algorithm is None:
                raise
            say(f"  {algorithm} does not apply: {error}")
    nbytes = sum(a.nbytes for a in case.arrays())
    nbytes += sum(a.nbytes for a in results)
    repeat = {name: partial(repeat_for, call, options.seconds) for name, call in calls.items()}
    for turn in repeat.values():
        turn()
    time.sleep(0.1)  # BLAS threads spin for a while after the reference run of the previous case
    samples = harness.interleave(repeat, options.rounds, pause=0.001, quiet=True)
    reference = partial(repeat_for, partial(case.expected, *copies(case.args)), 0)
    samples |= harness.interleave({"reference": reference}, options.rounds, 0.001, quiet=True)
    return [
        {
            "group": case.group,
            "dtype": options.dtype,
            "operation": case.operation,
            "shape": case.shape,
            "algorithm": name,
            "by": made_by(case, None if name == "chosen" else name),
            "error": proven[name],
            "flops": case.flops,
            "bytes": nbytes,
            "seconds": samples[name],
            "reference_seconds": samples["reference"],
        }
        for name in calls
    ]


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


def report(rows: list[dict[str, Any]], top: dict[str, float], compare: bool) -> None:
    """Print a table for each group; the last two columns only with `compare`."""
    for group, entries in groupby(rows, key=lambda row: row["group"]):
        roof = "of product" if group in PRODUCTS else "of copying"
        header = [group, "arrays", "by", "ms", "quartiles", "GFLOP/s", "GB/s", roof, "reference"]
        lines: list[list[Any]] = []
        for row in entries:
            summary = harness.summarize(row["seconds"])
            rate, flow = row["flops"] / summary.median, row["bytes"] / summary.median
            share = rate / top["flops"] if group in PRODUCTS else flow / top["bytes"]
            gain = harness.summarize(row["reference_seconds"]).median / summary.median
            lines.append(
                [
                    row["operation"],
                    row["shape"],
                    row["by"],
                    summary.median * 1e3,
                    harness.spread(summary, 1e3),
                    rate / 1e9,
                    flow / 1e9,
                    f"{share:.0%}",
                    f"{harness.number(gain)}x",
                ]
            )
        print(f"\n### {group}\n")
        shown = len(header) if compare else -2
        print(harness.table(header[:shown], [line[:shown] for line in lines]))


def climb_stairs(fast: Any, options: Any, host: dict[str, Any]) -> None:
    """Time one layer, adding one idea at a time (stairs.py)."""
    import stairs

    rows = stairs.climb(fast, options, largest_error)
    for row in rows:
        if not row["error"] <= max(TOLERANCE[options.dtype], WINOGRAD_TOLERANCE):
            raise Wrong(f"{row['step']} differs from the reference by {row['error']:.1e}")
    stairs.report(rows, compare=not options.quick)
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("stairs", options.json, host, {"steps": rows})


def main() -> None:
    options = harness.parser(__doc__, rounds=7)
    options.add_argument("--only", choices=MARKS, help="measure one group of operations")
    options.add_argument("--stairs", action="store_true", help="one layer, one idea at a time")
    options.add_argument("--batch", type=int, default=128, help="images (default: %(default)s)")
    options.add_argument(
        "--dtype", choices=TOLERANCE, default="float32", help="(default: %(default)s)"
    )
    options.add_argument(
        "--seconds", type=float, default=0.1, help="length of a run (default: %(default)s)"
    )
    options.add_argument(
        "--picture", type=Path, metavar="FILE", help="(default: beside the JSON file)"
    )
    options = options.parse_args()
    if options.quick:
        options.batch, options.rounds, options.seconds = 2, 2, 0.001
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # read when NumPy is loaded
        os.environ[variable] = str(options.threads)
    from cases import cases  # after the environment is set: this loads NumPy

    import nanocnn
    from nanocnn.kernels import fast

    nanocnn.set_num_threads(options.threads)
    host = harness.machine(options.threads)
    if options.stairs:
        climb_stairs(fast, options, host)
        return
    top = peak(options.dtype, options.threads, options.seconds * 10)
    rows: list[dict[str, Any]] = []
    for case in cases(fast, options.batch, options.dtype):
        if options.only and case.group != options.only:
            continue
        say(f"{case.operation} {case.shape}")
        rows += measure(fast, case, options)
    again = peak(options.dtype, options.threads, options.seconds * 10)
    top = {name: max(top[name], again[name]) for name in top}
    rows.sort(key=lambda row: list(MARKS).index(row["group"]))
    report(rows, top, compare=not options.quick)
    print(
        f"\n{options.batch} images, {options.dtype}. Peak, measured by np.matmul: "
        f"{top['flops'] / 1e9:.0f} GFLOP/s; copying: {top['bytes'] / 1e9:.1f} GB/s. "
        f"Every result equals the reference's up to rounding; the largest relative error is "
        f"{max(row['error'] for row in rows):.1e}."
    )
    file = options.json or harness.RESULTS / "kernels.json"
    if options.quick:
        print(harness.NO_VERDICT)
    file = options.picture or file.with_suffix(".png")
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(rows, top, title_of(host, rows, options.quick)).savefig(file, dpi=150)
    say(f"written: {file}")
    harness.finish("kernels", options.json, host, {"peak": top, "kernels": rows})


if __name__ == "__main__":
    main()
