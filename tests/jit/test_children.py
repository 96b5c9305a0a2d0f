"""Child processes: only Python, and with no module that this process would not load."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nanocnn
from nanocnn import storage
from nanocnn.common.errors import ModelFileError
from nanocnn.jit import child_process
from nanocnn.storage import sandbox

PACKAGE = Path(nanocnn.__file__).parent
PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def files(tmp_path):
    """One model in each of Keras's formats."""
    pytest.importorskip("h5py", reason="h5py is not installed")
    model = nanocnn.Sequential([nanocnn.Input((3,)), nanocnn.Dense(2)], kernels="reference")
    model.compile("sgd", "mse")
    paths = [tmp_path / f"model{suffix}" for suffix in (".h5", ".keras")]
    for path in paths:
        model.save(path)
    return paths


def started(code, *arguments, **options):
    """What a child prints."""
    child = child_process.start(code, *arguments, **PIPES, **options)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors.decode()
    return output.decode()


# --- What is started ---


@pytest.mark.parametrize("executable", [
    None, "", "python3", "bin/python3", "/opt/app/digits", "/usr/bin/blender", "/usr/sbin/uwsgi",
    "/opt/python-app", "/opt/pythonista", "/opt/app/python/run",
])  # fmt: skip
def test_an_executable_that_may_not_be_python_is_not_started(files, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(subprocess, "Popen", None)  # an error if it were called
    assert child_process.interpreter() is None and child_process.start("pass") is None
    for path in files:
        assert len(storage.load(path).weights) == 2


@pytest.mark.parametrize("frozen", [True, "macosx_app", "dll"])
def test_a_packed_program_starts_nothing(files, monkeypatch, frozen):
    """PyInstaller, cx_Freeze and py2exe say `sys.frozen`; the program may be called python, too."""
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    test_an_executable_that_may_not_be_python_is_not_started(files, monkeypatch, sys.executable)


@pytest.mark.parametrize("name", [
    "python", "python3", "python3.11", "python3.13t", "python3d", "python.exe", "PYTHON.EXE",
    "pythonw.exe", "python_d.exe", "Python", "pypy3.10",
])  # fmt: skip
def test_interpreters_are_known_by_their_names(monkeypatch, name):
    monkeypatch.setattr(sys, "executable", os.path.join(os.path.dirname(sys.executable), name))
    assert child_process.interpreter()[0] == sys.executable


def test_a_child_starts_no_child():
    """Whatever the executable is: without end it starts itself never."""
    assert (
        started("from nanocnn.jit import child_process; print(child_process.start('pass'))")
        == "None\n"
    )


@pytest.mark.parametrize("problem", [FileNotFoundError, PermissionError, BlockingIOError])
def test_a_process_that_cannot_be_started_gives_none(files, monkeypatch, problem):
    def popen(*args, **options):
        raise problem("no")

    monkeypatch.setattr(subprocess, "Popen", popen)
    assert len(storage.load(files[0]).weights) == 2


MADE = """
import os
class Made:
    def compile_ahead(self, path, buffers):
        os.mkdir(path)
"""


def test_a_child_of_a_renamed_package_runs_the_same_copy(tmp_path):
    """The folder `jit` copied into another project knows what it belongs to now."""
    (tmp_path / "place" / "other").mkdir(parents=True)
    shutil.copytree(PACKAGE / "jit", tmp_path / "place" / "other" / "jit")
    (tmp_path / "place" / "other" / "__init__.py").touch()
    (tmp_path / "place" / "other" / "made.py").write_text(MADE)
    code = f"""if True:
        import os, subprocess, sys
        sys.path.insert(0, {str(tmp_path / "place")!r})
        from other.jit import child_process, precompile, threads
        from other.made import Made
        child = child_process.start("import os, other; print(other.__file__, *os.environ)",
                                    stdout=subprocess.PIPE)
        sys.stdout.write(child.communicate()[0].decode())
        threads.set_num_threads(2)
        precompile.start([(Made(), {str(tmp_path / "made")!r}, 0)])
        print(precompile.second.wait(), "nanocnn" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    first, last = done.stdout.splitlines()
    assert first.startswith(str(tmp_path / "place" / "other")) and "OTHER_CHILD" in first
    assert last == "0 False" and (tmp_path / "made").is_dir(), done.stderr


def test_a_child_has_the_interpreter_options_of_its_parent():
    code = """if True:
        import json, sys
        from nanocnn.jit import child_process
        print(json.dumps(child_process.interpreter()[1:]))"""
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    for given, expected in (([], []), (["-s"], ["-s"]), (["-P"], [])):
        command = [sys.executable, *given, "-c", code]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert json.loads(done.stdout) == ["-P", *expected]
    code = f"import sys; sys.path.append({str(PACKAGE.parent)!r})\n{code}"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert "-I" in json.loads(done.stdout)


# --- Where it finds modules ---


def test_the_search_path_of_a_child(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    entries = [Path("/path"), "", "/one", b"/bytes", "below", None, "/two", 3]
    monkeypatch.setattr(sys, "path", entries)
    here = os.getcwd()
    assert child_process.search_path() == ["/one", "/two", here, os.path.join(here, "below")]
    monkeypatch.setattr(os.path, "abspath", lambda path: os.stat("/gone/for/ever"))
    assert child_process.search_path() == ["/one", "/two"]


def test_a_child_runs_the_same_copy_of_the_package(monkeypatch, tmp_path):
    (tmp_path / "nanocnn").mkdir()
    (tmp_path / "nanocnn" / "__init__.py").write_text("raise SystemExit('another one')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    code = "import nanocnn.storage; print(nanocnn.__file__)"
    assert Path(started(code).strip()) == PACKAGE / "__init__.py"


HOSTILE = "json", "numpy", "h5py", "numba", "typing", "threading", "site", "sitecustomize"
HOSTILE += "usercustomize", "encodings", "importlib", "re", "os", "nanocnn", "resource", "io"
# Both children, started where files of these names lie; what the parent has loaded it keeps
TRAVELLER = """
import os, sys
sys.path.extend(sys.argv[3:])
import json, h5py, numpy, nanocnn
from nanocnn import load_model
from nanocnn.jit import child_process, precompile
from nanocnn.jit.arguments import Arguments
from nanocnn.kernels.fast.elementwise import _relu_forward
os.chdir(sys.argv[1])
for path in sys.argv[2].split("|"):
    load_model(path, kernels="reference")
assert child_process.interpreter()
x = numpy.zeros(4, "float32")
precompile.start([(_relu_forward, Arguments((x, x)).types, 0)])
sys.exit(precompile.second.wait())
"""


@pytest.mark.parametrize("options, path", [
    (["-I"], None), (["-P"], None), ([], None), ([], ""), ([], ":"), ([], "."), (["-E"], ":"),
])  # fmt: skip
def test_files_in_the_current_folder_are_not_imported(files, tmp_path, options, path):
    hostile, safe = tmp_path / "hostile", tmp_path / "safe"
    hostile.mkdir()
    safe.mkdir()
    for name in HOSTILE:
        (hostile / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    env.pop("PYTHONPATH", None)
    env |= {} if path is None else {"PYTHONPATH": path}
    command = [sys.executable, *options, "-c", TRAVELLER, str(hostile), "|".join(map(str, files))]
    run = subprocess.run([*command, str(PACKAGE.parent)], cwd=safe, env=env, capture_output=True,
                         text=True)  # fmt: skip
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert run.returncode == 0, run.stderr


def test_a_child_of_a_package_in_a_zip(files, tmp_path):
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for source in PACKAGE.rglob("*.py"):
            archive.write(source, source.relative_to(PACKAGE.parent))
    code = f"""if True:
        import sys; sys.path.insert(0, {str(tmp_path / "app.zip")!r})
        from nanocnn import storage
        from nanocnn.jit import child_process
        assert "app.zip" in child_process.__file__
        print(len(storage.load({str(files[0])!r}).weights))
        from nanocnn.storage import sandbox
        sandbox._read = None  # not in this process
        print(len(storage.load({str(files[0])!r}).weights))"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "2\n2\n", run.stderr


# --- Keras's files without a process of their own ---


@pytest.mark.parametrize("lacking", ["the package", "h5py"])
def test_a_child_that_lacks_modules_is_not_needed(files, monkeypatch, tmp_path, lacking):
    """Found here by an import hook, say, that a new process does not have."""
    if lacking == "the package":
        monkeypatch.setattr(child_process, "HOME", str(tmp_path))
    else:
        monkeypatch.setattr(sandbox, "CODE", "sys.modules['h5py'] = None" + sandbox.CODE)
    for path in files:
        assert len(storage.load(path).weights) == 2


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_errors_are_the_same_without_a_child_process(files, monkeypatch, error):
    def read(*args):
        raise error

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(storage.keras_hdf5, "read", read)
    with pytest.raises(ModelFileError, match=rf"model\.h5: {error.__name__}"):
        storage.load(files[0])
    files[1].write_bytes(b"PK")
    with pytest.raises(ModelFileError, match=r"model\.keras: "):
        storage.load(files[1])


def test_a_packed_program_trains_and_predicts(files, monkeypatch):
    x = np.ones((4, 3), np.float32)
    expected = nanocnn.load_model(files[0], kernels="reference").predict(x)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    model = nanocnn.load_model(files[0])
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-6)
    model.fit(x, np.zeros((4, 2)), verbose=0)


@pytest.mark.skipif(os.name != "posix", reason="limits of processor time")
def test_a_child_without_a_parent_stops_reading(files):
    """The parent stops a child that takes too long; here nobody does."""
    loop = "from nanocnn import storage\ndef endless(*args):\n    while True: pass\n"
    code = loop + "storage.keras_hdf5.read = endless\n" + sandbox.CODE
    pipes = PIPES | {"stdin": subprocess.PIPE}
    child = child_process.start(code, str(1 << 30), "2", **pipes)
    child.communicate(b'[".h5", false, null]\n', timeout=120)
    assert child.returncode < 0
