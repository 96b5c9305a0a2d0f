"""Metrics as classes by Keras's names: what they measure is a ratio of sums over all samples."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.config import Configured
from ..common.errors import ShapeError
from ..common.validate import as_array, float_type, integer, number, printable_name
from ..losses import mean_absolute_error, mean_squared_error
from .functions import (
    accuracy,
    binary_accuracy,
    dense,
    top_k_categorical_accuracy,
)


class Metric(Configured):
    """Base class: `sums` of a batch (size,), which are added up, and `ratio`, their result.

    `fit` and `evaluate` report the ratio of the sums over all batches, under the metric's `name`.
    By itself `update_state` adds a batch, `result` is that of all batches since `reset_state`.
    y_true and y_pred are (N, ...), sample_weight is a number or (N,). `dtype` is Keras's and
    without influence: results are float64. Source: keras/src/metrics/metric.py.
    """

    size = 2
    _total: Array

    def __init__(self, name: str, dtype: Any = None) -> None:
        self.name = printable_name(name, f"{type(self).__name__}: name")
        self.dtype = None if dtype is None else float_type(dtype).name
        self.reset_state()

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """Return the sums (size,) of a batch, float64."""
        raise NotImplementedError

    def ratio(self, sums: Array) -> Any:
        """Return the result for these sums (size,): a number."""
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        self._total = self._total + self.sums(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        """Return the result for all batches since `reset_state`; 0 before the first."""
        return self.ratio(self._total)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = np.zeros(self.size)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Add a batch and return the result so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class MeanMetric(Metric):
    """Base class: the mean of a function over all samples."""

    function: Callable[..., Array]
    options: tuple[str, ...] = ()  # the attributes that are arguments of the function

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        options = {name: getattr(self, name) for name in self.options}
        values = type(self).function(y_true, y_pred, **options)
        values = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
        weight = _weights(sample_weight, len(values))
        return np.array([(values * weight).sum(), weight.sum()])


class Accuracy(MeanMetric):
    """How often y_pred equals y_true exactly, for class numbers of the same shape.

    For the probabilities of classes use `CategoricalAccuracy` or the name "accuracy".
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    @staticmethod
    def function(y_true: Any, y_pred: Any) -> Array:
        """1 where they are equal, else 0."""
        true, pred = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
        if true.shape != pred.shape and true.size == pred.size:  # (N,) and (N,1)
            true, pred = true.reshape(-1), pred.reshape(-1)
        if true.shape != pred.shape or not true.ndim or not true.size:
            raise ShapeError(
                f"y_true and y_pred: shapes {true.shape} and {pred.shape}, expected (N, ...)"
            )
        return np.asarray(true == pred)


class BinaryAccuracy(MeanMetric):
    """The fraction of outputs where y_pred > `threshold` equals y_true > 0.5; 0 for logits."""

    function, options = staticmethod(binary_accuracy), ("threshold",)

    def __init__(
        self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype)
        self.threshold = number(threshold, "BinaryAccuracy: threshold")


class CategoricalAccuracy(MeanMetric):
    """How often the largest prediction is that of the true class, for one-hot labels (N,K)."""

    function = staticmethod(accuracy)

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class SparseCategoricalAccuracy(MeanMetric):
    """How often the largest prediction is that of the true class, for class numbers (N,)."""

    function = staticmethod(accuracy)

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class TopKCategoricalAccuracy(MeanMetric):
    """How often the true class is among the k largest predictions, for one-hot labels (N,K)."""

    function, options = staticmethod(top_k_categorical_accuracy), ("k",)

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(name, dtype)
        self.k = integer(k, f"{type(self).__name__}: k")


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """How often the true class is among the k largest predictions, for class numbers (N,)."""

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(k, name, dtype)


class MeanSquaredError(MeanMetric):
    """The mean of (y_pred - y_true)^2."""

    function = staticmethod(mean_squared_error)

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class MeanAbsoluteError(MeanMetric):
    """The mean of |y_pred - y_true|."""

    function = staticmethod(mean_absolute_error)

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class _Positives(Metric):
    """Base class: true positives, divided by them and others, for each threshold."""

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        kind = type(self).__name__
        each = list(thresholds) if isinstance(thresholds, (list, tuple)) else [thresholds]
        default = 0.5 if top_k is None else -np.inf
        inside = "from 0 to 1"
        self._limits = [default] if thresholds is None else [
            number(limit, f"{kind}: thresholds", lambda limit: 0 <= limit <= 1, inside)
            for limit in each
        ]  # fmt: skip
        if not self._limits:
            raise ValueError(f"{kind}: thresholds=[], expected a number or more")
        self.thresholds = thresholds if thresholds is None else self._limits
        self.top_k = None if top_k is None else integer(top_k, f"{kind}: top_k")
        self.class_id = None if class_id is None else integer(class_id, f"{kind}: class_id", 0)
        self.size = 2 * len(self._limits)
        super().__init__(kind.lower() if name is None else name, dtype)

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        y_true, y_pred = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
        if y_pred.ndim == 1:
            row = (-1, 1) if self.top_k is None else (1, -1)
            y_true, y_pred = y_true.reshape(row), y_pred.reshape(row)
        true, pred = dense(y_true, y_pred)
        true, K = true > 0.5, pred.shape[-1]
        if self.top_k is not None:
            largest = np.argsort(-pred, axis=-1, kind="stable")[..., : self.top_k]
            kept = np.zeros(pred.shape, bool)
            np.put_along_axis(kept, largest, True, axis=-1)
            pred = np.where(kept, pred, -np.inf)
        if self.class_id is not None:
            if self.class_id >= K:
                raise ValueError(
                    f"{type(self).__name__}: class_id={self.class_id}, expected one of {K} classes"
                )
            true, pred = true[..., self.class_id], pred[..., self.class_id]
        weight = _weights(sample_weight, len(pred)).reshape(-1, *[1] * (pred.ndim - 1))
        pairs = [(true & (pred > t), self._others(true, pred > t)) for t in self._limits]
        return np.array([(each * weight).sum() for pair in pairs for each in pair])

    def ratio(self, sums: Array) -> Any:
        hits, others = sums[::2], sums[1::2]
        found = np.divide(hits, hits + others, out=np.zeros(len(hits)), where=hits + others > 0)
        return found if len(found) > 1 else float(found[0])

    def _others(self, true: Array, positive: Array) -> Array:
        raise NotImplementedError


class Precision(_Positives):
    """The fraction of the positive predictions that are true.

    A prediction is positive if it is above the threshold, a label above 0.5. `thresholds`: a number
    or a list of numbers from 0 to 1, which gives an array (not in `compile`); None is 0.5. `top_k`:
    only the k largest outputs of a sample can be positive, and without thresholds all of them are.
    `class_id`: only this class counts; None counts all outputs of all samples alike.
    Source: keras/src/metrics/confusion_metrics.py.
    """

    def _others(self, true: Array, positive: Array) -> Array:
        return positive & ~true


class Recall(_Positives):
    """The fraction of the positive labels that are found. Arguments as for `Precision`."""

    def _others(self, true: Array, positive: Array) -> Array:
        return true & ~positive


def _weights(sample_weight: Any, n: int) -> Array:
    """The weights (n,) of n samples."""
    weight = as_array(1.0 if sample_weight is None else sample_weight, "sample_weight")
    if weight.dtype.kind not in "buif" or weight.shape not in ((), (n,), (n, 1)):
        raise ValueError(
            f"sample_weight: {weight.dtype} of shape {weight.shape}, expected numbers ({n},)"
        )
    return np.broadcast_to(weight.astype(np.float64).reshape(-1), (n,))
