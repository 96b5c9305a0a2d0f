"""Metrics: functions of (y_true, y_pred), both (N, ...), or classes by Keras's names.

`fit` and `evaluate` report a function's mean over the samples. A custom function may return values
(N,), several per sample (N, ...), which are averaged, or one number for the batch, which counts for
each of its samples. Model files cannot store custom metrics; copies and pickles keep them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

from ..common.arrays import Array
from ..common.config import deserialize, serialize
from ..common.errors import unknown, warn
from ..common.validate import accepts
from ..losses import mean_absolute_error, mean_squared_error
from .metric import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    Precision,
    Recall,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    ratio,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .report import classification_report, confusion_matrix

AnyMetric = Metric | Callable[[Array, Array], Any]
FUNCTIONS = (
    accuracy, binary_accuracy, categorical_accuracy, sparse_categorical_accuracy,
    top_k_categorical_accuracy, sparse_top_k_categorical_accuracy, mean_squared_error,
    mean_absolute_error,
)  # fmt: skip
# Those that a kernel counts, by id: a custom metric may compare or hash in any way.
COUNTED = {id(each) for each in (accuracy, categorical_accuracy, sparse_categorical_accuracy)}
CLASSES: dict[str, type[Metric]] = {
    kind.__name__: kind
    for kind in (
        Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy,
        TopKCategoricalAccuracy, SparseTopKCategoricalAccuracy, Precision, Recall,
        MeanSquaredError, MeanAbsoluteError,
    )
}  # fmt: skip
mse, mae = mean_squared_error, mean_absolute_error
METRICS: dict[str, Any] = {
    **CLASSES, **{function.__name__: function for function in FUNCTIONS},
    "acc": accuracy, "Accuracy": accuracy, "mse": mse, "MSE": mse, "mae": mae, "MAE": mae,
    "precision": Precision, "recall": Recall,
}  # fmt: skip
RESERVED = ("loss", "epoch", "learning_rate")  # other keys of the logs


def get_metrics(
    specs: str | AnyMetric | Sequence[str | AnyMetric | dict[str, Any]] | None,
) -> dict[str, AnyMetric]:
    """Return metrics by their names in the history.

    The name is the word that is given, a metric's `name`, or a function's `__name__`; a second one
    of that name, such as another lambda, is numbered "_1". Raises ValueError for an unknown name,
    for one given twice, for a function that does not take (y_true, y_pred), for a metric of several
    numbers, and for the name of another key of the logs.
    """
    found: dict[str, AnyMetric] = {}
    specs = [specs] if isinstance(specs, str) or callable(specs) else specs
    specs = [] if specs is None else specs
    if not isinstance(specs, (list, tuple)):
        raise ValueError(f"metrics={specs!r:.80}, expected a list of names or functions")
    for spec in specs:
        name, metric = _named(spec)
        if name in found:
            if found[name] is metric:
                raise ValueError(f"metrics: {name!r} is given twice")
            name = next(f"{name}_{i}" for i in count(1) if f"{name}_{i}" not in found)
        found[name] = metric
    return found


def _named(spec: Any) -> tuple[str, AnyMetric]:
    """The name and the metric that `spec` means."""
    if isinstance(spec, str) and spec in METRICS:
        metric = METRICS[spec]
        return spec, metric(name=spec) if isinstance(metric, type) else metric
    if isinstance(spec, dict):
        spec = deserialize("metric", spec, CLASSES)
    if not callable(spec):
        raise unknown("metric", spec, METRICS)
    name = spec.name if isinstance(spec, Metric) else _function_name(spec)
    if name in RESERVED or name.startswith("val_"):
        raise ValueError(f"metric {name!r}: expected another name, this key of the logs is taken")
    if isinstance(spec, Metric) and spec.size > 2:
        raise ValueError(f"metric {name!r}: several thresholds, expected one number for the logs")
    return name, spec


def _function_name(metric: Any) -> str:
    function = metric
    while isinstance(function, partial):
        function = function.func
    name = str(getattr(function, "__name__", type(function).__name__))
    if isinstance(function, type) or not accepts(metric, None, None):
        raise ValueError(f"metric {name!r}: expected a function of (y_true, y_pred)")
    return name


def custom_metrics(metrics: Mapping[str, AnyMetric]) -> dict[str, AnyMetric]:
    """Return the custom metrics, which files cannot store."""
    return {
        name: metric for name, metric in metrics.items()
        if type(metric) not in CLASSES.values() and id(metric) not in map(id, FUNCTIONS)
    }  # fmt: skip


def metric_configs(metrics: Mapping[str, AnyMetric]) -> list[Any]:
    """Return the others as `get_metrics` takes them: names, and objects as configs."""
    stored = [name for name in metrics if name not in custom_metrics(metrics)]
    return [serialize(m) if isinstance(m := metrics[n], Metric) else n for n in stored]


def warn_not_stored(names: Collection[str], warned: set[str], what: str) -> None:
    """Warn once of each metric that `what` cannot store; `warned` collects their names."""
    if new := sorted(set(names) - warned):
        warned.update(new)
        warn(f"{what} cannot store the metric {', '.join(new)}: compile the loaded model with it")


def sizes(metrics: Mapping[str, AnyMetric]) -> list[int]:
    """The number of sums of each metric; of a function that of its values, and of the samples."""
    return [each.size if isinstance(each, Metric) else 2 for each in metrics.values()]


class Means:
    """The loss and the metrics over all batches so far, weighted by the number of samples."""

    def __init__(self, metrics: Mapping[str, AnyMetric]) -> None:
        self.count, self.loss = 0, 0.0
        self.sizes = dict(zip(metrics, sizes(metrics), strict=True))
        self.sums = [0.0] * sum(self.sizes.values())

    def add(self, samples: int, loss: float, sums: Sequence[float]) -> None:
        """Add a batch: how many samples it has, their mean loss, and what `measure` returned."""
        self.count += samples
        self.loss += loss * samples
        for i, value in enumerate(sums):
            self.sums[i] += value

    def result(self) -> dict[str, float]:
        """Return the means and ratios so far."""
        found, sums = {"loss": self.loss / self.count}, iter(self.sums)
        for name, size in self.sizes.items():
            found[name] = ratio([next(sums) for _ in range(size)])
        return found


__all__ = [
    "METRICS", "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "MeanAbsoluteError",
    "MeanSquaredError", "Means", "Metric", "Precision", "Recall", "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy", "TopKCategoricalAccuracy", "accuracy", "binary_accuracy",
    "categorical_accuracy", "classification_report", "confusion_matrix", "custom_metrics",
    "get_metrics", "mae", "mean_absolute_error", "mean_squared_error", "mse",
    "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy", "warn_not_stored",
]  # fmt: skip
