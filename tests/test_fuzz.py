"""The fuzzers' short versions: every file of the corpus and some mutants of them, in every run.

The long ones: `python tests/fuzz.py idx|npz|h5|keras|png`, see there.
"""

import dataclasses
import io
import json
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import fuzzing
import pytest
from hdf5_recipes import packed

from nanocnn import storage

MUTANTS = {"idx": 500, "npz": 300, "h5": 60, "keras": 60, "png": 300}


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_corpus(name):
    files = sorted((fuzzing.CORPUS / name).iterdir())
    assert len(files) >= 3
    for path in files:
        fuzzing.attempt(fuzzing.TARGETS[name], path.read_bytes())


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_mutants(name):
    for number, data in enumerate(fuzzing.mutants(name, MUTANTS[name], blind=False)):
        try:
            fuzzing.attempt(fuzzing.TARGETS[name], data)
        except BaseException as error:
            raise AssertionError(f"mutant {number}: {data[:200]!r}") from error


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_recipes_make_files_that_are_models(suffix):
    """Else the fuzzers would only try what is refused at once."""
    for path in sorted((fuzzing.CORPUS / suffix[1:]).glob("*.json")):
        file = io.BytesIO(packed(path.read_bytes()))
        snapshot = storage.FORMATS[suffix].read(file)
        assert len(snapshot.weights) == 8, path
        assert bool(snapshot.optimizer) == (path.stem != "weights"), path


CRIMES = {
    "evaluate": lambda: eval("1"),
    "unpickle": lambda: pickle.loads(pickle.dumps(print)),
    "write": lambda: Path("elsewhere").write_bytes(b""),
    "start": lambda: subprocess.run([sys.executable, "-V"], capture_output=True),
}


@pytest.mark.parametrize("crime", CRIMES)
def test_what_reading_must_never_do_is_seen(crime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = dataclasses.replace(fuzzing.TARGETS["idx"], check=lambda data: CRIMES[crime]())
    with pytest.raises(AssertionError, match="reading did: "):
        fuzzing.attempt(target, b"")


def test_a_mutant_of_json_is_json():
    for data in fuzzing.mutants("keras", 40, blind=False):
        assert isinstance(json.loads(data), dict)


@pytest.mark.parametrize("name", fuzzing.TARGETS)
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed: extra [fuzz]")
def test_two_thousand_inputs_of_the_fuzzer(name):
    script = str(Path(__file__).with_name("fuzz.py"))
    command = [sys.executable, script, name, "--runs=2000", "--seconds=60"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    print(run.stdout.strip())
    assert run.returncode == 0, run.stderr[-2000:]
    assert "passed" in run.stdout
