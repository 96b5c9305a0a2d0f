"""Ctrl-C and SIGTERM, given to mpiexec or to all processes: as on one process."""

import os
import signal
import sys
import time

import pytest

from nanocnn import Callback, ModelCheckpoint, load_model
from nanocnn.distributed import get_communicator
from support.mpi import needs_mpi, started
from support.sharded import BATCH, SHARDS
from support.small_models import bits, digits, small_model

pytestmark = needs_mpi
PROGRAM = "from test_signals import main; main()"
EPOCHS = 4


class Slow(Callback):
    """Batches that take a while, and a file that says that they have begun."""

    def __init__(self, path):
        self.path = path

    def on_epoch_begin(self, epoch):
        if epoch == 1 and get_communicator().rank == 0:
            open(self.path + ".begun", "w").close()

    def on_batch_end(self, batch):
        time.sleep(0.05)


def train(path, callbacks=(), epochs=EPOCHS):
    """Train, or resume from the checkpoint `path`."""
    x, y = digits(240)
    model = load_model(path) if os.path.exists(path) else small_model("fast")
    model.fit(
        x, y, BATCH, epochs, shards=SHARDS, callbacks=[ModelCheckpoint(path), *callbacks],
        initial_epoch=model.progress.get("epoch", 0), verbose=2,
    )  # fmt: skip
    return model


def main():
    path = sys.argv[1]
    try:
        train(path, [Slow(path)], epochs=100)
    finally:
        print(f"process {get_communicator().rank} cleans up", flush=True)


@pytest.mark.parametrize(
    ("number", "whole"),
    [
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_training_which_can_be_resumed(number, whole, tmp_path):
    """`whole`: the signal is for the whole process group, as a terminal's is."""
    path = str(tmp_path / "a.npz")
    with started(3, PROGRAM, path) as it:
        end = time.monotonic() + 60
        while not os.path.exists(path + ".begun") and it.process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.1)
        if whole:
            os.killpg(it.process.pid, number)
        else:
            it.process.send_signal(number)
        it.wait(20)
    assert it.code != 0
    assert it.seconds < 10
    assert it.out.count("interrupted; resume with model = load_model") == 1, it.out + it.err
    assert sum(f"process {rank} cleans up" in it.out for rank in range(3)) == 3
    assert it.err.count("Traceback") <= 1
    assert load_model(path).progress["epoch"] >= 1
    epochs = load_model(path).progress["epoch"] + 2
    expected = small_model("fast")
    x, y = digits(240)
    expected.fit(x, y, BATCH, epochs, shards=SHARDS, verbose=0)
    assert bits(train(path, epochs=epochs)) == bits(expected)
