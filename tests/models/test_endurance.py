"""20,000 training steps: memory stays as it was, and no file or thread is left open.

That steps stay as fast as they were is measured by benchmarks/steadiness.py.
`python -m pytest -m slow -s tests/models/test_endurance.py` prints what was measured.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nanocnn import (
    Adam,
    BatchNormalization,
    Callback,
    Conv2D,
    Dense,
    Dropout,
    EarlyStopping,
    Flatten,
    Input,
    MaxPooling2D,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Sequential,
    set_num_threads,
)
from nanocnn.jit import precompile
from support.processes import ENVIRONMENT
from support.small_models import digits

STEPS_PER_EPOCH, WARM_UP = 50, 100
# What is freed goes back to the system at once, instead of lying in the C library's heap in pieces:
# so what is measured is what is held.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def network():
    model = Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(8, 3, padding="same", activation="relu"), MaxPooling2D(2),
            Conv2D(16, 3), BatchNormalization(), MaxPooling2D(2), Dropout(0.25), Flatten(),
            Dense(64, activation="relu"), Dropout(0.5), Dense(10, activation="softmax"),
        ]
    )  # fmt: skip
    model.compile(Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def memory():
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def no_huge_pages():
    """After some seconds Linux puts huge pages in the place of small ones, touched or not.

    That would look as if the process had taken memory that it never asked for.
    """
    PR_SET_THP_DISABLE = 41
    assert ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0


def settle():
    """Let Python take first what it takes once, whatever a program does.

    Every path made anew leaves a mark in the table of interned strings, until the table is full and
    made anew, once at twice the size: 1 MB, or 2. And of freed tuples, Python keeps 2,000 a length.
    """
    for i in range(100_000):
        sys.intern(f"seen once: {i}")
    for length in (1, 2, 3):
        [(i,) * length for i in range(2000)]


def handles():
    """Open files and running threads."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


class Measure(Callback):
    """The memory after every step."""

    def __init__(self, steps):
        self.memory = np.ones(steps)  # in memory from now on
        self.step = 0

    def on_batch_end(self, batch, logs):
        self.memory[self.step] = memory()
        self.step += 1


def endure(steps):
    """Train, with validation, callbacks and checkpoints in every epoch; report and check."""
    set_num_threads(2)
    x, y = digits(8 * STEPS_PER_EPOCH - 5, shape=(28, 28))  # the last batch is smaller
    model, measure = network(), Measure(steps)
    model.train_on_batch(x[:2], y[:2])  # starts the threads
    while precompile.second is not None and not precompile.second.stdin.closed:
        time.sleep(0.01)  # until the second process that compiles has ended
    settle()
    with tempfile.TemporaryDirectory() as folder:
        before = handles()
        model.fit(
            x, y, 8, steps // STEPS_PER_EPOCH, validation_data=digits(70, 1, shape=(28, 28)),
            callbacks=[
                measure, ReduceLROnPlateau("loss", patience=50),
                EarlyStopping("loss", patience=steps, restore_best_weights=True),
                ModelCheckpoint(f"{folder}/last.npz"),
                ModelCheckpoint(f"{folder}/best.h5", save_best_only=True),
            ],
            verbose=0,
        )  # fmt: skip
        after, files = handles(), sorted(path.name for path in Path(folder).iterdir())
    assert measure.step == steps
    start, peak = measure.memory[WARM_UP - 1], measure.memory[WARM_UP:].max()
    growth = peak / start - 1
    print(
        f"{steps:,} steps: memory {start / 2**20:.1f} MB after {WARM_UP} steps and at most "
        f"{growth:+.2%} later; files and threads {before} before, {after} after"
    )
    assert growth <= 0.01
    assert after == before
    assert files == ["best.h5", "last.npz"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc, which is Linux's")
def test_memory_and_handles_stay_flat_over_20_000_steps():
    """In a process of its own, in whose memory is nothing else."""
    run = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=3000, check=False,
        env=ENVIRONMENT | GIVE_BACK,
    )  # fmt: skip
    print(run.stdout.strip())
    assert run.returncode == 0, run.stderr


if __name__ == "__main__":
    no_huge_pages()
    endure(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
