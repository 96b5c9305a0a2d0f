"""Callbacks, history and checkpoints are those of one process; training resumes on any number."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from nanocnn import (
    Callback,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Sequential,
    load_model,
)
from nanocnn.distributed import get_communicator
from support.mpi import needs_mpi, succeed
from support.sharded import BATCH, SHARDS, VALIDATION, adam, network
from support.small_models import bits, digits

TRAIN = "from test_resume import write_trained; write_trained()"
EPOCHS = 6


class Record(Callback):
    """All events, with their logs."""

    def __init__(self):
        self.events = []

    def on_train_begin(self, logs):
        self.events.append(["train begin", logs])

    def on_epoch_begin(self, epoch, logs):
        self.events.append(["epoch begin", epoch, logs])

    def on_train_batch_end(self, batch, logs):
        self.events.append(["batch end", batch, logs])

    def on_test_end(self, logs):
        self.events.append(["test end", logs])

    def on_epoch_end(self, epoch, logs):
        rate = self.model.optimizer.rate()
        self.events.append(["epoch end", epoch, dict(logs), float(rate)])

    def on_train_end(self, logs):
        self.events.append(["train end", logs])


def trained(path, epochs=EPOCHS):
    """Train, or resume from the checkpoint `path`; everything that is left of it."""
    x, y = digits(113)
    resumes = Path(path).exists()
    model = load_model(path) if resumes else network(optimizer=adam())
    record, saved, save = Record(), [], Sequential.save
    Sequential.save = lambda *args: saved.append(1) or save(*args)
    callbacks = [
        ModelCheckpoint(path),
        LearningRateScheduler(lambda epoch, rate: rate * 1.2),
        ReduceLROnPlateau("val_loss", patience=1, min_delta=0.5),
        record,
        EarlyStopping("val_accuracy", min_delta=0.2, patience=2, restore_best_weights=True),
    ]
    try:
        history = model.fit(
            x, y, BATCH, epochs, validation_data=VALIDATION, callbacks=callbacks, verbose=2,
            initial_epoch=model.progress.get("epoch", 0), shards=None if resumes else SHARDS,
        )  # fmt: skip
    finally:
        Sequential.save = save
    state, random = bits(model)
    result = {
        "bits": state.hex(),
        "random": str(random),
        "history": history.history,
        "epochs": history.epoch,
        "stopped": callbacks[-1].stopped_epoch,
        "file": Path(path).read_bytes().hex() if get_communicator().rank == 0 else "",
        "events": record.events,
    }
    return json.loads(json.dumps(result)), len(saved)


def write_trained():
    path, epochs = sys.argv[1], int(sys.argv[2])
    rank = get_communicator().rank
    Path(f"{path}.{rank}.json").write_text(json.dumps(trained(path, epochs)))


def results_of(path, processes):
    return [json.loads(Path(f"{path}.{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone") / "a.npz")


@needs_mpi
def test_callbacks_history_and_checkpoints_are_those_of_one_process(straight, tmp_path):
    expected, saves = straight
    assert expected["stopped"] is not None and len(expected["epochs"]) < EPOCHS  # it stops early
    it = succeed(3, TRAIN, tmp_path / "a.npz", EPOCHS)
    for rank, (found, saved) in enumerate(results_of(tmp_path / "a.npz", 3)):
        assert saved == (saves if rank == 0 else 0)
        for name, value in expected.items():
            if name != "file" or rank == 0:
                assert found[name] == value, f"{name} on process {rank}"
    for epoch in expected["epochs"]:
        assert it.out.count(f"Epoch {epoch + 1}/{EPOCHS} ") == 1, it.out
    assert it.out.count("ReduceLROnPlateau") == it.out.count("EarlyStopping") == 0
    assert it.err == ""


@needs_mpi
@pytest.mark.parametrize("processes", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_a_checkpoint_of_two_processes_resumes_on_one_and_on_more(processes, straight, tmp_path):
    """`shards` is not given: it is that of the training that is resumed."""
    path = tmp_path / "a.npz"
    succeed(2, TRAIN, path, 2)
    assert load_model(path).progress["epoch"] == 2
    assert load_model(path).progress["shards"] == SHARDS
    for other in (1, processes):
        copy = tmp_path / f"{other}.npz"
        shutil.copy(path, copy)
        if other == 1:
            results = [trained(copy)]
        else:
            succeed(other, TRAIN, copy, EPOCHS)
            results = results_of(copy, other)
        for rank, (found, _) in enumerate(results):
            for name in ("bits", "random", "history", "epochs", "stopped", "file"):
                if name != "file" or rank == 0:
                    assert found[name] == straight[0][name], f"{name} on process {rank}"
