"""Metrics as classes by Keras's names: ratios of sums over all samples."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.config import Configured
from ..common.validate import as_array, float_type, integer, number, printable_name
from ..losses import mean_absolute_error, mean_squared_error
from .functions import accuracy, binary_accuracy, dense, equal, top_k_categorical_accuracy


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
