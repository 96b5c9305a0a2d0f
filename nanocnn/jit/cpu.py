"""The processor that numba compiles for: its vector registers, and whether it fuses a * b + c."""

from functools import cache
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core import config

from .numba_private import host_features


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

FMA = """
declare float @llvm.fma.f32(float, float, float)
define float @fuse(float %a, float %b, float %c) {
  %d = call float @llvm.fma.f32(float %a, float %b, float %c)
  ret float %d
}
"""


@cache
def target() -> tuple[str, str, str]:
    """LLVM's triple, processor name and features: machine code is specific to them."""
    features = host_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return llvm.get_process_triple(), config.CPU_NAME or llvm.get_host_cpu_name(), features


@cache
def has_fma() -> bool:
    """Whether the processor has an instruction that rounds a * b + c once; LLVM is asked.

    Without one, LLVM calls the C function fmaf, which takes a hundred times as long.
    """
    triple, name, features = target()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(triple).create_target_machine(name, features)
    return "fmaf" not in machine.emit_assembly(llvm.parse_assembly(FMA))
