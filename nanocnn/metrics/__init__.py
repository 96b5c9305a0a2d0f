"""Metrics: functions of (y_true, y_pred), both (N, ...), or classes by Keras's names.

The functions return a value per sample (N,), of which `fit` and `evaluate` report the mean; those
for classes take one-hot rows (N,K) or class numbers (N,). A function of one's own may return values
(N,), several per sample (N, ...), which are averaged, or one number for the batch, which counts for
each of its samples. Model files cannot store custom metrics; copies and pickles keep them.
Source: keras/src/metrics/accuracy_metrics.py.
"""

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.config import Configured, deserialize
from ..common.errors import ShapeError, unknown
from ..common.validate import (
    float_type,
    integer,
    number,
    numbers,
    printable_name,
    refuse_where,
)
from ..losses import mean_absolute_error, mean_squared_error
from ..losses.base import sample_weights
from ..losses.function_loss import function_name, sample_values
from .report import classification_report, confusion_matrix

mse, mae = mean_squared_error, mean_absolute_error


def accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """1 where the argmax of the prediction equals that of the target, else 0.

    For a single output: 1 where y_pred > `threshold` equals y_true > 0.5. For logits pass 0,
    which is a probability of 0.5; `fit` and `evaluate` choose the threshold by the loss.
    """
    y_true, y_pred = _dense(y_true, y_pred)
    if y_pred.shape[-1] == 1:
        return ((y_pred > threshold) == (y_true > 0.5))[..., 0].astype(np.float64)
    return (y_pred.argmax(axis=-1) == y_true.argmax(axis=-1)).astype(np.float64)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """`accuracy`, by Keras's name for one-hot labels (N,K)."""
    return accuracy(y_true, y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """`accuracy`, by Keras's name for class numbers (N,)."""
    return accuracy(y_true, y_pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """The fraction of a sample's outputs where y_pred > `threshold` equals y_true > 0.5.

    The threshold is compared with what the model predicts: for logits it is 0.
    """
    y_true, y_pred = _dense(y_true, y_pred)
    threshold = number(threshold, "threshold")
    return ((y_pred > threshold) == (y_true > 0.5)).reshape(len(y_pred), -1).mean(axis=1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where the true class is among the k largest predictions; ties count as hits (Keras)."""
    y_true, y_pred = _dense(y_true, y_pred)
    k = integer(k, "k")
    true = np.take_along_axis(y_pred, y_true.argmax(axis=-1)[..., None], axis=-1)
    return ((y_pred > true).sum(axis=-1) < k).astype(np.float64)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """`top_k_categorical_accuracy`, by Keras's name for class numbers (N,)."""
    return top_k_categorical_accuracy(y_true, y_pred, k)


def _dense(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return both as numbers (N, ..., K); class numbers (N, ...) become one-hot rows, (N,) columns.

    ShapeError unless the shapes fit, ValueError for a class that is none of the K.
    """
    given, pred = numbers(y_true, "y_true"), numbers(y_pred, "y_pred")
    pred = pred[:, None] if pred.ndim == 1 else pred  # samples of one output
    true = given[..., None] if given.ndim == pred.ndim - 1 else given
    if pred.ndim < 2 or not pred.size or true.shape not in (pred.shape, (*pred.shape[:-1], 1)):
        raise ShapeError(
            f"y_true and y_pred: shapes {given.shape} and {pred.shape}, expected (N, K), or for "
            "class numbers (N,) and (N, K)"
        )
    if true.shape == pred.shape:
        return true, pred
    rows, K = true == np.arange(pred.shape[-1]), pred.shape[-1]
    refuse_where(~rows.any(axis=-1), true[..., 0], "y_true", f"a class from 0 to {K - 1}")
    return rows, pred


class Metric(Configured):
    """Base class: a ratio of two sums over all samples.

    `fit` and `evaluate` add the `sums` of all batches and report their ratio as `name`, which is
    the class's in snake case by default. By itself `update_state` adds a batch, `result` is the
    ratio for all batches since `reset_state`, 0 before the first. y_true and y_pred are (N, ...),
    sample_weight (N,) or a number. Results are float64: `dtype` is Keras's, without influence.
    ValueError for anything else. Source: keras/src/metrics/metric.py.
    """

    _total: Array

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        kind = type(self).__name__
        name = _snake_case(kind) if name is None else name
        self.name = printable_name(name, f"{kind}: name")
        self.dtype = None if dtype is None else float_type(dtype).name
        self.reset_state()

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """Return the numerator and the denominator for a batch, (2,)."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        self._total = self._total + self.sums(y_true, y_pred, sample_weight)

    def result(self) -> float:
        """Return the ratio for all batches."""
        return ratio(*self._total.tolist())

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = np.zeros(2)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Add a batch and return the result so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class MeanMetric(Metric):
    """Base class: the mean of `function` over all samples. Arguments as for `Metric`."""

    function: Callable[..., Any]
    options: tuple[str, ...] = ()  # attributes that are arguments of the function

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        options = {name: getattr(self, name) for name in self.options}
        values = self.function(y_true, y_pred, **options)
        values = sample_values(values, len(y_pred), f"metric {self.name!r}", one_for_all=True)
        weight = sample_weights(sample_weight, len(values))
        return np.array([(values * weight).sum(), weight.sum()])


class CategoricalAccuracy(MeanMetric):
    """How often the largest prediction is that of the true class, for one-hot labels (N,K)."""

    function = staticmethod(accuracy)


class SparseCategoricalAccuracy(CategoricalAccuracy):
    """How often the largest prediction is that of the true class, for class numbers (N,)."""


class BinaryAccuracy(MeanMetric):
    """The fraction of outputs where y_pred > `threshold` equals y_true > 0.5; 0 for logits."""

    function, options = staticmethod(binary_accuracy), ("threshold",)

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        self.threshold = number(threshold, "BinaryAccuracy: threshold")


class TopKCategoricalAccuracy(MeanMetric):
    """How often the true class is among the k largest predictions, for one-hot labels (N,K)."""

    function, options = staticmethod(top_k_categorical_accuracy), ("k",)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.k = integer(k, f"{type(self).__name__}: k")


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """How often the true class is among the k largest predictions, for class numbers (N,)."""


class MeanSquaredError(MeanMetric):
    """The mean of (y_pred - y_true)^2."""

    function = staticmethod(mean_squared_error)


class MeanAbsoluteError(MeanMetric):
    """The mean of |y_pred - y_true|."""

    function = staticmethod(mean_absolute_error)


class Precision(Metric):
    """The fraction of the positive predictions that are true.

    A prediction is positive if it is above `thresholds`, a number from 0 to 1 (None is 0.5), a
    label above 0.5. `top_k`: only the k largest outputs of a sample are positive, whatever they are
    if `thresholds` is None. `class_id`: only this class counts; None counts all outputs of all
    samples alike. Source: keras/src/metrics/confusion_metrics.py.
    """

    def __init__(
        self,
        thresholds: float | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        kind = type(self).__name__
        self.thresholds = None if thresholds is None else number(
            thresholds, f"{kind}: thresholds", lambda t: 0 <= t <= 1, "from 0 to 1"
        )  # fmt: skip
        self.top_k = None if top_k is None else integer(top_k, f"{kind}: top_k")
        self.class_id = None if class_id is None else integer(class_id, f"{kind}: class_id", 0)

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        true, pred = numbers(y_true, "y_true"), numbers(y_pred, "y_pred")
        if pred.ndim == 1 and self.top_k is not None:  # as Keras has it, the outputs of one sample
            true, pred = true[None], pred[None]
        true, pred = _dense(true, pred)
        true, threshold = true > 0.5, self.thresholds
        if self.top_k is not None:
            threshold = -np.inf if threshold is None else threshold
            order = np.argsort(-pred, axis=-1, kind="stable")
            pred = pred.astype(np.float64)
            np.put_along_axis(pred, order[..., self.top_k :], -np.inf, axis=-1)
        positive = pred > (0.5 if threshold is None else threshold)
        if self.class_id is not None:
            if self.class_id >= pred.shape[-1]:
                raise ValueError(f"class_id={self.class_id}, expected one of {pred.shape[-1]}")
            true, positive = true[..., self.class_id], positive[..., self.class_id]
        weight = sample_weights(sample_weight, len(pred)).reshape(-1, *[1] * (true.ndim - 1))
        whole = self._whole(true, positive)
        return np.array([((true & positive) * weight).sum(), (whole * weight).sum()])

    def _whole(self, true: Array, positive: Array) -> Array:
        """Of what the true positives are a fraction."""
        return positive


class Recall(Precision):
    """The fraction of the positive labels that are found. Arguments as for `Precision`."""

    def _whole(self, true: Array, positive: Array) -> Array:
        return true


class FunctionMetric(MeanMetric):
    """The mean of a function of one's own."""

    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        super().__init__(function_name(function, "metric"))


def ratio(part: float, whole: float) -> float:
    """part / whole, 0 if there is no whole."""
    return part / whole if whole else 0.0


def _snake_case(name: str) -> str:
    """The name of a class as a word: top_k_categorical_accuracy."""
    return re.sub(r"\B(?=[A-Z])", "_", name).lower()


CLASSES: dict[str, type[Metric]] = {
    kind.__name__: kind
    for kind in (
        BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy, Precision, Recall, MeanSquaredError, MeanAbsoluteError,
    )
}  # fmt: skip
METRICS: dict[str, type[Metric]] = {
    **CLASSES, **{_snake_case(name): kind for name, kind in CLASSES.items()},
    **dict.fromkeys(("accuracy", "acc", "Accuracy"), CategoricalAccuracy),
    **dict.fromkeys(("mse", "MSE"), MeanSquaredError),
    **dict.fromkeys(("mae", "MAE"), MeanAbsoluteError),
}  # fmt: skip
RESERVED = ("loss", "epoch", "learning_rate")  # other keys of the logs


def get_metrics(specs: Any) -> dict[str, Metric]:
    """Return metrics by their names in the history.

    `specs`: a word, a `Metric`, a function or a {"class_name", "config"}, or a list of them. The
    name is the word that is given, a metric's `name`, or a function's `__name__`; a second one of
    that name, such as another lambda, is numbered "_1". Raises ValueError for an unknown name, for
    one given twice, for a function that does not take (y_true, y_pred), and for the name of another
    key of the logs.
    """
    found: dict[str, Metric] = {}
    specs = [specs] if isinstance(specs, str) or callable(specs) else specs
    specs = [] if specs is None else specs
    if not isinstance(specs, (list, tuple)):
        raise ValueError(f"metrics={specs!r:.80}, expected a list of names or functions")
    for i, spec in enumerate(specs):
        metric = _metric(spec)
        name = metric.name
        if name in found:
            if isinstance(spec, str) or any(spec is other for other in specs[:i]):
                raise ValueError(f"metrics: {name!r} is given twice")
            name = next(f"{name}_{i}" for i in count(1) if f"{name}_{i}" not in found)
        found[name] = metric
    return found


def _metric(spec: Any) -> Metric:
    """The metric that `spec` means."""
    if isinstance(spec, str) and spec in METRICS:
        return METRICS[spec](name=spec)
    if isinstance(spec, dict):
        spec = deserialize("metric", spec, CLASSES)
    if not callable(spec):
        raise unknown("metric", spec, METRICS)
    if not isinstance(spec, Metric):
        spec = FunctionMetric(spec)
    name = spec.name
    if name in RESERVED or name.startswith("val_"):
        raise ValueError(f"metric {name!r}: expected another name, this key of the logs is taken")
    if type(spec) is FunctionMetric and globals().get(name) is spec.function:
        return METRICS[name](name=name)  # one of Keras's functions
    return spec


__all__ = [
    "METRICS", "BinaryAccuracy", "CategoricalAccuracy", "MeanAbsoluteError", "MeanSquaredError",
    "Metric", "Precision", "Recall", "SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy", "accuracy", "binary_accuracy", "categorical_accuracy",
    "classification_report", "confusion_matrix", "get_metrics", "mae", "mean_absolute_error",
    "mean_squared_error", "mse", "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
]  # fmt: skip
