"""What a saved file says about a model, in one form for all formats."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array as Array


@dataclass
class Snapshot:
    """A model between memory and file. All dicts but those of arrays are JSON-able.

    `config`: {"name", "dtype", "seed", "layers": [{"class_name", "config"}, ...]} with Keras's
    class names and arguments, an InputLayer first.
    `weights`: {"conv2d/kernel": array, ...} in Keras's order.
    `compile_config`: {"optimizer", "loss", "metrics"} as Keras configs, None when not compiled.
    `optimizer`: {"iteration": scalar, "conv2d/kernel/m": array, ...}; empty before training.
    `progress`: whatever training needs to go on (epoch, random state, ...), `callbacks`: weights
    that they remember, {"conv2d/kernel/0.best_weights": array, ...}. Only `.npz` keeps these two.
    `metrics`: the functions by name, for a copy; no file keeps them.
    """

    config: dict[str, Any]
    weights: dict[str, Array]
    compile_config: dict[str, Any] | None = None
    optimizer: dict[str, Array] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Array] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Keep `progress`, whose callbacks' states may hold weights beside what is JSON-able."""
        states = []
        for place, each in enumerate(progress.get("callbacks", [])):
            state = dict(each["state"])
            for name, value in each["state"].items():
                arrays = value if isinstance(value, dict) else {}
                for weight, array in arrays.items():
                    if isinstance(array, np.ndarray):
                        self.callbacks[f"{weight}/{place}.{name}"] = array.copy()
                        state.pop(name, None)
            states.append({**each, "state": state})
        self.progress = {**progress, "callbacks": states} if states else dict(progress)

    def get_progress(self) -> dict[str, Any]:
        """What `set_progress` took."""
        states = [
            {**each, "state": dict(each["state"])} for each in self.progress.get("callbacks", [])
        ]
        for key, array in self.callbacks.items():
            weight, _, slot = key.rpartition("/")
            place, _, name = slot.partition(".")
            states[int(place)]["state"].setdefault(name, {})[weight] = array.copy()
        return {**self.progress, "callbacks": states}
