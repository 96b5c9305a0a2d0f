"""Metrics as functions of (y_true, y_pred), both (N, ...), that return a value per sample (N,).

Those for classes take one-hot rows (N,K) or class numbers (N,). Source:
keras/src/metrics/accuracy_metrics.py.
"""

from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.tables import sizes
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
    """The same as `accuracy`, under Keras's name for one-hot labels (N,K)."""
    return accuracy(y_true, y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """The same as `accuracy`, under Keras's name for class numbers (N,)."""
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
    """The same as `top_k_categorical_accuracy`, under Keras's name for class numbers (N,)."""
    return top_k_categorical_accuracy(y_true, y_pred, k)


def dense(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return both as numbers (N, ..., K); class numbers (N, ...) become one-hot rows.

    ShapeError unless the shapes fit, ValueError for a class that is none of the K.
    """
    arrays = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
    for name, array in zip(("y_true", "y_pred"), arrays, strict=True):
        if array.dtype.kind not in "buif":
            raise ValueError(f"{name}: array of type {array.dtype}, expected numbers")
    true, pred = arrays
    if true.ndim == pred.ndim - 1:
        true = true[..., None]
    if pred.ndim < 2 or not pred.size or true.shape not in (pred.shape, (*pred.shape[:-1], 1)):
        raise ShapeError(
            f"y_true and y_pred: shapes ({sizes(arrays[0].shape)}) and ({sizes(pred.shape)}), "
            "expected (N, K), or for class numbers (N,) and (N, K)"
        )
    if true.shape != pred.shape:
        labels, true = true, true == np.arange(pred.shape[-1])
        if len(wrong := np.argwhere(~true.any(axis=-1))):
            raise ValueError(
                f"y_true holds {labels[tuple(wrong[0])][0]}, expected a class from 0 to "
                f"{pred.shape[-1] - 1}"
            )
    return true, pred
