"""The second process that compiles: it knows what a training step needs, and cannot do harm."""

import json
import os
import subprocess
import sys
import time

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
)
from nanocnn.jit import claims, precompile, threads
from nanocnn.jit.threads import usable_cores
from nanocnn.models import warmup as rehearsal

# Trains for a step with an empty cache; says what it gave, what was compiled and what was found.
COLD = """
import json, sys
import numpy as np
from nanocnn import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.kernels.fast import ahead, cache
if sys.argv[1]:
    precompile.CODE = sys.argv[1]
model = Sequential([Input((12, 12, 1)), Conv2D(8, 3, activation="relu"), MaxPooling2D(2), Flatten(),
                    Dense(16, "relu"), Dense(10, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
x = np.random.default_rng(0).random((32, 12, 12, 1), dtype=np.float32)
loss = model.train_on_batch(x, np.arange(32) % 10)
ended = precompile.helper.wait()
entries = len(list(cache.cache_folder().glob("*.nbc")))
print(json.dumps({"loss": loss, "entries": entries, "ended": ended,
                  "again": model.train_on_batch(x, np.arange(32) % 10), **cache.counts}))
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
    assert both["ended"] == 0
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
    monkeypatch.setattr(threads, "abort_capture", lambda: None)
    x = np.random.default_rng(0).random((batch, *model.input_shape))
    y = np.eye(model.output_shape[0])[np.arange(batch) % model.output_shape[0]]
    if "Sparse" in type(model.loss).__name__:
        y = y.argmax(axis=1)
    with threads.capture() as calls:
        model.train_on_batch(x, y)
    called = set(rehearsal.signatures(calls))
    assert called and called <= foreseen


# A helper that never comes to an end by itself, and claims an entry while it lives
BUSY = (
    precompile.CODE.partition("from nanocnn import rehearsal")[0]
    + """
import pathlib
from nanocnn.kernels.fast import claims
claims.take(pathlib.Path(sys.argv[1]))
pathlib.Path(sys.argv[1]).with_suffix(".started").touch()
while True:
    pass
"""
)
PARENT = """
import os, signal, sys, time
from nanocnn.kernels.fast import ahead
precompile.CODE, precompile.step = sys.argv[1:]
precompile.start()
while not os.path.exists(os.path.splitext(precompile.helper.args[-1])[0] + ".started"):
    time.sleep(0.01)
"""


def within(seconds, condition):
    """Whether `condition` becomes true; how long that takes is not what is tested."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return held


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("end", [
    "", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGKILL)",
    "os._exit(0)",
])  # fmt: skip
def test_it_ends_with_the_process_that_started_it_however_that_ends(tmp_path, end):
    entry = tmp_path / "busy-0000000.nbc"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT + "time.sleep(1)\n" + end, BUSY, str(entry)], env=environment
    ) as parent:
        assert within(60, entry.with_suffix(".started").exists) and not claims.take(entry)
        parent.wait()
    assert within(30, lambda: claims.take(entry))
    claims.drop(entry)


@pytest.fixture
def helper(monkeypatch):
    """A second process that ends when this one says so."""
    monkeypatch.setattr(precompile, "CODE", "import os; os.read(0, 1)")
    monkeypatch.setattr(precompile, "helper", None)
    monkeypatch.setattr(precompile, "step", "{}")
    monkeypatch.setattr(threads, "get_num_threads", lambda: 2)
    precompile.start()
    assert precompile.step is None
    process = precompile.helper
    yield process
    process.kill()
    process.wait()


def test_it_leaves_no_zombie_to_a_program_that_lives_on(helper):
    assert helper.returncode is None
    helper.kill()
    assert within(30, lambda: helper.returncode is not None)  # that is: it was waited for
    assert within(30, lambda: helper.stdin.closed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_think_it_its_own(helper):
    pipe = helper.stdin.fileno()
    pid = os.fork()
    if pid == 0:  # no assertion: the child must leave here
        try:
            os.fstat(pipe)
        except OSError:
            precompile._stop()
            os._exit(precompile.helper is not None)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert helper.returncode is None and precompile.helper is helper


@pytest.mark.parametrize("started", [None, "{}"])
def test_without_an_interpreter_or_a_second_thread_there_is_none(monkeypatch, started):
    monkeypatch.setattr(precompile, "helper", None)
    monkeypatch.setattr(precompile, "step", started)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(threads, "get_num_threads", lambda: 2)
    precompile.start()
    assert precompile.helper is None and precompile.step is None
