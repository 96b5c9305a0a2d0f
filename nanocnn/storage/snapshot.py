"""The content of a model file, in one form for all formats."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..common.arrays import Array as Array
from ..common.errors import ModelFileError
from ..common.validate import integer


@dataclass
class Snapshot:
    """The content of a model file. All dicts but those of arrays are JSON-serialisable.

    `config`: {"name", "dtype", "seed", "scale_uint8", "unit_range", "layers": [{"class_name",
    "config"}, ...]} with Keras's class names and arguments ("trainable" among them), an InputLayer
    first. `scale_uint8`: whether uint8 is divided by 255; False for Keras's files. `unit_range`:
    whether all training data were within -1.5 to 1.5; None if unknown.
    `weights`: {"conv2d/kernel": array, ...} in Keras's order.
    `compile_config`: {"optimizer", "loss", "metrics"} as Keras configs, None if not compiled.
    `optimizer`: {"iteration": scalar, "conv2d/kernel/m": array, ...}; empty before training.
    `progress`: what resuming needs (epoch, random state, ...), `callbacks`: their weights,
    {"conv2d/kernel/0.best_weights": array, ...}. Only `.npz` stores these two.
    `metrics`: functions by name, `custom_layers`: classes by index; both are for copies, no file
    stores them.
    """

    config: dict[str, Any]
    weights: dict[str, Array]
    compile_config: dict[str, Any] | None = None
    optimizer: dict[str, Array] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Array] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    custom_layers: dict[int, type[Any]] = field(default_factory=dict)

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Set `progress`, and move the arrays in its callbacks' states to `callbacks`."""
        states = []
        for index, each in enumerate(progress.get("callbacks", [])):
            state = dict(each["state"])
            for name, value in each["state"].items():
                arrays = value if isinstance(value, dict) else {}
                for weight, array in arrays.items():
                    if isinstance(array, np.ndarray):
                        self.callbacks[f"{weight}/{index}.{name}"] = array.copy()
                        state.pop(name, None)
            states.append({**each, "state": state})
        self.progress = {**progress, "callbacks": states} if states else dict(progress)

    def get_progress(self) -> dict[str, Any]:
        """Return the progress that was given to `set_progress`."""
        states = [
            {**each, "state": dict(each["state"])} for each in self.progress.get("callbacks", [])
        ]
        for key, array in self.callbacks.items():
            weight, _, slot = key.rpartition("/")
            index, _, name = slot.partition(".")
            states[int(index)]["state"].setdefault(name, {})[weight] = array.copy()
        return {**self.progress, "callbacks": states}


# Counters in the state of built-in callbacks (custom callbacks may use these names freely), and
# whether they may be None; "best_weights" are arrays.
BUILTIN_CALLBACKS = {"EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"}
COUNTS = {"wait": False, "cooling": False, "best_epoch": False, "stopped_epoch": True}


def check_progress(snapshot: Snapshot) -> None:
    """Raise `ModelFileError` if training could not resume from the progress in a file."""
    try:
        progress = _object(snapshot.progress, "progress")
        for name, least in (("epoch", 0), ("epochs_trained", 0), ("shards", 1)):
            integer(progress.get(name, least), name, least)
        for name, values in _object(progress.get("history", {}), "history").items():
            where = f"history of {name!r:.80}"
            for value in _list(values, where):
                _real(value, where)
        states = _list(progress.get("callbacks", []), "callbacks")
        for index, each in enumerate(states):
            where = f"callback {index}"
            if not isinstance(_object(each, where).get("class_name"), str):
                raise ValueError(f"{where}: expected a class_name")
            _check_state(_object(each.get("state"), f"{where}: state"), each["class_name"], where)
        _check_arrays(snapshot, states)
    except ValueError as error:
        raise ModelFileError(f"nanocnn.npy: progress: {error}") from None


def _check_state(state: dict[str, Any], class_name: str, where: str) -> None:
    if class_name not in BUILTIN_CALLBACKS:
        return
    for name, may_be_none in COUNTS.items():
        if not (may_be_none and state.get(name) is None):
            integer(state.get(name, 0), f"{where}: {name}", 0)
    if state.get("best") is not None:
        _real(state["best"], f"{where}: best")
    if state.get("best_weights") is not None:
        raise ValueError(f"{where}: best_weights={state['best_weights']!r:.80}, expected arrays")


def _check_arrays(snapshot: Snapshot, states: list[Any]) -> None:
    """Check that each array belongs to a callback without another value of that name."""
    found: dict[str, list[str]] = {}
    for key in snapshot.callbacks:
        weight, _, slot = key.rpartition("/")
        found.setdefault(slot, []).append(weight)
    for slot, weights in found.items():
        index, _, name = slot.partition(".")
        number = int(index) if index.isdecimal() and len(index) < 9 else len(states)
        if not name or number >= len(states) or states[number]["state"].get(name) is not None:
            raise ValueError(f"callbacks/.../{slot:.80}: belongs to no callback")
        if states[number]["class_name"] in BUILTIN_CALLBACKS and (
            name != "best_weights" or weights != list(snapshot.weights)
        ):
            raise ValueError(
                f"callbacks/.../{slot:.80}: expected all weights, in the model's order"
            )
        states[number]["state"].pop(name, None)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} {value!r:.80}, expected an object")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} {value!r:.80}, expected a list")
    return value


def _real(value: Any, name: str) -> None:
    """Check a float, which may be infinite or NaN, or an integer that a float can represent."""
    if not isinstance(value, float):
        integer(value, name, -(2**53), bits=53)
