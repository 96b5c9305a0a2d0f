"""Imports run downwards only, heavy libraries are loaded when needed: read from the source."""

import ast
import subprocess
import sys
from importlib import import_module

import pytest

import nanocnn
from support.paths import BENCHMARKS, PACKAGE, TESTS

FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom to the top. A module may import those of its own floor and of the floors below.
LEVELS = [
    ["common"],
    ["jit", "data", "distributed", "datasets", "backend"],
    ["kernels"],
    ["initializers", "regularizers", "layers", "losses", "metrics", "optimizers", "callbacks",
     "activations"],
    ["storage"],
    ["models"],
    ["trace", "gradcheck", "plots"],
    ["utils", "preprocessing", "presets", "sklearn", "doctor", "explore",
     "cli", "__main__"],
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def module_name(path):
    parts = ("nanocnn", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, *, inside_functions=True, for_typing=True):
    """Every module that a file imports, with absolute names."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found, todo = set(), [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            found |= {".".join([*base, alias.name]) for alias in node.names}
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if (inside_functions or not function) and (for_typing or not typing_only):
            todo += ast.iter_child_nodes(node)
    return found


def part(module):
    """'layers' of 'nanocnn.layers.pooling.MaxPooling2D'; None of what is not ours or is the top."""
    names = module.split(".")
    return names[1] if names[0] == "nanocnn" and len(names) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_downwards(path):
    own = part(module_name(path))
    if own is None:
        return  # the top gathers the public names, from everywhere
    assert own in LEVEL, f"nanocnn.{own} has no place in the import order of this test"
    known = {part(name) for name in imports(path)} - {None}
    upwards = sorted(name for name in known if LEVEL.get(name, len(LEVELS)) > LEVEL[own])
    assert upwards == [], f"{module_name(path)} imports {upwards}, which stand above it"


def test_no_circle_of_modules():
    """Nor within a floor: in some order every module stands after all that it imports.

    Imports for type checkers count, imports inside functions do not.
    """
    names = {module_name(path) for path in FILES}

    def inside(name):  # the module that holds a name: nanocnn.layers.base of nanocnn.layers.base.X
        return name if name in names or "." not in name else inside(name.rpartition(".")[0])

    graph = {module_name(p): {inside(n) for n in imports(p, inside_functions=False)} for p in FILES}
    graph = {name: (needs & names) - {name, "nanocnn"} for name, needs in graph.items()}
    while ready := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in ready:
            del graph[name]
    assert graph == {}


@pytest.mark.parametrize("path", sorted((PACKAGE / "jit").rglob("*.py")), ids=module_name)
def test_jit_imports_nothing_of_the_package_but_jit(path):
    others = {part(name) for name in imports(path)} - {None, "jit"}
    assert others == set(), f"{module_name(path)} imports {sorted(others)}: jit stands alone"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_heavy_libraries_are_imported_where_they_are_needed(path):
    name = module_name(path)
    allowed = {"numpy"}
    if name.startswith(("nanocnn.kernels.fast", "nanocnn.jit")):
        allowed |= {"numba", "llvmlite"}
    if name in ("nanocnn.distributed.mpi", "nanocnn.distributed.shared"):
        allowed |= {"mpi4py"}
    if name == "nanocnn.sklearn":
        allowed |= {"sklearn"}
    if name.startswith("nanocnn.plots"):
        allowed |= {"matplotlib"}
    if name == "nanocnn.explore.server":
        allowed |= {"starlette", "uvicorn"}
    loaded = imports(path, inside_functions=False, for_typing=False)
    roots = {module.partition(".")[0] for module in loaded}
    others = roots - set(sys.stdlib_module_names) - {"nanocnn"} - allowed
    assert others == set(), f"{name} imports {sorted(others)} when it is loaded"


def test_type_checkers_are_told_of_every_public_name():
    """The names that `__getattr__` finds and those below TYPE_CHECKING, each in its module."""
    (typed,) = (node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body
                if isinstance(node, ast.If))  # fmt: skip
    told, modules = {}, set()
    for node in typed.body:
        module = import_module(f"nanocnn.{node.module or ''}".rstrip("."))
        names = [alias.name for alias in node.names]
        if names == ["*"]:
            names = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
        modules |= {node.module} - {None}
        told |= {name: getattr(module, name) for name in names}
    assert modules == set(nanocnn._HOME.values())
    assert told["explore"] is nanocnn.explore.explore
    told["explore"] = nanocnn.explore  # a module that is called, which type checkers cannot know
    assert {name: told.get(name) for name in nanocnn.__all__} == {
        name: getattr(nanocnn, name) for name in nanocnn.__all__
    }
    assert not set(nanocnn._KERAS_MODULES) & set(nanocnn.__all__)


def test_files_stay_short():
    lengths = {module_name(p): len(p.read_text().splitlines()) for p in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 365} == {}


def test_files_of_tests_stay_short():
    files = [path for folder in (TESTS, BENCHMARKS) for path in folder.rglob("*.py")]
    lengths = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


HEAVY = ("numba", "llvmlite", "matplotlib", "h5py", "PIL", "pooch", "tqdm")


@pytest.mark.parametrize("statement", [
    "import nanocnn",
    "from nanocnn import Sequential, Input, Conv2D, Dense, Adam",
    "from nanocnn.data import mnist",
    "from nanocnn.utils import to_categorical; from nanocnn.datasets import mnist",
    "from nanocnn.kernels import get_kernels; get_kernels('reference')",
])  # fmt: skip
def test_importing_loads_nothing_heavy(statement):
    code = f"{statement}\nimport sys; print(*[n for n in {HEAVY} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []
