"""The processor that numba compiles for: width and number of its vector registers."""

from functools import cache
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core import config


class Cpu(NamedTuple):
    """Bytes in a vector register, and the number of registers: they determine the tiles."""

    bytes: int
    registers: int


# LLVM does not tell the features of a processor that is given by name: these names have AVX-512
AVX512 = ("avx512", "cascadelake", "cooperlake", "cannonlake", "icelake", "tigerlake", "rapids",
          "znver4", "znver5", "znver6", "x86-64-v4")  # fmt: skip
SSE = ("generic", "x86-64", "x86-64-v2", "nehalem", "westmere", "core2", "penryn")


def find_cpu(name: str | None, features: str | None) -> Cpu:
    """The processor numba compiles for: this one, or NUMBA_CPU_NAME and NUMBA_CPU_FEATURES."""
    if not llvm.get_process_triple().startswith(("x86_64", "i686", "amd64")):
        return Cpu(16, 32)  # NEON
    if features:
        wide, fair = "+avx512f" in features, "+avx2" in features
    elif name:
        wide, fair = any(part in name.lower() for part in AVX512), name.lower() not in SSE
    else:
        found = llvm.get_host_cpu_features()
        wide, fair = found.get("avx512f", False), found.get("avx2", False)
    return Cpu(64, 32) if wide else Cpu(32, 16) if fair else Cpu(16, 16)


cpu = find_cpu(config.CPU_NAME, config.CPU_FEATURES)


@cache
def target() -> tuple[str, str, str]:
    """LLVM's triple, processor name and features: machine code is specific to them."""
    features = config.CPU_FEATURES
    if features is None:
        try:
            features = llvm.get_host_cpu_features().flatten()
        except RuntimeError:  # unknown on this platform
            features = ""
    return llvm.get_process_triple(), config.CPU_NAME or llvm.get_host_cpu_name(), features
