"""One process per contestant: its own thread pools and memory, idle while the others run.

The benchmark starts `python workers.py` for each contestant; they exchange lines of JSON over
standard input and output. Run by itself, this file waits for such lines.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import call_times, repeat_for, say
from networks import keras_layers
from peers import CONTESTANTS, HELD, NOT_HELD, Task
from presets import PRESETS, Preset

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
ISA_SETTINGS = {
    "native": {},
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe",
        "OPENBLAS_CORETYPE": "Haswell",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
}
"""--isa: the environment variables that limit each library to an instruction set."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""--clock: processor time includes spinning threads, but not the time of other programs."""


def environment(threads: int, isa: str = "native") -> dict[str, str]:
    """The environment of a measured process: the same threads and instructions for all.

    Byte code may be written: an installed library has its own beside it, and so has nanocnn then.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**given, **quiet, **counts, **ISA_SETTINGS[isa]}


OPTIONAL = ("torch", "tensorflow", "keras", "onnxruntime", "openvino", "onnx", "onnxscript")
TOLERANCE = 1e-4  # between two libraries' predictions, of at most 1


class Missing(Exception):
    """A library that is not installed, or cannot be measured as was asked."""


class Wrong(Exception):
    """Predictions that are not those of the reference kernels."""


class Worker:
    """A contestant in its own process.

    Raises `Missing` if its library is not installed, or cannot be limited to `isa`.
    """

    def __init__(
        self, name: str, preset: str, data: Path, batch: int, threads: int, isa: str = "native"
    ) -> None:
        self.name = name
        isa = HELD.get(name, isa)
        if isa != "native" and name in NOT_HELD:
            raise Missing(f"nothing limits it to {isa}")
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(threads, isa),
            text=True,
        )
        ready = self.ask(name=name, preset=preset, data=str(data), batch=batch, threads=threads)
        if "missing" in ready:
            self.close()
            raise Missing(ready["missing"])

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for the answer. Raises RuntimeError with stderr if it has died."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(f"{self.name} failed at {request}:\n{self.errors.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@contextlib.contextmanager
def workers(
    names: list[str], preset: str, images: int, batch: int, threads: int, isa: str,
    checked: int = 0,
):  # fmt: skip
    """A worker for each of `names` whose library is installed, all with the same data and weights.

    `checked`: predictions of as many images are compared with the reference's, by each worker.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        data = write_data(Path(folder, "data.npz"), PRESETS[preset], images, checked)
        started = {}
        for name in names:
            try:
                started[name] = Worker(name, preset, data, batch, threads, isa)
            except Missing as missing:
                say(f"{name} is skipped: {missing}")
                continue
            stack.callback(started[name].close)
        yield started


def write_data(file: Path, preset: Preset, images: int, checked: int = 0) -> Path:
    """What all contestants get: images and labels, weights, and predictions to compare with."""
    x, y = make_data(preset, images)
    model = reference_model(preset)
    weights = {f"weight{i}": array for i, array in enumerate(model.get_weights())}
    expected = model.predict(x[:checked]) if checked else np.empty((0, 10), np.float32)
    np.savez(file, x=x, y=y, expected=expected, **weights)
    return file


def reference_model(preset: Preset) -> Any:
    """The network on the reference kernels, with the weights from which all begin."""
    import nanocnn

    layers = keras_layers(preset.layers, nanocnn)
    return nanocnn.Sequential(layers, seed=0, kernels="reference")


def make_data(preset: Preset, images: int) -> tuple[Any, Any]:
    """Digits of the package's sample, repeated, if they fit the network, else random numbers."""
    rng = np.random.default_rng(0)
    if preset.shape == (28, 28, 1):
        from nanocnn.data import mnist

        (x, y), _ = mnist.sample()
        rows = rng.permutation(np.arange(images) % len(x))
        return (x[rows, :, :, None] / np.float32(255)), y[rows].astype(np.int64)
    y = rng.integers(0, 10, images)
    return rng.random((images, *preset.shape), dtype=np.float32), y


def resident(field: str) -> int:
    """Resident memory of this process in bytes: now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def task_of(setup: dict[str, Any]) -> Task:
    """What the first line says: the network's name, the file of the data, and so on."""
    file = Path(setup["data"])
    with np.load(file) as data:
        weights = [data[f"weight{i}"] for i in range(len(data.files) - 3)]
        return Task(
            PRESETS[setup["preset"]], data["x"], data["y"], setup["batch"], setup["threads"],
            weights, file.parent, data["expected"],
        )  # fmt: skip


def serve() -> None:
    """The worker's side: the first line chooses the contestant, each further one is a request."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be mistaken for an answer

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    setup = json.loads(sys.stdin.readline())
    task = task_of(setup)
    size, examples, expected = task.x.nbytes + task.y.nbytes, task.x[:1024].copy(), task.expected
    try:
        model = CONTESTANTS[setup["name"]][1](task)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        answer(missing=str(error))
        return
    del task
    # Reset the peak: only training counts, not the preparation of the data.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    answer(ready=True)
    forms: dict[int, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "train":
            clock = CLOCKS[request["clock"]]
            call, _ = timed(clock, model.fit, 1)
            whole, loss = timed(clock, model.fit, 1 + request["steps"])
            # With a few tiny steps, noise can exceed the difference; times stay positive.
            answer(step=max(whole - call, 1e-6) / request["steps"], call=call, loss=loss)
        elif request["do"] == "memory":
            answer(peak=resident("VmHWM"), data=size)
        elif request["do"] == "predict":
            images = np.resize(examples, (request["batch"], *examples.shape[1:]))
            if request["batch"] not in forms:
                forms[request["batch"]] = pick(model.forms(), images, expected)
            form, call = forms[request["batch"]]
            times = call_times(lambda: call(images), request["seconds"])  # noqa: B023
            middle, late = np.percentile(times, (50, 99))
            answer(seconds=middle, p99=late, calls=len(times), form=form)


def timed(clock: Callable[[], float], work: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds that a call took, and its result."""
    start = clock()
    result = work(*args)
    return clock() - start, result


def pick(forms: dict[str, Any], images: Any, expected: Any) -> tuple[str, Any]:
    """The library's fastest form of prediction for these images, each after a warm-up.

    Raises `Wrong` if one of them does not give the `expected` probabilities for the first images.
    """
    times = {}
    for name, call in forms.items():
        n = min(len(images), len(expected))
        error = np.abs(call(images)[:n] - expected[:n]).max(initial=0)
        if not error <= TOLERANCE:
            raise Wrong(f"{name}: {error:.1e} from the reference, allowed {TOLERANCE:.0e}")
        repeat_for(lambda: call(images), 0.05)  # noqa: B023
        times[name] = repeat_for(lambda: call(images), 0.2)  # noqa: B023
    best = min(times, key=times.__getitem__)
    return best, forms[best]


if __name__ == "__main__":
    serve()
