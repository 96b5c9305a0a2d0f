"""Metrics: a function of (target, prediction), both (N, ...), that gives one value a sample.

`fit` and `evaluate` report their mean over the samples. A function of your own works as well.
"""

from collections.abc import Callable

import numpy as np

from .arrays import Array
from .errors import unknown

Metric = Callable[[Array, Array], Array]


def accuracy(target: Array, prediction: Array) -> Array:
    """1 where the largest prediction is the largest target; for one output, where both are > .5."""
    if prediction.shape[-1] == 1:
        return ((prediction > 0.5) == (target > 0.5))[..., 0].astype(np.float64)
    return (prediction.argmax(axis=-1) == target.argmax(axis=-1)).astype(np.float64)


def top_k_categorical_accuracy(target: Array, prediction: Array, k: int = 5) -> Array:
    """1 where the true class is among the k largest predictions; ties count as hits (Keras)."""
    true = np.take_along_axis(prediction, target.argmax(axis=-1)[:, None], axis=-1)
    return ((prediction > true).sum(axis=-1) < k).astype(np.float64)


def mean_squared_error(target: Array, prediction: Array) -> Array:
    """The mean of (prediction - target)^2."""
    return np.square(prediction - target).reshape(len(target), -1).mean(axis=1)


def mean_absolute_error(target: Array, prediction: Array) -> Array:
    """The mean of |prediction - target|."""
    return np.abs(prediction - target).reshape(len(target), -1).mean(axis=1)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "categorical_accuracy": accuracy,
    "sparse_categorical_accuracy": accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy,
    "mean_squared_error": mean_squared_error,
    "mse": mean_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "mae": mean_absolute_error,
}


def get_metrics(specs: str | list[str | Metric] | None) -> dict[str, Metric]:
    """Metrics by the name under which the history keeps them."""
    found: dict[str, Metric] = {}
    specs = [specs] if isinstance(specs, str) else specs or []
    if not isinstance(specs, (list, tuple)):
        raise ValueError(f"metrics={specs!r}, expected a list of names or functions")
    for spec in specs:
        if callable(spec):
            found[getattr(spec, "__name__", repr(spec))] = spec
        elif spec in METRICS:
            found[spec] = METRICS[spec]
        else:
            raise unknown("metric", spec, METRICS)
    return found
