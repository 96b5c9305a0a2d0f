"""Processors with fused multiply-add that numba can be told to compile for, by its settings.

Each needs a process of its own. Elsewhere than on x86 there is one width of vectors.
"""

import platform
import subprocess
import sys

import llvmlite.binding as llvm

from support.processes import ENVIRONMENT

X86 = platform.machine() in ("x86_64", "AMD64")
SSE = "+sse4.2,+popcnt,+movbe,+bmi,+bmi2"
# Vectors, what they need by name of LLVM, numba's settings; threads and OpenBLAS's kernels, which
# must not matter either
PROCESSORS = [
    ("Cpu(bytes=64, registers=32)", "avx512f", {}, "2", {}),
    ("Cpu(bytes=32, registers=16)", "avx2", {"NUMBA_CPU_NAME": "haswell",
     "NUMBA_CPU_FEATURES": f"+avx2,+avx,+fma,+f16c,{SSE}"}, "1", {"OPENBLAS_CORETYPE": "Haswell"}),
    ("Cpu(bytes=16, registers=16)", "fma", {"NUMBA_CPU_NAME": "haswell",
     "NUMBA_CPU_FEATURES": f"+fma,{SSE}"}, "3", {"OPENBLAS_CORETYPE": "Nehalem"}),
]  # fmt: skip
# Elsewhere, or without fused multiply-add: the processor as it is.
OWN = ("this processor", "", {}, "2", {})


def start(*command, **settings):
    environment = {name: value for name, value in ENVIRONMENT.items()
                   if not name.startswith(("NUMBA_CPU", "OPENBLAS"))}  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *command], env={**environment, **settings},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def output(process):
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return out, err


def usable():
    """PROCESSORS whose machine code runs here, widest first; else OWN."""
    has = llvm.get_host_cpu_features() if X86 else {}
    return [each for each in PROCESSORS if has.get("fma") and has.get(each[1])] or [OWN]
