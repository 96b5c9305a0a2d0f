"""Metrics as functions that return a value per sample (N,), and as classes by Keras's names.

The functions take (y_true, y_pred), both (N, ...). Those for classes take one-hot rows (N,K) or
class numbers (N,). Source: keras/src/metrics/accuracy_metrics.py.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.config import Configured
from ..common.errors import ShapeError
from ..common.validate import as_array, float_type, integer, number, printable_name
from ..losses import mean_absolute_error, mean_squared_error


def accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """1 where the argmax of the prediction equals that of the target, else 0.

    For a single output: 1 where y_pred > `threshold` equals y_true > 0.5. For logits pass 0,
    which is a probability of 0.5; `fit` and `evaluate` choose the threshold by the loss.
    """
    y_true, y_pred = dense(y_true, y_pred)
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
    y_true, y_pred = dense(y_true, y_pred)
    threshold = number(threshold, "threshold")
    return ((y_pred > threshold) == (y_true > 0.5)).reshape(len(y_pred), -1).mean(axis=1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where the true class is among the k largest predictions; ties count as hits (Keras)."""
    y_true, y_pred = dense(y_true, y_pred)
    k = integer(k, "k")
    true = np.take_along_axis(y_pred, y_true.argmax(axis=-1)[..., None], axis=-1)
    return ((y_pred > true).sum(axis=-1) < k).astype(np.float64)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """`top_k_categorical_accuracy`, by Keras's name for class numbers (N,)."""
    return top_k_categorical_accuracy(y_true, y_pred, k)


def equal(y_true: Any, y_pred: Any) -> Array:
    """1 where y_pred equals y_true, both (N, ...), else 0."""
    true, pred = _numbers(y_true, "y_true"), _numbers(y_pred, "y_pred")
    if true.shape[:1] == pred.shape[:1] and true.size == pred.size:
        true = true.reshape(pred.shape)  # (N,1) and (N,)
    if true.shape != pred.shape or not pred.ndim or not pred.size:
        raise ShapeError(f"y_true and y_pred: shapes {true.shape} and {pred.shape}, expected equal")
    return (true == pred).reshape(len(pred), -1).mean(axis=1)


def dense(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return both as numbers (N, ..., K); class numbers (N, ...) become one-hot rows, (N,) columns.

    ShapeError unless the shapes fit, ValueError for a class that is none of the K.
    """
    given, pred = _numbers(y_true, "y_true"), _numbers(y_pred, "y_pred")
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
    if not (right := rows.any(axis=-1)).all():
        raise ValueError(f"y_true holds {true[~right][0, 0]}, expected a class from 0 to {K - 1}")
    return rows, pred


def _numbers(y: Any, name: str) -> Array:
    array = as_array(y, name)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name}: array of type {array.dtype}, expected numbers")
    return array


class Metric(Configured):
    """Base class: the mean of `function` over all samples, or another ratio of sums.

    `fit` and `evaluate` add the `sums` of all batches and report the `ratio` of them as `name`,
    which is the class's in snake case by default. By itself `update_state` adds a batch, `result`
    is that of all batches since `reset_state`, 0 before the first. y_true and y_pred are (N, ...),
    sample_weight (N,) or a number. Results are float64: `dtype` is Keras's, without influence.
    ValueError for anything else. Source: keras/src/metrics/metric.py.
    """

    function: Callable[..., Array]
    options: tuple[str, ...] = ()  # attributes that are arguments of the function
    _total: Array
    size = 2  # the number of sums: pairs of a numerator and a denominator

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        kind = type(self).__name__
        name = re.sub(r"\B(?=[A-Z])", "_", kind).lower() if name is None else name
        self.name = printable_name(name, f"{kind}: name")
        self.dtype = None if dtype is None else float_type(dtype).name
        self.reset_state()

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """Return the sums (size,) of a batch."""
        options = {name: getattr(self, name) for name in self.options}
        values = type(self).function(y_true, y_pred, **options)
        weight = _weights(sample_weight, len(values))
        values = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
        return np.array([(values * weight).sum(), weight.sum()])

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        self._total = self._total + self.sums(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        """Return the ratio of the sums of all batches."""
        return ratio(self._total.tolist())

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = np.zeros(self.size)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Add a batch and return the result so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class Accuracy(Metric):
    """How often y_pred equals y_true, both (N, ...): class numbers, not their probabilities."""

    function = staticmethod(equal)


class BinaryAccuracy(Metric):
    """The fraction of outputs where y_pred > `threshold` equals y_true > 0.5; 0 for logits."""

    function, options = staticmethod(binary_accuracy), ("threshold",)

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        self.threshold = number(threshold, "BinaryAccuracy: threshold")


class CategoricalAccuracy(Metric):
    """How often the largest prediction is that of the true class, for one-hot labels (N,K)."""

    function = staticmethod(accuracy)


class SparseCategoricalAccuracy(CategoricalAccuracy):
    """How often the largest prediction is that of the true class, for class numbers (N,)."""


class TopKCategoricalAccuracy(Metric):
    """How often the true class is among the k largest predictions, for one-hot labels (N,K)."""

    function, options = staticmethod(top_k_categorical_accuracy), ("k",)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.k = integer(k, f"{type(self).__name__}: k")


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """How often the true class is among the k largest predictions, for class numbers (N,)."""


class MeanSquaredError(Metric):
    """The mean of (y_pred - y_true)^2."""

    function = staticmethod(mean_squared_error)


class MeanAbsoluteError(Metric):
    """The mean of |y_pred - y_true|."""

    function = staticmethod(mean_absolute_error)


class Precision(Metric):
    """The fraction of the positive predictions that are true.

    A prediction is positive if it is above the threshold, a label above 0.5. `thresholds`: a number
    from 0 to 1, or a list of them for an array (not in `compile`); None is 0.5. `top_k`: only the k
    largest outputs of a sample are positive, whatever they are if `thresholds` is None. `class_id`:
    only this class counts; None counts all outputs of all samples alike.
    Source: keras/src/metrics/confusion_metrics.py.
    """

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        kind, self.thresholds = type(self).__name__, thresholds
        self.top_k = None if top_k is None else integer(top_k, f"{kind}: top_k")
        self.class_id = None if class_id is None else integer(class_id, f"{kind}: class_id", 0)
        self._limits = [0.5 if top_k is None else -np.inf]
        if thresholds is not None:
            several = isinstance(thresholds, (list, tuple)) and len(thresholds) > 0
            self._limits = [
                number(each, f"{kind}: thresholds", lambda each: 0 <= each <= 1, "from 0 to 1")
                for each in (thresholds if several else [thresholds])
            ]
            self.thresholds = self._limits if several else self._limits[0]
        self.size = 2 * len(self._limits)
        super().__init__(name, dtype)

    def sums(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        true, pred = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
        if pred.ndim == 1 and self.top_k is not None:  # as Keras has it, the outputs of one sample
            true, pred = true[None], pred[None]
        true, pred = dense(true, pred)
        true = true > 0.5
        if self.top_k is not None:
            order = np.argsort(-pred, axis=-1, kind="stable")
            pred = pred.astype(np.float64)
            np.put_along_axis(pred, order[..., self.top_k :], -np.inf, axis=-1)
        if self.class_id is not None:
            if self.class_id >= pred.shape[-1]:
                raise ValueError(f"class_id={self.class_id}, expected one of {pred.shape[-1]}")
            true, pred = true[..., self.class_id], pred[..., self.class_id]
        weight = _weights(sample_weight, len(pred)).reshape(-1, *[1] * (pred.ndim - 1))
        pairs = [(true & (pred > t), self._all(true, pred > t)) for t in self._limits]
        return np.array([(each * weight).sum() for pair in pairs for each in pair])

    def _all(self, true: Array, positive: Array) -> Array:
        """Of what the true positives are a fraction."""
        return positive


class Recall(Precision):
    """The fraction of the positive labels that are found. Arguments as for `Precision`."""

    def _all(self, true: Array, positive: Array) -> Array:
        return true


def ratio(sums: Sequence[float]) -> Any:
    """Each numerator divided by the denominator behind it, 0 where that is 0; one is a float."""
    found = [part / whole if whole else 0.0 for part, whole in zip(*[iter(sums)] * 2, strict=True)]
    return found[0] if len(found) == 1 else np.array(found)


def _weights(sample_weight: Any, n: int) -> Array:
    weight = as_array(1.0 if sample_weight is None else sample_weight, "sample_weight")
    if weight.dtype.kind not in "buif" or weight.shape not in ((), (n,), (n, 1)):
        raise ValueError(f"sample_weight: {weight.dtype} {weight.shape}, expected numbers ({n},)")
    return np.broadcast_to(weight.astype(np.float64).reshape(-1), (n,))
