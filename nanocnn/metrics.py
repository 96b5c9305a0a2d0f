"""Metrics: functions of (target, prediction), both (N, ...), that return a value per sample.

`fit` and `evaluate` report the mean over the samples. A custom function may return values (N,),
several per sample (N, ...), which are averaged, or one number for the batch, which counts for each
of its samples. Model files cannot store custom functions; copies and pickles keep them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from .common.arrays import Array
from .common.errors import ShapeError, unknown, warn
from .common.validate import accepts, as_array, integer

Metric = Callable[[Array, Array], Any]


def accuracy(target: Array, prediction: Array, threshold: float = 0.5) -> Array:
    """1 where the argmax of the prediction equals that of the target, else 0.

    For a single output: 1 where prediction > `threshold` equals target > 0.5. For logits pass 0,
    which is a probability of 0.5; `fit` and `evaluate` choose the threshold by the loss.
    """
    target, prediction = _both(target, prediction, 2)
    if prediction.shape[-1] == 1:
        return ((prediction > threshold) == (target > 0.5))[..., 0].astype(np.float64)
    return (prediction.argmax(axis=-1) == target.argmax(axis=-1)).astype(np.float64)


def top_k_categorical_accuracy(target: Array, prediction: Array, k: int = 5) -> Array:
    """1 where the true class is among the k largest predictions; ties count as hits (Keras)."""
    target, prediction = _both(target, prediction, 2)
    k = integer(k, "k")
    true = np.take_along_axis(prediction, target.argmax(axis=-1)[:, None], axis=-1)
    return ((prediction > true).sum(axis=-1) < k).astype(np.float64)


def mean_squared_error(target: Array, prediction: Array) -> Array:
    """The mean of (prediction - target)^2."""
    target, prediction = _both(target, prediction)
    return np.square(prediction - target).reshape(len(target), -1).mean(axis=1)


def mean_absolute_error(target: Array, prediction: Array) -> Array:
    """The mean of |prediction - target|."""
    target, prediction = _both(target, prediction)
    return np.abs(prediction - target).reshape(len(target), -1).mean(axis=1)


def _both(target: Any, prediction: Any, axes: int = 1) -> tuple[Array, Array]:
    """Return numeric arrays of equal shape with at least `axes` axes, or raise ValueError."""
    arrays = as_array(target, "target"), as_array(prediction, "prediction")
    for name, array in zip(("target", "prediction"), arrays, strict=True):
        if array.dtype.kind not in "buif":
            raise ValueError(f"{name}: array of type {array.dtype}, expected numbers")
    if arrays[0].shape != arrays[1].shape or arrays[0].ndim < axes or not arrays[0].size:
        raise ShapeError(
            f"target and prediction: shapes {arrays[0].shape} and {arrays[1].shape}, expected "
            f"equal shapes {'(N, K)' if axes > 1 else '(N, ...)'}"
        )
    return arrays


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


RESERVED = ("loss", "epoch", "learning_rate")  # other keys of the logs


def get_metrics(specs: str | Metric | list[str | Metric] | None) -> dict[str, Metric]:
    """Return metrics by their names in the history.

    A function's name is its `__name__`; a second function of that name, such as another lambda, is
    numbered "_1". Raises ValueError for an unknown name, for one given twice, and for a function
    that does not take (target, prediction) or has the name of another key of the logs.
    """
    found: dict[str, Metric] = {}
    specs = [specs] if isinstance(specs, str) or callable(specs) else specs
    specs = [] if specs is None else specs
    if not isinstance(specs, (list, tuple)):
        raise ValueError(f"metrics={specs!r:.80}, expected a list of names or functions")
    for spec in specs:
        if not callable(spec):
            if not isinstance(spec, str) or spec not in METRICS:
                raise unknown("metric", spec, METRICS)
            name, metric = spec, METRICS[spec]
        else:
            name, metric = _name(spec), spec
        if name in found:
            if found[name] is metric:
                raise ValueError(f"metrics: {name!r} is given twice")
            name = next(f"{name}_{i}" for i in count(1) if f"{name}_{i}" not in found)
        found[name] = metric
    return found


def _name(metric: Any) -> str:
    function = metric
    while isinstance(function, partial):
        function = function.func
    name = str(getattr(function, "__name__", type(function).__name__))
    if isinstance(function, type) or not accepts(metric, None, None):
        raise ValueError(f"metric {name!r}: expected a function of (target, prediction)")
    if name in RESERVED or name.startswith("val_"):
        raise ValueError(f"metric {name!r}: expected another name, this key of the logs is taken")
    return name


def custom_metrics(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """Return the custom metrics, which files cannot store."""
    return {name: metric for name, metric in metrics.items() if METRICS.get(name) is not metric}


def warn_not_stored(names: Collection[str], warned: set[str], what: str) -> None:
    """Warn once of each metric that `what` cannot store; `warned` collects their names."""
    if new := sorted(set(names) - warned):
        warned.update(new)
        warn(f"{what} cannot store the metric {', '.join(new)}: compile the loaded model with it")


class Means:
    """Running means of the loss and the metrics, weighted by the number of samples."""

    def __init__(self, metrics: Iterable[str]) -> None:
        self.count = 0
        self.sums = dict.fromkeys(("loss", *metrics), 0.0)

    def add(self, samples: int, loss: float, sums: Mapping[str, float]) -> None:
        """Add a batch: how many samples it has, their mean loss, and what `measure` returned."""
        self.count += samples
        self.sums["loss"] += loss * samples
        for name, value in sums.items():
            self.sums[name] += value

    def result(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: value / self.count for name, value in self.sums.items()}
