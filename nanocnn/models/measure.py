"""What the metrics say of a batch and of an epoch, and which of them files can store."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.config import serialize
from ..common.errors import NonFiniteError, warn
from ..metrics import (
    CLASSES,
    METRICS,
    CategoricalAccuracy,
    MeanMetric,
    Metric,
    SparseCategoricalAccuracy,
    ratio,
)


def is_counted(metric: Metric) -> bool:
    """Whether a kernel counts it."""
    return type(metric) in (CategoricalAccuracy, SparseCategoricalAccuracy)


def measure(
    metrics: Mapping[str, Metric], target: Array, prediction: Array, correct: float
) -> list[float]:
    """Return the numerator and the denominator of each metric for a batch, one after the other.

    `correct`: how many are right, for the metrics that a kernel counts. `NonFiniteError` for a
    metric with another result than two finite numbers.
    """
    sums: list[float] = []
    for name, metric in metrics.items():
        if is_counted(metric):
            sums += correct, len(target)
            continue
        arrays = target, prediction
        if not is_builtin(metric):  # it may keep them, and the next batch overwrites them
            arrays = target.copy(), prediction.copy()
        pair = np.asarray(metric.sums(*arrays), np.float64)
        if pair.shape != (2,) or not np.isfinite(pair).all():
            raise NonFiniteError(f"metric {name!r}: sums {pair}, expected two finite numbers")
        sums += pair.tolist()
    return sums


class Means:
    """The loss and the metrics over all batches so far, weighted by the number of samples."""

    def __init__(self, metrics: Collection[str]) -> None:
        self.count, self.loss = 0, 0.0
        self.names, self.sums = list(metrics), [0.0] * 2 * len(metrics)

    def add(self, samples: int, loss: float, sums: Sequence[float]) -> None:
        """Add a batch: how many samples it has, their mean loss, and what `measure` returned."""
        self.count += samples
        self.loss += loss * samples
        self.sums = [total + value for total, value in zip(self.sums, sums, strict=True)]

    def result(self) -> dict[str, float]:
        """Return the means and ratios so far."""
        ratios = map(ratio, self.sums[::2], self.sums[1::2])
        return {"loss": self.loss / self.count, **dict(zip(self.names, ratios, strict=True))}


def is_builtin(metric: Metric) -> bool:
    """Whether the metric is of a class above, which files can store."""
    return type(metric) in CLASSES.values()


def custom_metrics(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the names of the custom metrics, which files cannot store."""
    return [name for name, metric in metrics.items() if not is_builtin(metric)]


def metric_configs(metrics: Mapping[str, Metric]) -> list[Any]:
    """Return the others as `get_metrics` takes them: words, and objects as configs."""
    return [
        name if _is_word(name, metric) else serialize(metric)
        for name, metric in metrics.items() if is_builtin(metric)
    ]  # fmt: skip


def _is_word(name: str, metric: Metric) -> bool:
    """Whether `name` alone means `metric`, in every version of Keras."""
    kind = METRICS.get(name, Metric)
    plain = issubclass(kind, MeanMetric) and type(metric) is kind
    return plain and metric.get_config() == kind(name=name).get_config()


def warn_not_stored(names: Collection[str], warned: set[str], what: str) -> None:
    """Warn once of each metric that `what` cannot store; `warned` collects their names."""
    if new := sorted(set(names) - warned):
        warned.update(new)
        warn(f"{what} cannot store the metric {', '.join(new)}: compile the loaded model with it")
