"""Losses, and their gradients with respect to the prediction; names are Keras's."""

from collections.abc import Callable
from typing import Any

from ..common.config import deserialize
from .base import Loss, MeanAbsoluteError, MeanSquaredError
from .crossentropy import (
    EPSILON,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Crossentropy,
    SparseCategoricalCrossentropy,
)
from .functions import (
    FunctionLoss,
    binary_crossentropy,
    categorical_crossentropy,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)

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


get, mae, mse = get_loss, mean_absolute_error, mean_squared_error  # keras.losses.get and so on

__all__ = [
    "EPSILON", "LOSSES", "BinaryCrossentropy", "CategoricalCrossentropy", "Crossentropy",
    "FunctionLoss", "Loss", "MeanAbsoluteError", "MeanSquaredError",
    "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get",
    "get_loss", "is_builtin", "mae", "mean_absolute_error", "mean_squared_error", "mse",
    "sparse_categorical_crossentropy",
]  # fmt: skip
