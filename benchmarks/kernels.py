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
    python benchmarks/kernels.py --conv 56x56x64,3x3,128 28x28x1,5x5,20,same,pool
    python benchmarks/kernels.py --dtype float64 --rounds 3
"""

import os
import time
from copy import deepcopy
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import harness
from harness import repeat_for, say
from roofline import MARKS, peak, picture, title_of
from verify import (
    TOLERANCE,
    WINOGRAD_TOLERANCE,
    Wrong,
    algorithms,
    arrays_in,
    largest_error,
    made_by,
    prepare,
)

PRODUCTS = ("convolution", "fused convolution", "dense")


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
    nbytes = sum(a.nbytes for a in arrays_in(case.args))
    nbytes += sum(a.nbytes for a in results)
    repeat = {name: partial(repeat_for, call, options.seconds) for name, call in calls.items()}
    for turn in repeat.values():
        turn()
    time.sleep(0.1)  # BLAS threads spin for a while after the reference run of the previous case
    samples = harness.interleave(repeat, options.rounds, pause=0.001, quiet=True)
    reference = partial(repeat_for, partial(case.expected, *deepcopy(case.args)), 0)
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


def measure_shapes(fast: Any, options: Any, host: dict[str, Any]) -> None:
    """Time the convolutions of --conv and say what limits them (conv_shape.py)."""
    import conv_shape

    seconds = options.seconds * 10
    top = peak(options.dtype, options.threads, seconds)
    top["flops"] = conv_shape.multiply_add_peak(options.dtype, options.threads, seconds)
    rows = [row for shape in options.conv for row in conv_shape.measure(fast, shape, top, options)]
    conv_shape.report(rows, compare=not options.quick)
    print(
        f"\n{options.batch} images, {options.dtype}. Peak of multiply-adds: "
        f"{top['flops'] / 1e9:.0f} GFLOP/s; copying: {top['bytes'] / 1e9:.1f} GB/s."
    )
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("conv", options.json, host, {"peak": top, "products": rows})


def main() -> None:
    options = harness.parser(__doc__, rounds=7)
    options.add_argument("--only", choices=MARKS, help="measure one group of operations")
    options.add_argument("--stairs", action="store_true", help="one layer, one idea at a time")
    options.add_argument(
        "--conv", nargs="+", metavar="SHAPE",
        help="convolutions of your own instead: HxWxC,KHxKW,F[,strides2][,same][,pool]",
    )  # fmt: skip
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
    if options.stairs or options.conv:
        (climb_stairs if options.stairs else measure_shapes)(fast, options, host)
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
