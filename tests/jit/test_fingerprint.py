"""The hash of what a kernel is made of: it changes with the machine code, and with nothing else."""

import ast
import re
import sys
import types
from pathlib import Path
from types import CellType

import numpy as np
import pytest
from numba.extending import intrinsic

import nanocnn
from nanocnn.jit import cache, fingerprint
from nanocnn.kernels import get_kernels
from support import tiny_package
from support.tiny_package import CALLEE, run

KERNELS = Path(nanocnn.__file__).parent / "kernels"


@pytest.fixture
def mini(tmp_path):
    return tiny_package.make(tmp_path)


# What a kernel is made of: its own file and two more, and a class. Each edit: what, by what, seen.
SIZES = """
from typing import NamedTuple
FIRST = 5
class Pair(NamedTuple):
    a: int
    b: int
"""
USER = """
from . import callee
from .sizes import FIRST, Pair
from .jit.compile import kernel
TABLE = (1, 2)
@kernel
def scale(part, parts, x, pair):
    x[0] = Pair(*pair).a * callee.factor() + FIRST + TABLE[1]
def plain():
    return 1
"""
HASH = """
import json
from mini import user
from mini.jit.fingerprint import fingerprint
print(json.dumps({"hash": fingerprint(user.scale.function)}))
"""
EDITS = [
    ("sizes.py", "FIRST = 5", "FIRST = 6", True),
    ("sizes.py", "    a: int\n    b: int", "    b: int\n    a: int", True),
    ("user.py", "(1, 2)", "(1, 3)", True),
    ("user.py", "x[0]", "x[1]", True),
    ("user.py", "return 1", "return 2", False),
    ("callee.py", "return 2", "return 3", True),
    ("callee.py", "@inline", "@noinline", True),
    ("callee.py", "@inline", "# changed\n@inline", False),
    ("kernel.py", "+=", "-=", False),
    ("jit/simd_lanes.py", "fptosi", "fptoui", True),
    ("jit/simd_types.py", "fadd", "fsub", True),
    ("jit/inline.py", "numpy", "python", True),
    ("common/files.py", "import", "import gc\nimport", False),
]


def test_only_edits_that_change_machine_code_change_the_fingerprint(mini):
    (mini / "sizes.py").write_text(SIZES)
    (mini / "user.py").write_text(USER)
    callee = CALLEE.replace("import inline", "import inline, noinline")
    (mini / "callee.py").write_text(callee)
    before = run(mini, code=HASH)["hash"]
    assert before == run(mini, code=HASH, PYTHONHASHSEED="1")["hash"]
    for name, old, new, seen in EDITS:
        text = (mini / name).read_text()
        changed = text.replace(old.strip('"'), new.strip('"'), 1)
        assert changed != text, name
        (mini / name).write_text(changed)
        assert (run(mini, code=HASH)["hash"] != before) == seen, (name, new)
        (mini / name).write_text(text)


def kernels_and_their_parts():
    """Of each function of the fast kernels that becomes machine code: module, AST, global names."""
    for path in sorted((KERNELS / "fast").rglob("*.py")):
        module = ".".join(["nanocnn.kernels", *path.relative_to(KERNELS).with_suffix("").parts])
        nodes = ast.walk(ast.parse(path.read_text()))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        for node in functions:
            decorators = {ast.unparse(each) for each in node.decorator_list}
            if decorators & {"kernel", "inline", "noinline"}:
                around = [each for each in functions if node in each.body]
                local = {each.arg for function in around for each in function.args.args}
                names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                yield module, node, names - local


def is_filled(function):
    """Whether its closure has contents: not that of a function which has not been made yet."""
    return all(cell != CellType() for cell in function.__closure__ or ())


def test_every_compiled_function_and_constant_is_in_a_fingerprint():
    """Found by reading the sources, constants and modules that hold only constants included."""
    get_kernels("fast")
    walks = [fingerprint._Walk(each, is_filled(each)).parts for each in cache.known_functions()]
    hashed = "\0".join(part for parts in walks for part in parts)
    found = list(kernels_and_their_parts())
    assert len(found) > 60
    for module, node, names in found:
        assert re.search(f"\0{module}\0([\\w<>.]*\\.)?{node.name}\0", f"\0{hashed}"), node.name
        space = vars(sys.modules[module])
        for name in names & set(space):
            value = space[name]
            if isinstance(value, bool | int | float | str):
                part = f"\0{name}\0{type(value).__qualname__}\0{value!r}\0"
                assert part in hashed, f"{module}.{node.name} uses {name}"
            elif not hasattr(value, "__name__"):
                assert f"\0{name}\0{type(value).__qualname__}\0" in hashed, (module, name)


def test_a_constant_changed_at_run_time_changes_the_fingerprint(monkeypatch):
    from nanocnn.kernels.fast import gemm

    before = fingerprint.fingerprint(gemm._matmul.function)
    monkeypatch.setattr(gemm, "TILES", gemm.TILES + 1)
    assert fingerprint.fingerprint(gemm._matmul.function) != before


def test_functions_without_a_file_have_different_fingerprints():
    def build(source, **names):
        space = {"np": np, "__name__": "notebook", **names}
        exec(source, space)
        return fingerprint.fingerprint(space["f"])

    first = build("def f(x): return x + 1")
    assert first == build("\n\n# a comment\ndef f(x): return x + 1")
    assert first != build("def f(x): return x + 2")
    table = "def f(x): return x + table[0]"
    arrays = [build(table, table=np.arange(n)) for n in (2000, 2000, 2001)]
    assert arrays[0] == arrays[1] != arrays[2]
    assert build(table, table={"a": [1]}) != build(table, table={"a": [2]})
    recursive = "def f(x): return f(x - 1) if x else {}"
    assert build(recursive.format(0)) != build(recursive.format(1))
    body = "def body(context): return SIZE"
    intrinsics = []
    for size in (1, 1, 2):
        space = {"SIZE": size, "__name__": "elsewhere"}
        exec(body, space)
        intrinsics.append(build("def f(x): return x + size()", size=intrinsic(space["body"])))
    assert intrinsics[0] == intrinsics[1] != intrinsics[2]
    module = types.ModuleType("settings")
    module.inner = module
    for module.size in (1, 2):
        found = build("def f(x): return x + settings.inner.size", settings=module)
        assert found != first
        first = found
