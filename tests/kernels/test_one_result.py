"""Every fast kernel gives the same bits for any vector width; without fused multiply-adds its own.

The processor is numba's settings: each runs one_result.py, or other code, in a process of its own.
"""

import pytest

from support.paths import TESTS
from support.processors import OWN, X86, output, start, usable

SCRIPT = str(TESTS / "kernels" / "one_result.py")
WITHOUT_FMA = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"}
SENTENCE = "has no fused multiply-add"
VECTORS = "from nanocnn.jit.cpu import cpu, has_fma; print(cpu, has_fma())"

x86 = pytest.mark.skipif(
    not X86,
    reason="vectors have one width here: compare the lines of one_result.py with another machine's",
)


@x86
def test_these_are_three_widths_with_fused_multiply_adds():
    for vectors, _, settings, *_ in usable():
        if vectors != OWN[0]:
            assert output(start("-c", VECTORS, **settings))[0] == f"{vectors} True\n"


@x86
@pytest.mark.slow
def test_every_kernel_gives_the_same_bits_for_any_vector_width():
    processors = usable()
    if len(processors) < 2:
        pytest.skip("this processor runs one width of vectors with fused multiply-adds")
    running = [start(SCRIPT, "--threads", threads, **settings, **blas)
               for *_, settings, threads, blas in processors]  # fmt: skip
    lines = [output(process)[0].splitlines() for process in running]
    for (vectors, *_), found in zip(processors[1:], lines[1:], strict=True):
        names = [line.rpartition(" ")[0] for line in found]
        assert names == [line.rpartition(" ")[0] for line in lines[0]]
        pairs = zip(names, lines[0], found, strict=True)
        differ = [each for each, first, other in pairs if first != other]
        assert not differ, f"{vectors}: {len(differ)} of {len(found)} results differ: {differ[:20]}"
    print(f"{len(lines[0])} results, equal for {', '.join(each[0] for each in processors)}")


PLAIN = """
import numpy as np
from nanocnn.jit.cpu import cpu, has_fma
assert not has_fma() and cpu.bytes == 16

from numba import njit
from nanocnn.jit.simd import *
@njit
def fused(x):
    p = pointer(x)
    store(p, 0, fma(load(p, 0), load(p, 0), load(p, 0)))
    x[0] = fma(x[0], x[0], x[0])
x = np.full(64, 3, np.float32)
fused(x)
code = fused.inspect_asm(fused.signatures[0])
assert x[0] == 156 and x[1] == 12 and "fmaf" not in code and "vfm" not in code

from nanocnn.kernels import get_kernels, reference
from support.compare import assert_close
for _ in range(2):
    fast = get_kernels("fast")
rng = np.random.default_rng(0)
for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
    x, weight, bias = (rng.normal(size=s).astype(dtype) for s in ((9, 300), (300, 20), (20,)))
    found = fast.dense_forward(x, weight, bias)
    assert_close(found, reference.dense_forward(x, weight, bias), tolerance)
    assert_close(fast.tanh_forward(x), np.tanh(x), tolerance)
"""


@x86
def test_a_processor_without_fused_multiply_add_says_so_once_and_calls_no_function_for_it():
    _, err = output(start("-c", PLAIN, **WITHOUT_FMA))
    assert err.count(SENTENCE) == 1


def test_a_processor_with_it_says_nothing():
    out, err = output(start("-c", f"import nanocnn.kernels.fast; {VECTORS}"))
    assert (SENTENCE in err) == out.endswith("False\n")
