"""What a saved file says about a model, in one form for all formats."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Snapshot:
    """A model between memory and file. All dicts but `weights` and `optimizer` are JSON-able.

    `config`: {"name", "dtype", "seed", "layers": [{"class_name", "config"}, ...]} with Keras's
    class names and arguments, an InputLayer first.
    `weights`: {"conv2d/kernel": array, ...} in Keras's order.
    `compile_config`: {"optimizer", "loss", "metrics"} as Keras configs, None when not compiled.
    `optimizer`: {"iteration": scalar, "conv2d/kernel/m": array, ...}; empty before training.
    `progress`: whatever training needs to go on (epoch, random state, ...); only `.npz` keeps it.
    """

    config: dict[str, Any]
    weights: dict[str, Array]
    compile_config: dict[str, Any] | None = None
    optimizer: dict[str, Array] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
