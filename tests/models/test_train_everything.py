"""One result: whole models on other processors, other thread counts, other settings of BLAS.

`train_everything.py` trains; it runs in processes of their own, because numba compiles for one
processor in each. On another architecture: `tests/arm64.sh`.
"""

import os
import re
import subprocess
import sys

import pytest
import train_everything
from presets import NINE

from nanocnn.cli.training import weights_hash
from nanocnn.data import mnist
from nanocnn.jit.cpu import has_fma
from nanocnn.kernels import get_kernels
from nanocnn.layers import LAYERS
from nanocnn.layers.activation import ACTIVATIONS
from nanocnn.losses import LOSSES
from nanocnn.metrics import METRICS
from nanocnn.optimizers import OPTIMIZERS
from nanocnn.optimizers.schedules import SCHEDULES
from nanocnn.presets import build
from support.paths import ROOT, TESTS
from support.processes import ENVIRONMENT
from support.processors import output, start, usable

SCRIPT = str(TESTS / "models" / "train_everything.py")
EXPECTED = TESTS / "models" / "train_everything.txt"
UPDATE = "python tests/models/train_everything.py > tests/models/train_everything.txt"

one_result = pytest.mark.skipif(
    not has_fma(), reason="without fused multiply-add a processor has results of its own"
)


def lines(process):
    """What the script prints: {name: the rest of the line}."""
    return dict(line.split(maxsplit=1) for line in output(process)[0].splitlines())


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
    found = lines(start(SCRIPT, "--small"))
    compare(found, expected(), "this machine")
    print(f"{len(found)} trainings end as {EXPECTED.name} says")


@one_result
@pytest.mark.slow  # the kernels are compiled for each processor
def test_every_processor_gives_the_same_bits():
    processors = usable()
    if "64" not in processors[0][0]:
        print("without AVX-512: ", end="")
    running = [
        start(SCRIPT, "--arrays", "--threads", threads, **settings, **blas)
        for *_, settings, threads, blas in processors
    ]
    first, *others = map(lines, running)
    trained = {name: value for name, value in first.items() if " " not in value}
    for (processor, *_), found in zip(processors[1:], others, strict=True):
        compare(found, first, f"{processor}, not {processors[0][0]}")
    assert trained.keys() == expected().keys()
    compare(trained, expected(), processors[0][0])
    size = sum(int(value.split()[1]) for value in first.values() if " " in value)
    print(
        f"{len(trained)} trainings, {size:,} bytes in {len(first) - len(trained)} arrays: the same"
    )
    for processor, _, _, threads, blas in processors:
        print(f"  {processor}, {threads} threads {blas or ''}")


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
        found.update(m for m in snapshot.compile_config["metrics"] if isinstance(m, str))
    kinds = {each.__name__ for each in (*LOSSES.values(), *OPTIMIZERS.values())}
    assert {METRICS[name] for name in found & METRICS.keys()} == set(METRICS.values())
    assert found >= {*LAYERS, *ACTIVATIONS, *SCHEDULES, *kinds, "keras", "pytorch"}


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
