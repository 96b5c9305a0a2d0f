"""The second process that compiles: it knows what a training step needs, and cannot do harm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nanocnn import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
    presets,
    rehearsal,
    threads,
)
from nanocnn.cores import usable_cores
from nanocnn.kernels.fast import ahead

# Trains for a step with an empty cache; says what it gave, what was compiled and what was found.
COLD = """
import json, sys
import numpy as np
from nanocnn import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.kernels.fast import ahead, compiler
if sys.argv[1]:
    ahead.CODE = sys.argv[1]
model = Sequential([Input((12, 12, 1)), Conv2D(8, 3, activation="relu"), MaxPooling2D(2), Flatten(),
                    Dense(16, "relu"), Dense(10, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
x = np.random.default_rng(0).random((32, 12, 12, 1), dtype=np.float32)
loss = model.train_on_batch(x, np.arange(32) % 10)
folder = ahead.helper.folder.name
ended = ahead.helper.process.wait()
entries = len(list(compiler.cache_folder().iterdir()))
print(json.dumps({"loss": loss, "entries": entries, "folder": folder, "ended": ended,
                  "again": model.train_on_batch(x, np.arange(32) % 10), **compiler.counts}))
"""


def cold(tmp_path, code=""):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", COLD, code], capture_output=True, text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "2"}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="a second process needs a second core")
def test_two_processes_compile_and_nothing_is_compiled_twice(tmp_path):
    both = cold(tmp_path / "both")
    assert both["ended"] == 0 and not Path(both["folder"]).exists()
    assert both["loaded"] > 0  # by the second process
    assert both["compiled"] + both["loaded"] == both["entries"]
    for number, code in enumerate(("raise SystemExit(1)", "import os; os.abort()", "pass")):
        alone = cold(tmp_path / str(number), code)
        assert alone["loaded"] == 0 and alone["compiled"] == both["entries"]
        assert [alone["loss"], alone["again"]] == [both["loss"], both["again"]]


def every_layer():
    model = Sequential(
        [
            Input((13, 14, 2)), Conv2D(5, 3, activation="relu"), MaxPooling2D(2, 1),
            BatchNormalization(), Activation("tanh"), Conv2D(16, 3, padding="same"),
            AveragePooling2D(2), Dropout(0.5), Flatten(), Dense(7, "sigmoid"), Dense(3, "softmax"),
        ],
        dtype="float64",
    )  # fmt: skip
    model.compile("rmsprop", "categorical_crossentropy")
    return model


@pytest.mark.parametrize("make", [*map(lambda name: lambda: presets.build(name), presets.PRESETS),
                                  every_layer])  # fmt: skip
def test_a_rehearsal_names_the_kernels_that_a_step_calls(make, monkeypatch):
    model, batch = make(), 12
    what = {"config": model.get_config(), "compile": model._compile_config()}
    foreseen = set(
        rehearsal.signatures(rehearsal.calls(**json.loads(json.dumps(what)), batch=batch))
    )
    monkeypatch.setattr(threads, "not_repeatable", lambda: None)
    x = np.random.default_rng(0).random((batch, *model.input_shape))
    y = np.eye(model.output_shape[0])[np.arange(batch) % model.output_shape[0]]
    if "Sparse" in type(model.loss).__name__:
        y = y.argmax(axis=1)
    with threads.recording() as calls:
        model.train_on_batch(x, y)
    called = set(rehearsal.signatures(calls))
    assert called and called <= foreseen


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path):
    assert ahead.claimed(str(tmp_path), tmp_path / "kernel.nbc")
    assert not ahead.claimed(str(tmp_path), tmp_path / "kernel.nbc")
    assert ahead.claimed(str(tmp_path / "gone"), tmp_path / "kernel.nbc")
