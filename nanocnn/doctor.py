"""`nanocnn doctor`: what is installed, which processor was found, and where files come from.

The rows are independent: one that fails shows its error, and the others follow. Libraries are
imported when needed, so that `python -m nanocnn.doctor` works even without NumPy.
"""

import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

import nanocnn

from .common import terminal
from .jit import threads

INTRODUCTION = """Include this in a bug report. It names folders and environment variables:
remove what is private before you publish it.
"""
PACKAGES = (
    "numpy", "numba", "llvmlite", "matplotlib", "pooch", "tqdm", "pillow", "threadpoolctl", "h5py",
)  # fmt: skip
FEATURES = {"AVX2": "avx2", "AVX-512": "avx512f", "FMA": "fma", "NEON": "neon"}
# Prefixes of the environment variables that matter
SETTINGS = ("NANOCNN_", "NUMBA_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "VECLIB_", "MPLBACKEND",
            "PYTHONPATH", "PYTHON_CPU_COUNT", "XDG_CACHE_HOME")  # fmt: skip


def report() -> str:
    """All rows as text, whatever is missing or broken."""
    found = {}
    with warnings.catch_warnings(action="ignore"):
        for name, look in ROWS.items():
            try:
                found[name] = look()
            except Exception as error:
                found[name] = f"unavailable: {error!r:.400}"
    width = max(map(len, found)) + 2
    indent = "\n" + " " * width
    rows = [name.ljust(width) + text.replace("\n", indent) for name, text in found.items()]
    return "\n".join([INTRODUCTION, *rows])


def _package(name: str) -> str:
    import_module("PIL" if name == "pillow" else name)  # it may be installed but broken
    return metadata.version(name)


def _processor() -> str:
    info = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    names = re.findall(r"^model name\s*:\s*(.*)", info, re.MULTILINE)
    return str(names[0]) if names else platform.processor() or platform.machine()


def _llvm() -> str:
    from llvmlite import binding

    found = binding.get_host_cpu_features()
    if platform.machine().lower() in ("aarch64", "arm64"):
        found["neon"] = True  # part of the architecture; LLVM does not list it everywhere
    has = (f"{name} {'yes' if found.get(key) else 'no'}" for name, key in FEATURES.items())
    version = ".".join(map(str, binding.llvm_version_info))
    return f"{version}, processor {binding.get_host_cpu_name()}: {', '.join(has)}"


def _vectors() -> str:
    from .jit.cpu import cpu

    return f"{cpu.bytes} bytes ({cpu.bytes // 4} float32), {cpu.registers} registers"


def _tiles() -> str:
    from .kernels.fast import gemm
    from .kernels.fast.conv import microkernel

    convolution = f"{microkernel.ROWS2} x 2 or {microkernel.ROWS3} x 3"
    return f"rows x vectors: matrix product {gemm.ROWS} x {gemm.VECTORS}, convolution {convolution}"


def _threads() -> str:
    quota = min(threads.cgroup_cores(), default="none")
    omp = os.environ.get("OMP_NUM_THREADS", "not set")
    usable = f"{threads.allowed_cores()} of {os.cpu_count()} cores usable"
    return f"{threads.get_num_threads()} ({usable}, container quota {quota}, OMP_NUM_THREADS {omp})"


def _blas() -> str:
    import numpy as np
    from threadpoolctl import threadpool_info

    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    if not found:
        built: dict[str, dict[str, dict[str, str]]] = np.show_config(mode="dicts")  # type: ignore
        return f"{built['Build Dependencies']['blas']['name']}, cannot be limited to one thread"
    return "\n".join(
        f"{blas['internal_api']} {blas['version']}, {blas['num_threads']} threads, "
        f"for {blas.get('architecture', 'any processor')}"
        for blas in found
    )


def _cache() -> str:
    from .jit import cache
    from .kernels import fast  # noqa: F401  (the kernels that entries are compared with)

    folder, off, lines = cache.cache_folder(), cache.is_off(), []
    for candidate in [] if off else cache.candidates():
        if not (why := cache.refusal(candidate)):
            break
        lines.append(f"not {candidate}: {why}")
    if folder is None:
        why = (
            "NANOCNN_CACHE=0" if off else "no usable folder" if lines else "source files not found"
        )
        return "\n".join([*lines, f"none ({why}): kernels are compiled in each process"])
    entries = {entry: entry.stat() for entry in folder.glob("*.nbc")}
    current, size = len(cache.current(entries)), sum(i.st_size for i in entries.values())
    lines.append(f"{folder}, trusted\n{current} kernels of this version and "
                 f"{len(entries) - current} of others, {size / 1e6:.1f} MB")  # fmt: skip
    if foreign := sum(not cache.is_ours(info) for info in entries.values()):
        lines.append(f"{foreign} of these are not trusted: other users may have written them")
    return "\n".join(lines)


def _environment() -> str:
    found = (f"{name}={os.environ[name]}" for name in sorted(os.environ))
    return "\n".join(text for text in found if text.startswith(SETTINGS)) or "none set"


def _mnist() -> str:
    from .data import mnist

    return mnist.locate()


ROWS: dict[str, Callable[[], str]] = {
    "nanocnn": lambda: f"{nanocnn.__version__}, in {Path(nanocnn.__file__).parent}",
    "Python": lambda: f"{' '.join(sys.version.split())}, {sys.executable}",
    "system": lambda: f"{platform.platform()}, {platform.machine()}",
    **{name: partial(_package, name) for name in PACKAGES},
    "processor": _processor, "LLVM": _llvm, "vectors": _vectors, "tiles": _tiles,
    "threads": _threads, "BLAS": _blas, "kernel cache": _cache,
    "MNIST": _mnist, "environment": _environment,
}  # fmt: skip

if __name__ == "__main__":
    terminal.say(report())
