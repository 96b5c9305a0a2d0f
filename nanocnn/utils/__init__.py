"""Helpers of scripts, by Keras's names. Source: keras/src/utils/*.py."""

import random
from os import PathLike
from typing import Any

import numpy as np

from ..backend import clear_session as clear_session
from ..common import seeds
from ..common.arrays import Array, quiet
from ..common.names import names_of
from ..common.validate import as_array, integer

__getattr__ = names_of(__name__)


@quiet
def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """Return class numbers x (N,), (N, 1) or (...) as one-hot rows (..., num_classes), float64.

    `num_classes` None is the largest class + 1. ValueError for what is no integer, and for a class
    that is negative or too large (Keras counts -1 as the last class).
    """
    labels, where = as_array(x, "to_categorical: x"), "to_categorical: x"
    if labels.dtype.kind not in "buif" or not labels.size or (labels % 1 != 0).any():
        raise ValueError(f"{where}: {labels.dtype} {labels.shape}, expected class numbers")
    K = int(labels.max()) + 1 if num_classes is None else num_classes
    K = integer(K, "to_categorical: num_classes")
    if (bad := (labels < 0) | (labels >= K)).any():
        raise ValueError(f"{where} has {labels[bad][0]}, expected classes from 0 to {K - 1}")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    return (labels[..., np.newaxis] == np.arange(K)).astype(np.float64)


def normalize(x: Any, axis: int = -1, order: float = 2) -> Array:
    """Return x (...) divided by its norm of this order along `axis`; zeros stay zeros."""
    array = as_array(x, "normalize: x")
    try:
        norm = np.linalg.norm(array, order, axis, keepdims=True)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"normalize: x, axis={axis!r:.80}, order={order!r:.80}: {error}") from None
    return array / np.where(norm == 0, 1, norm)


def set_random_seed(seed: int) -> None:
    """Seed Python's and NumPy's global generators, and models that are made without a `seed`."""
    seed = integer(seed, "set_random_seed: seed", 0, bits=32)
    random.seed(seed)
    np.random.seed(seed)
    seeds.default = seed


def plot_model(model: Any, to_file: str | PathLike[str] = "model.png", **options: Any) -> Any:
    """Draw the network as `model.plot(to_file)` does; Keras's `options` have no effect."""
    return model.plot(to_file)


class PyDataset:
    """Base class of batches for `fit`: define `__len__` and `__getitem__(index)` -> (x, y)."""

    def __init__(self, **options: Any) -> None:
        """Take Keras's workers, use_multiprocessing and max_queue_size, which have no effect."""

    def on_epoch_end(self) -> None:
        """After each epoch."""


Sequence = PyDataset  # its name before Keras 3
