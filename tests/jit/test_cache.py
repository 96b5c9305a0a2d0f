"""Compiled kernels on disk: found again, never stale, and never in the way."""

import compileall
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest

import nanocnn
from nanocnn.jit import compile as compiler, fingerprint, numba_private
from nanocnn.jit.arguments import Arguments
from nanocnn.jit.inline import inline
from support import tiny_package
from support.tiny_package import CALLEE, RUN, compiled, entries, run


@pytest.fixture
def mini(tmp_path):
    return tiny_package.make(tmp_path)


def test_the_second_process_compiles_nothing(mini):
    first = run(mini)
    assert first["x"] == [112, 112, 112]
    assert first["compiled"] == 3 and first["loaded"] == 0
    assert first["said"].count("compiling kernels for this machine (once)") == 1
    assert first["said"].count("\n") == 1
    second = run(mini)
    assert second["compiled"] == 0 and second["loaded"] == 3 and second["x"] == first["x"]
    assert second["said"] == ""
    other = run(mini, "float64")
    assert other["compiled"] == 3 and other["x"] == first["x"]


def test_an_edited_callee_in_another_file_is_recompiled(mini):
    run(mini)
    (mini / "callee.py").write_text(CALLEE.replace("2", "3"))
    edited = run(mini)
    assert edited["x"] == [113, 113, 113] and edited["compiled"] == 1  # of three
    (mini / "callee.py").write_text(CALLEE)
    assert run(mini)["loaded"] == 3  # as it was: what was compiled then is good again


@pytest.mark.slow
@pytest.mark.parametrize("name, value", [("NUMBA_CPU_NAME", "haswell"), ("NUMBA_BOUNDSCHECK", "1")])
def test_other_processors_and_debug_flags_have_their_own_entries(mini, name, value):
    run(mini)
    assert run(mini, **{name: value})["loaded"] == 0
    assert run(mini, **{name: value})["compiled"] == 0
    assert run(mini)["compiled"] == 0


def test_an_unwritable_folder_is_not_used(mini):
    (mini / "jit" / "__pycache__").write_text("a file where the folder should be")
    first = run(mini)
    assert first["folder"] == str(mini.parent / "user" / "mini" / "compiled")
    assert run(mini)["loaded"] == 3


@pytest.mark.slow
def test_no_folder_at_all(mini):
    (mini / "jit" / "__pycache__").write_text("a file where the folder should be")
    (mini.parent / "user").write_text("another")
    result = run(mini)
    assert result["folder"] == "None" and result["x"] == [112, 112, 112]
    assert "once a process" in result["said"]


@pytest.mark.slow
def test_no_home(mini):
    assert run(mini, HOME=None, XDG_CACHE_HOME=None)["x"] == [112, 112, 112]
    shutil.rmtree(mini / "jit" / "__pycache__")
    (mini / "jit" / "__pycache__").write_text("a file where the folder should be")
    nowhere = run(mini, HOME="/dev/null", XDG_CACHE_HOME=None)
    assert nowhere["folder"] == "None" and nowhere["x"] == [112, 112, 112]


@pytest.mark.slow
def test_the_cache_can_be_disabled(mini):
    for _ in range(2):
        result = run(mini, MINI_CACHE="0")
        assert result["folder"] == "None" and result["compiled"] == 3
    assert not compiled(mini).exists()


@pytest.mark.slow
def test_broken_entries_are_rewritten(mini):
    run(mini)
    first, second, third = entries(mini)
    content = third.read_bytes()
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b"")
    third.write_bytes(content[:200] + b"\0" + content[201:])
    result = run(mini)
    assert result["x"] == [112, 112, 112] and result["loaded"] == 0
    assert run(mini)["loaded"] == 3


def test_an_entry_of_another_kernel_is_not_loaded(mini):
    run(mini)
    first, second, _ = entries(mini)
    assert first.name.split("-")[0] == second.name.split("-")[0] == "add"
    assert first.read_bytes() != second.read_bytes()  # made with 10 and with 100


@pytest.mark.slow
def test_old_entries_of_other_versions_are_removed(mini):
    run(mini)
    folder = compiled(mini)
    for name in ("old-00000000-1.nbc", "new-00000000-1.nbc"):
        (folder / name).touch()
    os.utime(folder / "old-00000000-1.nbc", (0, 0))
    for entry in folder.glob("add-*"):
        os.utime(entry, (0, 0))  # old, but of this version
    run(mini, "float64")
    names = [entry.name for entry in folder.iterdir()]
    assert "old-00000000-1.nbc" not in names and "new-00000000-1.nbc" in names
    assert sum(name.startswith("add-") for name in names) == 4


def test_files_replaced_while_the_program_runs(mini):
    """What is compiled then is kept as what it is: made of the sources that were loaded."""
    load, use = RUN.split("x = np.ones")
    change = f"open({str(mini / 'callee.py')!r}, 'w').write({CALLEE.replace('2', '3')!r})"
    assert run(mini, code=f"{load}{change}\nx = np.ones{use}")["x"] == [112, 112, 112]
    assert run(mini)["x"] == [113, 113, 113]


def bytecode_only(tmp_path, place):
    shutil.copytree(tmp_path / "mini", place / "mini", ignore=lambda *_: ["__pycache__"])
    compileall.compile_dir(place, quiet=2, legacy=True)
    for source in place.rglob("*.py"):
        source.unlink()


def zipped(tmp_path, place):
    shutil.make_archive(str(place), "zip", tmp_path, "mini")
    place.with_suffix(".zip").rename(place)


def zipped_bytecode(tmp_path, place):
    bytecode_only(tmp_path, tmp_path / "codes" / place.name)
    zipped(tmp_path / "codes" / place.name, place)


@pytest.mark.parametrize("deliver", [
    zipped, bytecode_only, pytest.param(zipped_bytecode, marks=pytest.mark.slow)
])  # fmt: skip
def test_versions_without_source_files_have_their_own_entries(mini, tmp_path, deliver):
    results = []
    for place, factor in (("old", "2"), ("old", "2"), ("new", "3")):
        (mini / "callee.py").write_text(CALLEE.replace("2", factor))
        if not (tmp_path / place).exists():
            deliver(tmp_path, tmp_path / place)
        code = f"import sys; sys.path[:1] = [{str(tmp_path / place)!r}]\n{RUN}"
        results.append(run(mini, code=code, NUMBA_CACHE_DIR=str(tmp_path / "kept")))
    assert [each["x"] for each in results] == [[112] * 3, [112] * 3, [113] * 3]
    assert [each["loaded"] for each in results[:2]] == [0, 3] and results[2]["loaded"] < 3


# Packed programs: loaders that give no files, and finders that list no modules
@pytest.mark.slow
@pytest.mark.parametrize("hidden", ["files", "modules"])
def test_nothing_is_cached_if_no_files_are_found(mini, hidden):
    code = {"files": """
from importlib.machinery import SourceFileLoader
import sys, mini.jit
get_data = SourceFileLoader.get_data
def only_for_import(self, path):
    if "_content" in sys._getframe(1).f_code.co_name:
        raise OSError(path)
    return get_data(self, path)
SourceFileLoader.get_data = only_for_import
""", "modules": "import pkgutil; pkgutil.iter_modules = lambda *_: []\n"}[hidden] + RUN  # fmt: skip
    first, again = (run(mini, code=code, PYTHONHASHSEED=str(seed)) for seed in (1, 2))
    assert first["x"] == again["x"] == [112, 112, 112]
    assert again["loaded"] == (3 if hidden == "files" else 0)
    assert (first["folder"] == "None") == (hidden == "modules")
    (mini / "callee.py").write_text(CALLEE.replace("2", "3"))
    assert run(mini, code=code)["x"] == [113, 113, 113]


CHANGED = {
    "import numba.core.ccallback, numba.core.caching as c; del c.NullCache": "not cached on disk",
    "import numba.core.compiler as c; del c.CompileResult._reduce": "not cached on disk",
    "import numba.core.compiler as c; c.CompileResult._reduce = broken": "not cached on disk",
    "import numba.core.compiler as c; c.CompileResult._rebuild = broken": "not cached on disk",
    "import mini.jit.numba_private as c; c.options = broken": "not cached on disk",
    "import numba.core.codegen as c; del c.JITCodeLibrary": "takes longer",
    "import numba.core.compiler as c; c.CompileResult._replace = broken": "takes longer",
    "import mini.jit.numba_private as c; c._define_inline_compiler = broken": "takes longer",
    "import mini.jit.numba_private as c; c._probe = lambda *_: lambda x: x": "takes longer",
    "import numba.core.ccallback as c; c.NullCache = other": "not cached on disk",
    "import mini.jit.numba_private as c; c._callback = broken": "not cached on disk",
    "import numba.core.compiler_lock as c; c.global_compiler_lock = type("
    "'Lock', (), {'__call__': lambda s, f: f, 'is_locked': lambda s: True})()": "may hang",
}
BROKEN = """
def broken(*args, **kwargs):
    raise TypeError('not as it was\\nin two lines')
class other:
    load_overload = save_overload = lambda *args: None
"""


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGED)
def test_missing_or_changed_private_names_of_numba(mini, change):
    """The numbers are right and one line says what is lost."""
    code = f"import numba\n{BROKEN}\n{change}\n{RUN}"
    for turn in range(2):
        done = run(mini, code=code, warnings="default")
        assert done["x"] == [112, 112, 112]
        said = [line for line in done["said"].splitlines() if "compiling kernels" not in line]
        if turn == (1 if "_rebuild" in change else 0):  # where it is read, or compiled
            (line,) = said
            assert "RuntimeWarning: numba " in line and CHANGED[change] in line


class Renamed:
    """A dispatcher of numba, one of whose attributes has another name."""

    def __init__(self, function, missing):
        self.function, self.missing = function, missing

    def __getattr__(self, attribute):
        if attribute == self.missing:
            raise AttributeError(attribute)
        return getattr(self.function, attribute)

    def __call__(self, *args):
        return self.function(*args)


def test_the_processor_is_known_without_numbas_function(monkeypatch):
    monkeypatch.setattr(numba_private, "_warned", set())
    monkeypatch.delattr("numba.core.codegen.get_host_cpu_features")
    with pytest.warns(RuntimeWarning, match="NUMBA_ENABLE_AVX is not heeded"):
        assert numba_private.host_features() == llvm.get_host_cpu_features().flatten()


def test_functions_whose_cache_has_another_name_are_compiled(monkeypatch):
    njit = numba.njit
    renamed = lambda **how: lambda function: Renamed(njit(**how)(function), "_cache")  # noqa: E731
    monkeypatch.setattr(compiler, "numba", SimpleNamespace(**vars(numba) | {"njit": renamed}))
    monkeypatch.setattr(numba_private, "_warned", set())
    with pytest.warns(RuntimeWarning, match="not cached on disk"):
        native = compiler.native(lambda x: x + 1)
    assert native(2) == 3


def test_kernels_whose_options_are_unknown_are_compiled(monkeypatch):
    """Also ahead, in two processes."""

    monkeypatch.setattr(fingerprint, "options", None)
    monkeypatch.setattr(numba_private, "_warned", set())
    helped = inline(lambda: 2)

    @compiler.kernel
    def add(part, parts, x):
        x[part] += helped()

    x = np.ones(3)
    with pytest.warns(RuntimeWarning, match="not cached on disk"):
        assert not add.is_cached(Arguments((x,)).types, 0)
    add.compile_ahead(Arguments((x,)).types, 0)
    assert not add.entries  # nobody could load it
    add(1, 3, x)
    assert x.tolist() == [1, 3, 1] and add.is_cached(Arguments((x,)).types, 0)


@pytest.mark.parametrize("statement", [
    "nanocnn.Sequential(kernels=KERNELS)",
    "import nanocnn.kernels; nanocnn.kernels.get_kernels(KERNELS)",
    "nanocnn.load_model(sys.argv[1] + '.npz', kernels=KERNELS)",
    "nanocnn.load_model(sys.argv[1] + '.h5', kernels=KERNELS)",
])  # fmt: skip
@pytest.mark.parametrize("kernels", ["fast", "reference"])
def test_a_disabled_jit_gives_one_sentence(tmp_path, statement, kernels):
    model = nanocnn.Sequential([nanocnn.Input((3,)), nanocnn.Dense(2)], kernels="reference")
    for suffix in (".npz", ".h5"):
        model.save(tmp_path / f"model{suffix}")
    code = f"import sys, nanocnn; KERNELS = {kernels!r}; {statement}"
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    last = done.stderr.strip().rpartition("\n")[2]
    if kernels == "fast":
        assert last.startswith("ValueError: NUMBA_DISABLE_JIT is set") and "reference" in last
    else:
        assert done.returncode == 0, last


def test_a_disabled_jit_gives_no_traceback_on_the_command_line(tmp_path):
    nanocnn.Sequential([nanocnn.Input((3,)), nanocnn.Dense(2)]).save(tmp_path / "m.npz")
    command = [sys.executable, "-m", "nanocnn", "inspect", str(tmp_path / "m.npz")]
    done = subprocess.run(command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, text=True,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("nanocnn inspect: NUMBA_DISABLE_JIT is set"), done.stderr
