"""Explicit vectors: every function against NumPy, tails, read-only arrays, the host, the cache."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from nanocnn.jit import simd
from nanocnn.jit.compile import kernel
from nanocnn.jit.cpu import Cpu, cpu as this_host, find_cpu, has_fma
from nanocnn.jit.pool import run
from nanocnn.jit.simd import (  # fmt: skip
    columns,
    fma,
    indices,
    item_bits,
    lanes,
    load,
    load_partial,
    maximum,
    pointer,
    rows,
    select,
    splat,
    square,
    store,
    store_partial,
    tile,
    total,
    transpose,
)
from nanocnn.jit.simd_lanes import convert, copysign, exp2

DTYPES = [np.float32, np.float64]
ROWS = 3


@numba.njit
def axpy(a, x, y):
    px, py = pointer(x), pointer(y)
    factor, n = splat(px, a), lanes(px)
    whole = x.size - x.size % n
    for i in range(0, whole, n):
        store(py, i, fma(factor, load(px, i), load(py, i)))
    rest = x.size - whole
    value = fma(factor, load_partial(px, whole, rest), load_partial(py, whole, rest))
    store_partial(py, whole, value, rest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 3, 8, 17, 64, 101])
def test_axpy_of_the_docstring_writes_its_part_and_nothing_else(dtype, size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=size).astype(dtype)
    around = np.full(size + 40, np.nan, dtype)
    y = around[20 : 20 + size]
    y[:] = start = rng.normal(size=size).astype(dtype)
    x.flags.writeable = False  # numba types a read-only array differently
    axpy(2.5, x, y)
    np.testing.assert_allclose(y, dtype(2.5) * x + start, rtol=1e-6)
    assert np.isnan(around[:20]).all() and np.isnan(around[20 + size :]).all()


def test_the_docstring_shows_the_function_tested_here():
    shown = simd.__doc__.split("@numba.njit\n")[1].split("\n\n")[0]
    assert "store_partial(py, whole" in shown and "fma(factor, load(px, i), load(py, i))" in shown


@numba.njit
def elementwise(a, b, out):
    pa, pb, p = pointer(a), pointer(b), pointer(out)
    n = lanes(pa)
    x, y = load(pa, 0), load(pb, 0)
    zero, one = splat(x, 0), splat(x, 1)
    results = (
        x + y, x - y, x * y, maximum(x, y), select(x < y, x, y), select(x <= y, one, zero),
        select(x > y, one, zero), select(x >= y, one, zero), select(x == y, one, zero),
        select(x != y, one, zero), x / y, copysign(x, y), select((x < y) & (x > zero), one, zero),
        select((x < y) | (x > zero), one, zero), select((x < y) ^ (x > zero), one, zero),
    )  # fmt: skip
    for k in range(len(results)):
        store(p, k * n, results[k])
    return total(x)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid):RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operator_equals_numpys_nan_included(dtype):
    n = simd.vector_of(numba.typeof(np.zeros(1, dtype))).count
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = rng.integers(-2, 3, (2, n)).astype(dtype)
        a[rng.integers(n)] = np.nan
        if rng.random() < 0.5:
            b[rng.integers(n)] = np.nan
        want = [
            a + b, a - b, a * b, np.where(a > b, a, b), np.where(a < b, a, b), a <= b, a > b,
            a >= b, a == b, a != b, a / b, np.copysign(a, b),
            (a < b) & (a > 0), (a < b) | (a > 0), (a < b) ^ (a > 0),
        ]  # fmt: skip
        got = np.full((len(want), n), -7, dtype)
        assert np.isnan(elementwise(a, b, got))
        np.testing.assert_array_equal(got, np.array(want, dtype))
    assert elementwise(np.arange(n, dtype=dtype), b, got) == n * (n - 1) / 2


@numba.njit
def other_widths(x, codes, out, small):
    px, pc, p, ps = pointer(x), pointer(codes), pointer(out), pointer(small)
    store(p, 0, load(px, 1, 2))  # two lanes, whatever the register
    v = load(px, 0)
    c = load(pc, 0, v)  # as many integers as v has lanes
    marked = select(v > splat(v, 0), c + c, splat(c, 9))
    store(ps, 0, convert(marked, ps))
    q = p + 2
    q[1] = q[0] + px[3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_lane_counts_whole_numbers_and_pointer_items(dtype):
    n = simd.vector_of(numba.typeof(np.zeros(1, dtype))).count
    x = np.resize([1, -1], n + 4).astype(dtype)
    out, small = np.full(n + 4, 5, dtype), np.full(n + 1, 77, np.uint8)
    other_widths(x, np.arange(n, dtype=np.int32), out, small)
    np.testing.assert_array_equal(out[:5], [-1, 1, 5, 4, 5])
    want = [2 * i if i % 2 == 0 else 9 for i in range(n)]
    np.testing.assert_array_equal(small, [*want, 77])


@kernel
def _fuse(part, parts, x, c, out):
    p, pc, to = pointer(x), pointer(c), pointer(out)
    out[0] = fma(x[0], x[0], c[0])
    out[1] = fma(-x[0], x[0], -c[0])
    out[2] = x[0] * x[0] + c[0]
    out[3] = c[0] - (-x[0]) * x[0]
    store(to, 4, fma(load(p, 0), load(p, 0), load(pc, 0)))
    store(to, 4 + lanes(p), load(p, 0) * load(p, 0) + load(pc, 0))
    store(to, 4 + 2 * lanes(p), -load(p, 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_fma_rounds_once(dtype):
    n = simd.vector_of(numba.typeof(np.zeros(1, dtype))).count
    small = dtype(2.0 ** -(12 if dtype is np.float32 else 30))
    x = np.full(n, 1 + small, dtype)  # its square is 1 + 2 small + small^2, which is cut off
    out = np.empty(4 + 3 * n, dtype)
    run(_fuse, 1, x, -x * x, out)
    fused = small * small if has_fma() else 0
    np.testing.assert_array_equal(out[:4], [fused, -fused, 0, 0])
    np.testing.assert_array_equal(out[4:].reshape(3, n).T, [[fused, 0, -x[0]]] * n)


@numba.njit
def powers(x, y):
    p, q = pointer(x), pointer(y)
    for i in range(0, x.size, lanes(p)):
        store(q, i, exp2(load(p, i)))
    return item_bits(p)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_from_the_smallest_normal_number_to_the_largest(dtype):
    limits = np.finfo(dtype)
    x = np.resize(np.arange(limits.minexp, limits.maxexp), 16 * 128).astype(dtype)
    y = np.empty_like(x)
    assert powers(x, y) == 8 * x.itemsize
    np.testing.assert_array_equal(y, np.ldexp(dtype(1), x.astype(int)))


@numba.njit
def product(a, b, c):
    pa, pb, pc = pointer(a), pointer(b), pointer(c)
    K = a.shape[1]
    acc, at = tile(ROWS, 2, pa), indices(ROWS)
    for i in range(rows(acc)):
        at[i] = i * K
        for j in range(columns(acc)):
            acc[i, j] = splat(pa, 0)
    for k in range(K):
        for i in range(rows(acc)):
            for j in range(columns(acc)):
                x = splat(pa, pa[at[i] + k])
                acc[i, j] = fma(x, load(pb, (2 * k + j) * lanes(pa)), acc[i, j])
    for i in range(rows(acc)):
        for j in range(columns(acc)):
            store(pc, (2 * i + j) * lanes(pa), acc[i, j])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tile_multiplies_matrices_without_touching_the_stack(dtype):
    n = simd.vector_of(numba.typeof(np.zeros(1, dtype))).count
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(ROWS, 9)).astype(dtype), rng.normal(size=(9, 2 * n)).astype(dtype)
    c = np.empty((ROWS, 2 * n), dtype)
    product(a, b, c)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)
    code = product.inspect_llvm(next(iter(product.signatures)))
    assert "alloca [" not in code  # the tile and its indices became registers


@numba.njit
def turn(x, y):
    px, py = pointer(x), pointer(y)
    lines = square(px)
    for i in range(rows(lines)):
        lines[i, 0] = load(px, i * lanes(px))
    transpose(lines)
    for i in range(rows(lines)):
        store(py, i * lanes(px), lines[i, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_square_of_registers_is_transposed(dtype):
    n = simd.vector_of(numba.typeof(np.zeros(1, dtype))).count
    x, y = np.arange(n * n, dtype=dtype).reshape(n, n), np.empty((n, n), dtype)
    turn(x, y)
    np.testing.assert_array_equal(y, x.T)
    assert "alloca [" not in turn.inspect_llvm(turn.signatures[-1])


def test_cpu_follows_the_processor_and_numbas_settings():
    assert this_host.bytes in (16, 32, 64) and this_host.registers in (16, 32)
    if platform.machine() in ("x86_64", "AMD64"):
        assert find_cpu("haswell", None) == Cpu(32, 16)
        assert find_cpu("skylake-avx512", None) == Cpu(64, 32)
        assert find_cpu("generic", "") == Cpu(16, 16)
        assert find_cpu("haswell", "+avx2,+avx512f") == Cpu(64, 32)


CACHED = """
import numba, numpy as np
from nanocnn.jit.simd import *

@numba.njit(cache=True)
def double(x):
    p = pointer(x)
    for i in range(0, x.size - lanes(p) + 1, lanes(p)):
        store(p, i, load(p, i) + load(p, i))
"""


def test_a_second_process_loads_from_the_cache(tmp_path):
    (tmp_path / "kernel.py").write_text(CACHED)
    run = "import kernel; x = kernel.np.ones(32); kernel.double(x); assert (x == 2).all(); "
    run += "print(sum(kernel.double.stats.cache_hits.values()))"
    path = os.pathsep.join([str(tmp_path), str(Path(simd.__file__).parents[2])])
    settings = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for hits in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", run], env=settings, capture_output=True, text=True, check=True
        )
        assert out.stdout.strip() == hits
