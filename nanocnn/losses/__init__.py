"""Losses, and their gradients with respect to the prediction; names are Keras's.

The functions of (y_true, y_pred) return the loss of each sample (N,).
"""

from collections.abc import Callable
from typing import Any

from ..common.arrays import Array
from ..common.config import deserialize
from .base import Loss, MeanAbsoluteError, MeanSquaredError
from .crossentropy import (
    EPSILON,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Crossentropy,
    SparseCategoricalCrossentropy,
)
from .function_loss import FunctionLoss

LOSSES: dict[str, type[Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
}


def is_builtin(loss: Loss) -> bool:
    """Whether the loss is of a class above, so that kernels compute all of it."""
    return type(loss) in LOSSES.values()


def get_loss(identifier: str | Loss | Callable[[Any, Any], Any] | dict[str, Any]) -> Loss:
    """Return a loss from an instance, a name ("mse"), a function or a {"class_name", "config"}."""
    if isinstance(identifier, Loss):
        return identifier
    if callable(identifier) and not isinstance(identifier, type):
        name = getattr(identifier, "__name__", "")
        known = name in LOSSES and globals().get(name) is identifier
        return LOSSES[name]() if known else FunctionLoss(identifier)
    return deserialize("loss", identifier, LOSSES)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """The losses (N,) of `CategoricalCrossentropy`: y_true one-hot (N,K), y_pred (N,K)."""
    return CategoricalCrossentropy(from_logits, label_smoothing).each(y_true, y_pred)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Array:
    """The losses (N,) of `SparseCategoricalCrossentropy`: y_true (N,) classes, y_pred (N,K)."""
    return SparseCategoricalCrossentropy(from_logits).each(y_true, y_pred)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """The losses (N,) of `BinaryCrossentropy`: y_true and y_pred (N,K), or (N,)."""
    return BinaryCrossentropy(from_logits, label_smoothing).each(y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """The losses (N,) of `MeanSquaredError`: y_true and y_pred (N, ...)."""
    return MeanSquaredError().each(y_true, y_pred)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Array:
    """The losses (N,) of `MeanAbsoluteError`: y_true and y_pred (N, ...)."""
    return MeanAbsoluteError().each(y_true, y_pred)


get, mae, mse = get_loss, mean_absolute_error, mean_squared_error  # keras.losses.get and so on

__all__ = [
    "EPSILON", "LOSSES", "BinaryCrossentropy", "CategoricalCrossentropy", "Crossentropy",
    "FunctionLoss", "Loss", "MeanAbsoluteError", "MeanSquaredError",
    "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy",
    "get_loss", "mae", "mean_absolute_error", "mean_squared_error", "mse",
    "sparse_categorical_crossentropy",
]  # fmt: skip
