"""One result: whole models on other processors, other thread counts, other settings of BLAS.

`train_everything.py` trains; it runs in processes of their own, because numba compiles for one
processor in each. On another architecture: `tests/arm64.sh`.
"""

import os
import re
import subprocess
import sys

import llvmlite.binding as llvm
import pytest
import train_everything
from presets import NINE

from nanocnn.cli.training import weights_hash
from nanocnn.data import mnist
from nanocnn.jit.cpu import cpu, has_fma
from nanocnn.kernels import get_kernels
from nanocnn.layers import LAYERS
from nanocnn.layers.activation import ACTIVATIONS
from nanocnn.losses import LOSSES
from nanocnn.metrics import METRICS
from nanocnn.optimizers import OPTIMIZERS
from nanocnn.presets import build
from nanocnn.schedules import SCHEDULES
from support.paths import ROOT, TESTS
from support.processes import ENVIRONMENT

SCRIPT = TESTS / "models" / "train_everything.py"
EXPECTED = SCRIPT.with_name("train_everything.txt")
UPDATE = "python tests/models/train_everything.py > tests/models/train_everything.txt"

X86 = llvm.get_process_triple().startswith(("x86_64", "amd64"))
FUSED = "+fma,+avx,+bmi,+bmi2,+f16c,+movbe,+popcnt,+sse4.2"
HASWELL = {"NUMBA_CPU_NAME": "haswell"}
# What numba can be told to compile for instead of this processor: its name, and the register width.
OTHERS = {
    "AVX2": (32, HASWELL | {"NUMBA_CPU_FEATURES": f"+avx2,{FUSED}"}),
    "16-byte registers": (16, HASWELL | {"NUMBA_CPU_FEATURES": FUSED}),
}


one_result = pytest.mark.skipif(
    not has_fma(), reason="without fused multiply-add a processor has results of its own"
)


def run(*arguments, environment=()):
    """The lines of the script, without the caller's settings: {name: the rest}."""
    env = {
        name: value
        for name, value in ENVIRONMENT.items()
        if not name.startswith(("NUMBA_CPU_", "OPENBLAS_"))
    }
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, env=env | dict(environment), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def compare(found, expected, what):
    """Every result of `found` is the expected one; else name the first array that is not."""
    differing = [name for name in found if found[name] != expected.get(name)]
    arrays = [name for name in differing if found[name].count(" ")] or differing
    assert not differing, (
        f"{what}: {len(arrays)} of {len(found)} results differ, first that of {arrays[0]}. If the "
        f"definition was changed on purpose: {UPDATE}"
    )


def expected():
    return dict(line.split() for line in EXPECTED.read_text().splitlines())


@one_result
def test_some_results_are_those_of_every_other_machine():
    found = run("--small")
    compare(found, expected(), "this machine")
    print(f"{len(found)} trainings end as {EXPECTED.name} says")


@one_result
@pytest.mark.slow  # the kernels are compiled for each processor
def test_every_processor_gives_the_same_bits():
    own = run("--arrays", "--threads", 2)
    trained = {name: value for name, value in own.items() if " " not in value}
    assert trained.keys() == expected().keys()
    compare(trained, expected(), "this machine")
    others = {name: settings for name, (width, settings) in OTHERS.items() if width < cpu.bytes}
    if not X86:
        print("no other kind of register here: compared with the expected results alone")
    elif cpu.bytes < 64:
        print("this processor lacks AVX-512: compared with narrower registers")
    for name, settings in others.items():
        settings = {**settings, "OPENBLAS_CORETYPE": "Haswell"}
        found = run("--arrays", "--threads", 1, environment=settings)
        compare(found, own, f"{name}, 1 thread, BLAS for Haswell")
    size = sum(int(value.split()[1]) for value in own.values() if " " in value)
    print(
        f"{len(trained)} trainings, {size:,} bytes in {len(own) - len(trained)} arrays: the same "
        f"with registers of {cpu.bytes} bytes and 2 threads{', and with ' * bool(others)}"
        f"{' and '.join(others)}{', 1 thread and OPENBLAS_CORETYPE=Haswell' * bool(others)}"
    )


def test_nothing_is_left_out():
    found = set()

    def collect(config):
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            if key == "class_name" or (key in ("activation", "form") and value):
                found.add(value)
            elif isinstance(value, dict | list):
                collect(value)

    for training in train_everything.trainings().values():
        snapshot = training.model("float32").snapshot()
        collect(snapshot.config)
        collect(snapshot.compile_config)
        found.update(snapshot.compile_config["metrics"])
    kinds = {each.__name__ for each in (*LOSSES.values(), *OPTIMIZERS.values())}
    names = {"mse", "mae", "accuracy", "top_k_categorical_accuracy"}
    assert {METRICS[name] for name in names} == set(METRICS.values())
    assert found >= {*LAYERS, *ACTIVATIONS, *SCHEDULES, *kinds, *names, "keras", "pytorch"}


def test_every_kernel_is_used(monkeypatch):
    kernels = get_kernels("fast")
    used = set()

    def counted(name, function):
        def call(*args, **options):
            used.add(name)
            return function(*args, **options)

        return call

    names = kernels.CAPTURABLE.keys() - {"choose"}  # it computes nothing
    for name in names:
        monkeypatch.setattr(kernels, name, counted(name, getattr(kernels, name)))
    for name, training in train_everything.trainings().items():
        if name not in (*NINE, "large"):
            training.run("float32")
    assert used == names


FULL = os.environ.get("NANOCNN_DATA", "")


@one_result
@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="NANOCNN_DATA does not name a folder with the full MNIST")
def test_lenet_ends_with_the_weights_that_the_readme_says(set_threads, monkeypatch, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ((promised, words),) = re.findall(r"SHA-256 `(\w{64})`.*`python (examples/[^`]*)`", readme)
    command = [sys.executable, *words.split(), "--data", FULL, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"weights: SHA-256 {promised}\n" in done.stdout
    # Nor does it matter that nothing is captured, validated or displayed, on one thread.
    set_threads(1)
    monkeypatch.setattr("nanocnn.models.step.can_capture", lambda *arguments: False)
    model = build("lenet")
    (x, y), _ = mnist.load(FULL)
    model.fit(x, y, 128, epochs=2, verbose=0)
    assert weights_hash(model) == promised
