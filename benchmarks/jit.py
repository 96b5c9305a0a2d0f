"""The kernels of nanocnn/jit/README.md, taken from there, against NumPy and its BLAS.

    python benchmarks/jit.py

All on one thread, whatever --threads says, BLAS too. Each result is compared with NumPy's before it
is timed. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are taken away: they would hold BLAS back.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
from harness import repeat_for
from threadpoolctl import threadpool_limits

import nanocnn

README = Path(nanocnn.__file__).parent / "jit" / "README.md"
HELD_BACK = "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"


class Wrong(AssertionError):
    """A result that is not NumPy's."""


class Case(NamedTuple):
    """One operation, by jit and by NumPy."""

    name: str
    flops: int
    jit: Callable[[], Any]
    numpy: Callable[[], Any]

    def check(self) -> None:
        """Raise `Wrong` unless both give the same, up to rounding."""
        expected, found = self.numpy(), self.jit()
        error = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
        if not error <= 1e-4:
            raise Wrong(f"{self.name} differs from NumPy's by {error:.1e}, expected at most 1e-4")


def examples() -> tuple[dict[str, Any], str]:
    """The functions of the README's code blocks, and what the blocks print."""
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S):
            space = {"__name__": "__main__"}
            exec(compile(block, str(README), "exec"), space)
            found |= space
    return found, printed.getvalue()


def cases(quick: bool) -> Iterator[Case]:
    """What is measured: arrays that fit into a cache and larger ones."""
    jit, rng = examples()[0], np.random.default_rng(0)
    for size in (1000,) if quick else (10_000, 1_000_000):
        x, y = rng.standard_normal((2, size), np.float32)
        copy = y.copy()
        yield Case(
            f"axpy {size}", 2 * size, partial(_axpy, jit, x, y), partial(_numpy_axpy, x, copy)
        )
        yield Case(f"dot {size}", 2 * size, partial(jit["dot"], x, y), partial(np.dot, x, y))
    for size in (64,) if quick else (512, 1024):
        a, b = rng.standard_normal((2, size, size), np.float32)
        product, numpys = partial(jit["matmul"], a, b), partial(np.matmul, a, b)
        yield Case(f"matmul {size}x{size}", 2 * size**3, product, numpys)


def _axpy(jit: dict[str, Any], x: Any, y: Any) -> Any:
    jit["axpy"](1e-6, x, y)
    return y


def _numpy_axpy(x: Any, y: Any) -> Any:
    y += np.float32(1e-6) * x
    return y


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    if any(name in os.environ for name in HELD_BACK):  # BLAS reads them when it is loaded
        kept = {name: value for name, value in os.environ.items() if name not in HELD_BACK}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)
    rounds, seconds = (2, 0.01) if options.quick else (options.rounds, 0.2)
    nanocnn.set_num_threads(1)
    host = harness.machine(threads=1)
    results, lines = [], []
    with threadpool_limits(1, user_api="blas"):
        for case in cases(options.quick):
            case.check()
            turns = {name: partial(repeat_for, getattr(case, name), seconds)
                     for name in ("jit", "numpy")}  # fmt: skip
            samples = harness.interleave(turns, rounds, quiet=True)
            speeds = [case.flops / harness.summarize(samples[name]).median / 1e9 for name in turns]
            of = f"{100 * harness.speed_up(samples['jit'], samples['numpy']).median:.0f}%"
            lines.append([case.name, *speeds, *[of] * (not options.quick)])
            results.append({"case": case.name, "flops": case.flops, "seconds": samples})
    header = ["float32, one thread", "jit GFLOP/s", "NumPy GFLOP/s"]
    print(harness.table([*header, *["of NumPy"] * (not options.quick)], lines))
    if options.quick:
        print(harness.NO_VERDICT)
    harness.finish("jit", options.json, host, results)


if __name__ == "__main__":
    main()
