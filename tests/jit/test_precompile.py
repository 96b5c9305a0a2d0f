"""The second process that compiles: it knows what a training step needs, and cannot do harm."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
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
    losses,
    optimizers,
    presets,
    schedules,
)
from nanocnn.jit import claims, pool, precompile, threads
from nanocnn.jit.capture import capture
from nanocnn.models import warmup

# Trains for a step with an empty cache; says what it gave, what was compiled and what was found.
COLD = """
import json, sys
import numpy as np
from nanocnn import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.jit import cache, precompile
if sys.argv[1]:
    precompile.CODE = sys.argv[1]
model = Sequential([Input((12, 12, 1)), Conv2D(8, 3, activation="relu"), MaxPooling2D(2), Flatten(),
                    Dense(16, "relu"), Dense(10, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
x = np.random.default_rng(0).random((32, 12, 12, 1), dtype=np.float32)
loss = model.train_on_batch(x, np.arange(32) % 10)
ended = precompile.second.wait()
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
@pytest.mark.skipif(threads.usable_cores() < 2, reason="a second process needs a second core")
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
def test_a_dry_run_names_the_kernels_that_a_step_calls(make):
    model, batch = make(), 12
    step = warmup.describe(model, model.loss, model.optimizer, batch)
    foreseen = set(warmup.signatures(warmup.calls(**json.loads(step))))
    x = np.random.default_rng(0).random((batch, *model.input_shape))
    y = np.eye(model.output_shape[0])[np.arange(batch) % model.output_shape[0]]
    if "Sparse" in type(model.loss).__name__:
        y = y.argmax(axis=1)
    called = []

    def noted(function, *args):
        called.append((function, args))
        return True

    with pytest.MonkeyPatch.context() as patch, capture():
        patch.setattr(pool, "note", noted)  # unlike a program's, these are not dropped at an abort
        model.train_on_batch(x, y)
    called = set(warmup.signatures(called))
    assert called and called <= foreseen


@dataclass(frozen=True)
class Constant(schedules.Schedule):
    rate: float = 0.1

    def _rate(self, step):
        return self.rate


class Own:
    """Of each kind a class of one's own, which cannot be made again elsewhere."""

    class Loss(losses.MeanSquaredError):
        pass

    class Layer(Dense):
        pass

    class Optimizer(optimizers.SGD):
        pass


@pytest.mark.parametrize("what", ["nothing", "loss", "layer", "optimizer", "schedule", "value"])
def test_a_step_with_custom_parts_is_not_described(what, monkeypatch):
    """Nor one that JSON has no word for; it is trained all the same."""
    model = Sequential([Input((3,)), Own.Layer(2) if what == "layer" else Dense(2)])
    optimizer = Own.Optimizer() if what == "optimizer" else optimizers.SGD()
    model.compile(optimizer, Own.Loss() if what == "loss" else "mse")
    if what == "schedule":
        optimizer.learning_rate = Constant()
    elif what == "value":
        model.seed = np.float32(0)
    described = warmup.describe(model, model.loss, model.optimizer, 4)
    assert (described is None) == (what != "nothing")
    seen = []
    monkeypatch.setattr(precompile, "offered", lambda *step: seen.append(step) or nullcontext())
    for _ in range(2):
        model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    assert seen == ([(warmup.main, described)] if what == "nothing" else [])  # once, not each step


def busy(entry):
    """A second process that never comes to an end by itself, and claims an entry while it lives."""
    claims.take(Path(entry))
    Path(entry).with_suffix(".started").touch()
    while True:
        pass


# Starts a second process, waits until that is busy, and ends in some way.
PARENT = f"""
import os, signal, sys, time
sys.path.append({str(Path(__file__).parent)!r})
from {Path(__file__).stem} import busy
from nanocnn.jit import precompile
with precompile.offered(busy, sys.argv[1]):
    precompile.start()
while not os.path.exists(os.path.splitext(sys.argv[1])[0] + ".started"):
    time.sleep(0.01)
time.sleep(1)
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
def test_the_second_process_ends_with_the_first(tmp_path, end):
    entry = tmp_path / "busy-0000000.nbc"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT + end, str(entry)], env=environment
    ) as parent:
        assert within(60, entry.with_suffix(".started").exists) and not claims.take(entry)
        parent.wait()
    assert within(30, lambda: claims.take(entry))
    claims.drop(entry)


@pytest.fixture
def second(monkeypatch):
    """A second process that ends when this one says so."""
    monkeypatch.setattr(precompile, "second", None)
    monkeypatch.setattr(threads, "get_num_threads", lambda: 2)
    with precompile.offered(time.sleep, 1000):
        precompile.start()
        process = precompile.second
        assert process is not None
        precompile.start()
        assert precompile.second is process  # and there is only one
    yield process
    process.kill()
    process.wait()


def test_the_second_process_leaves_no_zombie(second):
    assert second.returncode is None
    second.kill()
    assert within(30, lambda: second.returncode is not None)  # that is: it was waited for
    assert within(30, lambda: second.stdin.closed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_own_the_second_process(second):
    pipe = second.stdin.fileno()
    pid = os.fork()
    if pid == 0:  # no assertion: the child must leave here
        try:
            os.fstat(pipe)
        except OSError:
            precompile._stop()
            os._exit(precompile.second is not None)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert second.returncode is None and precompile.second is second


@pytest.mark.parametrize("lacking", ["an interpreter", "a second thread", "an offer", "a need"])
def test_no_second_process_without_cores_or_an_interpreter(monkeypatch, lacking):
    monkeypatch.setattr(precompile, "second", None)
    monkeypatch.setattr(sys, "frozen", lacking == "an interpreter", raising=False)
    monkeypatch.setattr(threads, "get_num_threads", lambda: 1 + (lacking != "a second thread"))
    if lacking == "an offer":
        precompile.start()
    with precompile.offered(time.sleep, 0):
        if lacking == "a need":  # another process has claimed the kernel
            precompile.withdraw()
        if lacking != "an offer":
            precompile.start()
    precompile.start()  # what was offered is so no longer
    assert precompile.second is None
