"""The fuzzers' short versions: every file of the corpus and some mutants of them, in every run.

The long ones: `python tests/fuzz.py idx|npz|h5|keras|weights|png`, see there.
"""

import dataclasses
import io
import json
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from nanocnn import storage
from support import fuzz_targets
from support.hdf5_recipes import packed
from support.paths import TESTS

PLAIN = ("weights", "nested")  # recipes without an optimizer
MUTANTS = {"idx": 500, "npz": 300, "h5": 60, "keras": 60, "weights": 60, "png": 300}


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_corpus(name):
    files = sorted((fuzz_targets.CORPUS / name).iterdir())
    assert len(files) >= 3
    for path in files:
        fuzz_targets.attempt(fuzz_targets.TARGETS[name], path.read_bytes())


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_mutants(name):
    for number, data in enumerate(fuzz_targets.mutants(name, MUTANTS[name], blind=False)):
        try:
            fuzz_targets.attempt(fuzz_targets.TARGETS[name], data)
        except BaseException as error:
            raise AssertionError(f"mutant {number}: {data[:200]!r}") from error


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_recipes_make_files_that_are_models(suffix):
    """Else the fuzzers would only try what is refused at once."""
    for path in sorted((fuzz_targets.CORPUS / suffix[1:]).glob("*.json")):
        file = io.BytesIO(packed(path.read_bytes()))
        snapshot = storage.FORMATS[suffix].read(file)
        assert len(snapshot.weights) == 8, path
        assert bool(snapshot.optimizer) == (path.stem not in PLAIN), path


CRIMES = {
    "evaluate": lambda: eval("1"),
    "unpickle": lambda: pickle.loads(pickle.dumps(print)),
    "write": lambda: Path("elsewhere").write_bytes(b""),
    "start": lambda: subprocess.run([sys.executable, "-V"], capture_output=True),
}


@pytest.mark.parametrize("crime", CRIMES)
def test_the_fuzzer_detects_what_reading_must_not_do(crime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = dataclasses.replace(fuzz_targets.TARGETS["idx"], check=lambda data: CRIMES[crime]())
    with pytest.raises(AssertionError, match="reading did: "):
        fuzz_targets.attempt(target, b"")


def test_a_mutant_of_json_is_json():
    for data in fuzz_targets.mutants("keras", 40, blind=False):
        assert isinstance(json.loads(data), dict)


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed: extra [fuzz]")
def test_two_thousand_inputs_of_the_fuzzer(name):
    script = str(TESTS / "fuzz.py")
    command = [sys.executable, script, name, "--runs=2000", "--seconds=60"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    print(run.stdout.strip())
    assert run.returncode == 0, run.stderr[-2000:]
    assert "passed" in run.stdout
