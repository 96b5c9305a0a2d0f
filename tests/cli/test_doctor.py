"""`nanocnn doctor` names what a bug report needs, whatever is broken; command and addresses."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import numpy as np
import pytest

import nanocnn
from nanocnn import cli as command, doctor
from nanocnn.jit import cache
from nanocnn.jit.cpu import cpu as host
from nanocnn.kernels import get_kernels
from nanocnn.kernels.fast import gemm
from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def rows(text):
    """The report as a dictionary; the further lines of a row belong to it."""
    assert text.startswith(doctor.INTRODUCTION)
    found = re.findall(r"^(\S(?:.*?\S)?) {2,}(.*(?:\n +.*)*)", text, re.M)
    return {name: re.sub(r"\n +", "\n", value) for name, value in found}


def run(code, **environment):
    """The report of another process; it may neither fail nor print an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
        env={**os.environ, **environment}, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return rows(done.stdout)


def test_every_row_is_there_and_nothing_is_unavailable(capsys):
    assert command.main(["doctor"]) == 0
    found = rows(capsys.readouterr().out)
    assert list(found) == list(doctor.ROWS)
    assert [name for name, text in found.items() if "unavailable" in text or not text] == []
    assert found["nanocnn"].startswith(nanocnn.__version__)
    assert found["numpy"] == np.__version__
    assert f"{host.bytes} bytes" in found["vectors"]
    assert f"matrix product {gemm.ROWS} x {gemm.VECTORS}," in found["tiles"]
    assert found["threads"].startswith(f"{nanocnn.get_num_threads()} (")


def test_every_dependency_has_its_row():
    dependencies = [re.match(r"[\w-]+", text)[0] for text in PROJECT["dependencies"]]
    assert set(doctor.PACKAGES) == {*dependencies, "llvmlite"}


def test_what_fails_is_named_and_the_others_follow(monkeypatch):
    def fails():
        raise OSError("first line\nsecond line " + 1000 * "x")

    for name in doctor.ROWS:
        monkeypatch.setitem(doctor.ROWS, name, fails)
    monkeypatch.setitem(doctor.ROWS, "MNIST", lambda: "here")
    found = rows(doctor.report())
    assert len(found) == len(doctor.ROWS) and found["MNIST"] == "here"
    assert found["numpy"].startswith(r"unavailable: OSError('first line\nsecond line xxx")
    assert len(found["numpy"]) < 500


BLOCK = "import sys; sys.modules.update(dict.fromkeys({names}))\n"
ALONE = "import runpy; runpy.run_module('nanocnn.doctor', run_name='__main__')"
MAIN = "from nanocnn.cli import main; sys.exit(main(['doctor']))"


def test_without_any_of_the_dependencies():
    names = [{"pillow": "PIL"}.get(name, name) for name in doctor.PACKAGES]
    found = run(BLOCK.format(names=names) + ALONE)
    missing = {name for name, text in found.items() if text.startswith("unavailable: Module")}
    needed = {"LLVM", "vectors", "tiles", "BLAS", "kernel cache", "MNIST"}
    assert missing == {*doctor.PACKAGES, *needed}
    assert list(found) == list(doctor.ROWS)


def test_the_command_works_with_numpy_alone():
    names = [{"pillow": "PIL"}.get(name, name) for name in doctor.PACKAGES if name != "numpy"]
    found = run(BLOCK.format(names=names) + MAIN)
    assert found["numpy"] == np.__version__ and "unavailable" in found["numba"]
    assert "unavailable" in found["kernel cache"] and "cores usable" in found["threads"]


def test_without_the_jit():
    found = run("import sys\n" + MAIN, NUMBA_DISABLE_JIT="1")
    for name in ("tiles", "kernel cache"):
        assert found[name].startswith("unavailable: ValueError('NUMBA_DISABLE_JIT is set")
    assert f"{host.bytes} bytes" in found["vectors"]
    assert "NUMBA_DISABLE_JIT=1" in found["environment"].splitlines()


def test_a_closed_stdout_is_no_error():
    code = "import os, sys; os.close(1)\n" + MAIN
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A folder of its own for compiled kernels, chosen by NUMBA_CACHE_DIR."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("NANOCNN_CACHE", raising=False)
    cache.cache_folder.cache_clear()
    yield tmp_path / "nanocnn"
    cache.cache_folder.cache_clear()


def test_kernels_in_the_cache(compiled):
    compiled.mkdir(mode=0o755)
    get_kernels("fast")
    mark, other = {cache._mark(function) for function in cache.known_functions()[:2]}
    for name in (f"a{mark}0", f"b{other}1", "a-12345678-0"):
        (compiled / f"{name}.nbc").write_bytes(bytes(100_000))
    first, second = doctor._cache().splitlines()
    assert first == f"{compiled}, trusted"
    assert second == "2 kernels of this version and 1 of others, 0.3 MB"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows: rights are inherited")
def test_kernels_that_others_may_have_written_are_counted(compiled):
    compiled.mkdir(mode=0o755)
    (compiled / "a-12345678-0.nbc").touch()
    (compiled / "a-12345678-0.nbc").chmod(0o666)
    assert doctor._cache().endswith(
        "\n1 of these are not trusted: other users may have written them"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows: rights are inherited")
def test_a_folder_that_is_not_trusted_is_named_and_the_one_used_instead(compiled):
    compiled.mkdir()
    compiled.chmod(0o777)
    first, *_ = doctor._cache().splitlines()
    assert first == f"not {compiled}: {compiled} belongs to another user, or others may write to it"
    used = cache.cache_folder()
    assert used not in (None, compiled) and f"\n{used}, trusted\n" in doctor._cache()


def test_no_folder_at_all(compiled, monkeypatch):
    compiled.write_text("a file where the folder should be")
    monkeypatch.setattr(cache, "candidates", lambda: [compiled])
    first, last = doctor._cache().splitlines()
    assert first.startswith(f"not {compiled}: ")
    assert last == "none (no usable folder): kernels are compiled in each process"


def test_a_disabled_cache(compiled, monkeypatch):
    monkeypatch.setenv("NANOCNN_CACHE", "0")
    assert doctor._cache() == "none (NANOCNN_CACHE=0): kernels are compiled in each process"
    assert not compiled.exists()


# --- The command, and what the project says of itself ---


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"nanocnn {nanocnn.__version__}\n"
    assert PROJECT["version"] == nanocnn.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {nanocnn.__version__}\n" in citation


def test_the_console_command():
    (name, target), = PROJECT["scripts"].items()  # fmt: skip
    assert name == "nanocnn"
    entry = metadata.EntryPoint(name, target, "console_scripts")
    assert entry.load() is command.main


@pytest.mark.parametrize(
    ("started", "called"),
    [
        ("/usr/bin/nanocnn", "nanocnn"),
        ("nanocnn.exe", "nanocnn"),
        (command.__file__, "python -m nanocnn"),
    ],
)
def test_help_calls_the_command_as_it_was_called(started, called, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [started])
    for arguments in (["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit):
            command.main(arguments)
        assert capsys.readouterr().out.startswith(f"usage: {called} ")


def test_urls_are_of_one_repository():
    home = PROJECT["urls"]["Homepage"]
    assert all(address.startswith(home) for address in PROJECT["urls"].values())
    assert f'\nrepository-code: "{home}"\n' in (ROOT / "CITATION.cff").read_text()


def test_a_commit_is_checked_by_what_ci_lints_with():
    stage = (ROOT / ".ci" / "run").read_text().partition('say "lint and types"\n')[2]
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    hooks = re.findall(r"^ +entry: (?:python -m )?(.*)$", config, re.M)
    assert hooks == stage.partition("\n\n")[0].splitlines()
