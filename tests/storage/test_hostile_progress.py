"""Values in an `.npz` that only `fit` would meet: a `ModelFileError` when it is loaded."""

import numpy as np
import pytest

from nanocnn import load_model, storage
from nanocnn.common.errors import ModelFileError
from support.snapshots import SHAPES, small

pytest.importorskip("h5py", reason="h5py is not installed")
from support.model_files import SUFFIXES, read_members, write_members


def state(**changes):
    def change(progress):
        progress["callbacks"][0]["state"].update(changes)

    return change


PROGRESS = [
    (lambda p: p.update(epoch=-1), "epoch=-1, expected an integer of at least 0"),
    (lambda p: p.update(epoch="3"), "epoch='3', expected an integer"),
    (lambda p: p.update(epoch=1.0), "epoch=1.0, expected an integer"),
    (lambda p: p.update(epoch=2**40), "epoch=1099511627776, expected an integer below"),
    (lambda p: p.update(history=[1]), r"history \[1\], expected an object"),
    (lambda p: p.update(history={"loss": 3}), "history of 'loss' 3, expected a list"),
    (lambda p: p.update(history={"loss": ["x"]}), "history of 'loss'='x', expected an integer"),
    (lambda p: p.update(history={"loss": [None]}), "history of 'loss'=None, expected"),
    (lambda p: p.update(history={"loss": [10**400]}), "history of 'loss'=1000.*, expected"),
    (lambda p: p.update(callbacks={}), "callbacks {}, expected a list"),
    (lambda p: p.update(callbacks=[3]), "callback 0 3, expected an object"),
    (lambda p: p.update(callbacks=[{"state": {}}]), "callback 0: expected a class_name"),
    (lambda p: p["callbacks"][0].update(class_name=[]), "callback 0: expected a class_name"),
    (lambda p: p["callbacks"][0].update(state=None), "callback 0: state None, expected an object"),
    (lambda p: p.update(callbacks=[]), "0.best_weights: belongs to no callback"),
    (state(wait="1"), "callback 0: wait='1', expected an integer"),
    (state(wait=None), "callback 0: wait=None, expected an integer"),
    (state(best="low"), "callback 0: best='low', expected an integer"),
    (state(best=10**400), "callback 0: best=1000.*, expected"),
    (state(best_epoch=-1), "callback 0: best_epoch=-1, expected"),
    (state(stopped_epoch=[]), r"callback 0: stopped_epoch=\[\], expected"),
    (state(best_weights=3), "callback 0: best_weights=3, expected arrays"),
    (lambda p: p["random_state"].update(state=3), "not a model nanocnn can build"),
    (lambda p: p.update(random_state=[3]), "not a model nanocnn can build"),
]


def stopped():
    """A model in training whose callback remembers all that EarlyStopping can."""
    snapshot = small()
    weights = {name: array.copy() for name, array in snapshot.weights.items()}
    state = {"best": 0.5, "wait": 1, "best_epoch": 0, "stopped_epoch": None}
    entry = {"class_name": "EarlyStopping", "state": {**state, "best_weights": weights}}
    snapshot.set_progress({**snapshot.progress, "callbacks": [entry]})
    return snapshot


@pytest.mark.parametrize(("change", "message"), PROGRESS)
def test_hostile_progress(tmp_path, change, message):
    path = tmp_path / "m.npz"
    snapshot = stopped()
    change(snapshot.progress)
    storage.save(snapshot, path)
    with pytest.raises(ModelFileError, match=message):
        load_model(path, kernels="reference")


def test_valid_progress_is_restored(tmp_path):
    snapshot = stopped()
    snapshot.progress["history"] = {"loss": [0.5, float("nan"), float("inf"), 3]}
    own = {"best": "a text", "wait": -1, "anything": [1]}  # what another callback keeps is its own
    snapshot.progress["callbacks"].append({"class_name": "Mine", "state": own})
    storage.save(snapshot, tmp_path / "m.npz")
    first, second = load_model(tmp_path / "m.npz", kernels="reference").progress["callbacks"]
    assert second["state"] == own and list(first["state"]["best_weights"]) == list(SHAPES)


def test_hostile_remembered_weights(tmp_path):
    path = tmp_path / "m.npz"
    storage.save(stopped(), path)
    members = read_members(path)
    name = next(name for name in members if name.startswith("callbacks/dense/kernel/"))

    def refused(message, members):
        write_members(path, members)
        with pytest.raises(ModelFileError, match=message):
            load_model(path, kernels="reference")

    others = {key: value for key, value in members.items() if key != name}
    refused("0.best_weights: expected all weights, in the model's order", others)
    refused("expected all weights, in the model's order", {**others, name: members[name]})
    for slot, message in {
        "1.best_weights": "belongs to no callback",
        "-1.best_weights": "belongs to no callback",
        "x.best_weights": "belongs to no callback",
        "0": "belongs to no callback",
        "0.best": "belongs to no callback",
        "0.losses": "expected all weights",
    }.items():
        key = f"callbacks/dense/kernel/{slot}.npy"
        refused(message, {**members, key: members[name]})


@pytest.mark.parametrize("steps", [-1, 2**63 - 1])
def test_hostile_numbers_of_steps(tmp_path, steps):
    snapshot = small()
    snapshot.optimizer["iteration"] = np.array(steps)
    for suffix in SUFFIXES:
        storage.save(snapshot, tmp_path / f"m{suffix}")
        with pytest.raises(
            ModelFileError, match=f"optimizer/iteration: {steps}, expected a number"
        ):
            storage.load(tmp_path / f"m{suffix}")
