"""Runs the scripts of this folder under Keras and under nanocnn; only their imports differ.

`python tests/contract/runner.py [NAME ...]` runs them under Keras and writes answers.json anew, of
all or of these scripts. A script leaves what is compared in `result`; messages of callbacks are
read from what it prints. `mnist.load_data` gives both libraries the same few digits.
"""

import contextlib
import importlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

from nanocnn.data import mnist

HERE = Path(__file__).parent
ANSWERS = HERE / "answers.json"
SCRIPTS = {path.stem: path for path in sorted((HERE / "scripts").glob("*.py"))}
TOLERANCE = 1e-4  # relative; measured: 1e-6, and 3e-5 after 30 steps of Adam
MESSAGE = re.compile(r"(?:Epoch|Batch) \d+: .+|Restoring model weights .+")
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def translated(source):
    """The script with nanocnn in the place of keras, in its import lines only."""
    source = re.sub(r"^import keras$", "import nanocnn as keras", source, flags=re.M)
    return re.sub(r"^(import|from) keras\b", r"\1 nanocnn", source, flags=re.M)


def digits(path="mnist.npz"):
    """240 and 80 real digits, all classes alike: what `load_data` gives."""
    (x_train, y_train), (x_test, y_test) = mnist.sample()
    return (x_train[:240], y_train[:240]), (x_test[:80], y_test[:80])


def run(name, library):
    """{"result", "messages"} of a script under "keras" or "nanocnn".

    It runs in an empty folder of its own.
    """
    source = SCRIPTS[name].read_text()
    if library == "nanocnn":
        source = translated(source)
    data = importlib.import_module(f"{library}.datasets.mnist")
    images = importlib.import_module(f"{library}.preprocessing.image")
    # Where old Keras had it; Keras 3 has it in its sources only.
    place = "keras.src.legacy" if library == "keras" else library
    old = importlib.import_module(f"{place}.preprocessing.image").ImageDataGenerator
    scope, printed = {"__name__": "__main__"}, io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.object(data, "load_data", digits),
        mock.patch.object(images, "ImageDataGenerator", old, create=True),
    ):
        exec(compile(source, str(SCRIPTS[name]), "exec"), scope)
    lines = (line.strip() for line in re.split(r"[\r\n]", printed.getvalue()))
    return {
        "result": plain(scope["result"]),
        "messages": [line for line in lines if MESSAGE.fullmatch(line)],
    }


def plain(value):
    """The same as JSON can hold it: numbers of 8 digits, lists for tuples and arrays."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.8g}") if isinstance(value, float) else value


def differences(expected, found, tolerance=TOLERANCE, place="result"):
    """What differs, one line each: numbers by more than `tolerance`, all else at all."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(expected) != list(found):
            yield f"{place}: keys {list(found)}, expected {list(expected)}"
        for key in expected.keys() & found.keys():
            yield from differences(expected[key], found[key], tolerance, f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{place}: {len(found)} items, expected {len(expected)}: {found!r:.300}"
        for i, pair in enumerate(zip(expected, found, strict=False)):
            yield from differences(*pair, tolerance, f"{place}[{i}]")
    elif isinstance(expected, str) and isinstance(found, str):
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (expected, found)]
        if NUMBER.sub("#", expected) != NUMBER.sub("#", found):
            yield f"{place}: {found!r}, expected {expected!r}"
        else:
            yield from differences(*numbers, max(tolerance, 1e-3), f"{place} {found!r}")
    elif type(expected) is not type(found):
        yield f"{place}: {found!r:.100}, expected {expected!r:.100}"
    elif isinstance(expected, float):
        if not np.isclose(found, expected, rtol=tolerance, atol=1e-6, equal_nan=True):
            yield f"{place}: {found}, expected {expected}"
    elif expected != found:
        yield f"{place}: {found!r}, expected {expected!r}"


def run_keras(name):
    """`run` under Keras, with names of layers that count from the beginning."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # sums in one order on all processors
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    return run(name, "keras")


def main(names):
    answers = json.loads(ANSWERS.read_text()) if names else {}
    for name in names or SCRIPTS:
        print(name, flush=True)
        answers[name] = run_keras(name)
    lines = (f"{json.dumps(name)}: {json.dumps(answers[name])}" for name in sorted(answers))
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
