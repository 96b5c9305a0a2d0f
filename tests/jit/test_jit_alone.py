"""nanocnn/jit without nanocnn: copied elsewhere, under another name; and its README's examples."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nanocnn
from nanocnn.jit import threads

JIT = Path(nanocnn.__file__).parent / "jit"
README = (JIT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

KERNELS = """
from mykit.compile import kernel, part_range
from mykit.simd import fma, lanes, load_row, pointer, splat, store_row
FACTOR = 2

@kernel
def axpy(part, parts, x, y):
    px, py = pointer(x), pointer(y)
    start, stop = part_range(part, parts, x.size)
    for i in range(start, stop, lanes(px)):
        left = stop - i
        value = fma(splat(px, FACTOR), load_row(px, i, left), load_row(py, i, left))
        store_row(py, i, value, left)
"""
USE = """
import sys
sys.modules["nanocnn"] = None  # importing it raises ImportError
import json
import numpy as np
import kernels
from mykit import cache, pool, threads
threads.set_num_threads(2)
x, y = np.arange(100_000.0), np.ones(100_000)
pool.run(kernels.axpy, 64, x, y)
again = y.copy()
pool.run(kernels.axpy, 7, x, again)
assert (again - y == kernels.FACTOR * x).all()
print(json.dumps({"y": y[[0, 1, -1]].tolist(), "pool": len(pool._pool.threads), **cache.counts,
                  "folder": str(cache.cache_folder())}))
"""


@pytest.fixture
def alone(tmp_path):
    """A folder with the copy, called mykit, and a module of kernels."""
    shutil.copytree(JIT, tmp_path / "mykit", ignore=lambda *_: ["__pycache__"])
    (tmp_path / "kernels.py").write_text(KERNELS)
    return tmp_path


def run(folder, code=USE, **environment):
    inherited = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True,
        timeout=120, env=inherited | environment | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")  # it says nothing by itself
    return json.loads(done.stdout)


def test_a_copy_compiles_caches_and_runs_kernels_alone(alone):
    first = run(alone)
    assert first["y"] == [1, 3, 199_999] and first["compiled"] >= 1
    assert first["folder"] == str(alone / "mykit" / "__pycache__" / "compiled")
    again = run(alone)
    assert again["compiled"] == 0 and again["loaded"] == first["compiled"] + first["loaded"]
    assert again["y"] == first["y"] and again["pool"] == 1
    (alone / "kernels.py").write_text(KERNELS.replace("FACTOR = 2", "FACTOR = 3"))
    edited = run(alone)
    assert edited["y"] == [1, 4, 299_998] and edited["compiled"] == 1
    assert run(alone, MYKIT_CACHE="0")["folder"] == "None"


def test_every_module_of_a_copy_can_be_imported_without_nanocnn(alone):
    code = "import sys, json, pkgutil; sys.modules['nanocnn'] = None\n"
    code += "import mykit; found = [m.name for m in pkgutil.iter_modules(mykit.__path__)]\n"
    code += "for name in found: __import__(f'mykit.{name}')\nprint(json.dumps(found))"
    found = run(alone, code)
    assert {"cache", "claims", "compile", "cpu", "fingerprint", "inline", "simd"} <= set(found)


def test_the_readme_names_every_file():
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert {path.name for path in JIT.glob("[!_]*.py")} <= named


@pytest.fixture(scope="module")
def examples():
    """The functions that the README's blocks define."""
    found = {}
    for block in BLOCKS:
        space = {"__name__": "__main__"}
        exec(compile(block, "README.md", "exec"), space)
        found |= space
    return found


def test_the_readmes_examples_print_what_they_say(capsys):
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    said = re.findall(r"^print\(.*\)  # (.*)$", "\n".join(BLOCKS), re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said and len(said) == len(BLOCKS) == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 3, 100, 70_000, 300_001])
def test_axpy_and_dot_of_the_readme_equal_numpys(examples, dtype, size):
    x, y = np.random.default_rng(size).normal(size=(2, size)).astype(dtype)
    expected, accuracy = y + dtype(0.5) * x, 1e-5 if dtype is np.float32 else 1e-12
    product = examples["dot"](x, y)
    assert product.dtype == dtype
    np.testing.assert_allclose(product, x @ y, atol=accuracy * (1 + size) ** 0.5)
    examples["axpy"](0.5, x, y)
    np.testing.assert_allclose(y, expected, rtol=accuracy)
    count = threads.get_num_threads()
    threads.set_num_threads(1)
    try:
        before = examples["dot"](x, y)
    finally:
        threads.set_num_threads(count)
    assert examples["dot"](x, y) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("M, K, N", [(1, 1, 1), (8, 4, 48), (13, 700, 101), (100, 64, 7)])
def test_the_matrix_product_of_the_readme_equals_numpys(examples, dtype, M, K, N):
    rng = np.random.default_rng(M)
    A, B = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    accuracy = 1e-5 if dtype is np.float32 else 1e-13
    for parts in (1, 3):
        product = examples["matmul"](A, B, parts)
        assert product.dtype == dtype
        np.testing.assert_allclose(product, A @ B, rtol=0, atol=accuracy * K)
