"""The second process that compiles: it gets what a program needs, and cannot do harm."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nanocnn.jit import claims, precompile, threads

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
own = ("call-", "execute-", "helpothers-")  # functions of the pool, which are not counted
entries = sum(not each.name.startswith(own) for each in cache.cache_folder().glob("*.nbc"))
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


# Kernels of each kind, and which of them the second process has compiled.
KINDS = """
from nanocnn.jit.compile import kernel, variants
@kernel
def plain(part, parts, x):
    x[part] = 1
@variants
def make(n):
    @kernel
    def made(part, parts, x):
        x[part] = n
    return made
def local():
    @kernel
    def nameless(part, parts, x):
        x[part] = 5
    return nameless
"""
USE = """
import sys
import numpy as np
from kinds import local, make, plain
from nanocnn.jit import precompile
from nanocnn.jit.arguments import Arguments
from nanocnn.jit.compile import kernel
@kernel
def of_main(part, parts, x):
    x[part] = 6
kernels = [local(), plain, of_main, make(2), make(3)]
types = Arguments((np.zeros(2),)).types
precompile.start([(each, types, 0) for each in kernels])
assert precompile.second.wait() == 0
print([each.is_cached(types, 0) for each in kernels])
precompile.second = None
precompile.start([(local(), types, 0)])
print(precompile.second)
"""


def test_the_second_process_compiles_the_kernels_that_it_can_import(tmp_path):
    (tmp_path / "kinds.py").write_text(KINDS)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "2"}
    code = f"import sys; sys.path.append({str(tmp_path)!r}){USE}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.stdout == "[False, True, False, True, True]\nNone\n", done.stderr


class Busy:
    """Instead of a kernel: it never comes to an end, and claims an entry while it lives."""

    def compile_ahead(self, entry, buffers):
        claims.take(Path(entry))
        Path(entry).with_suffix(".started").touch()
        while True:
            pass


class Sleeper:
    def compile_ahead(self, seconds, buffers):
        time.sleep(seconds)


# Starts a second process, waits until that is busy, and ends in some way.
PARENT = f"""
import os, signal, sys, time
sys.path.append({str(Path(__file__).parent)!r})
from {Path(__file__).stem} import Busy
from nanocnn.jit import precompile
precompile.start([(Busy(), sys.argv[1], 0)])
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
    precompile.start([(Sleeper(), 1000, 0)])
    process = precompile.second
    assert process is not None
    precompile.start([(Sleeper(), 1000, 0)])
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


@pytest.mark.parametrize("lacking", ["an interpreter", "a second thread", "a need", "room"])
def test_no_second_process_without_cores_or_an_interpreter(monkeypatch, lacking):
    monkeypatch.setattr(precompile, "second", None)
    monkeypatch.setattr(sys, "frozen", lacking == "an interpreter", raising=False)
    monkeypatch.setattr(threads, "get_num_threads", lambda: 1 + (lacking != "a second thread"))
    if lacking == "room":  # for what the arguments of a process may hold
        monkeypatch.setattr(precompile, "MOST", 10)
    precompile.start([] if lacking == "a need" else [(Sleeper(), 0, 0)])
    assert precompile.second is None
    precompile.compile_all([])
    assert precompile.second is None


def test_a_second_process_is_started_for_two_missing_kernels_or_more(monkeypatch):
    started, compiled = [], []

    class Kernel:
        def __init__(self, cached):
            self.cached = cached

        def is_cached(self, types, buffers):
            return self.cached

        def address(self, types, buffers):
            compiled.append((self, types))

    monkeypatch.setattr(precompile, "start", started.append)
    a, b, c = Kernel(False), Kernel(True), Kernel(False)
    one, two = (SimpleNamespace(types=types, buffers=0) for types in ("one", "two"))
    precompile.compile_all([(a, one), (b, one), (a, one)])
    assert started == [] and compiled == [(a, "one"), (b, "one")]  # each once
    precompile.compile_all([(a, one), (b, one), (a, two), (c, one)])
    assert started == [[(c, "one", 0), (a, "two", 0), (a, "one", 0)]]  # it begins at the other end
