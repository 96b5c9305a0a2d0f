"""Metrics as functions of (y_true, y_pred), both (N, ...), that return a value per sample (N,).

Those for classes take one-hot rows (N,K) or class numbers (N,). Source:
keras/src/metrics/accuracy_metrics.py.
"""

from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.validate import as_array, integer, number


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
