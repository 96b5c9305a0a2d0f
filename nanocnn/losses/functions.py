"""Losses as functions of (y_true, y_pred) that return the loss of each sample (N,).

Those that Keras has, and `FunctionLoss`, which makes a loss of a function of one's own.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import accepts, as_array
from ..kernels.memory import Memory
from .base import Loss
from .crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from .regression import MeanAbsoluteError, MeanSquaredError

STEP = 6e-6  # of the differences, relative: about the cube root of float64's epsilon
SMALLEST = 1e-3  # a prediction nearer to 0 is changed as if it were this


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


class FunctionLoss(Loss):
    """A loss that is a function of one's own: function(y_true, y_pred), both float64 (N, ...).

    It returns the losses (N,), or several a sample (N, ...), which are averaged, as in Keras; or a
    tuple (losses, gradient), gradient (N, ...) being that of each sample's loss with respect to its
    prediction. Without it the gradient is taken by central differences: two more calls for each
    output of the model in every training step, to about ten digits. The loss of a sample must
    depend on that sample alone. Model files cannot store the function.
    ShapeError for a result of another shape, NonFiniteError for a gradient that is not finite.
    """

    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        self._where = f"loss {getattr(function, '__name__', type(function).__name__)!r}"
        if isinstance(function, type) or not accepts(function, None, None):
            raise ValueError(f"{self._where}: expected a function of (y_true, y_pred)")

    def get_config(self) -> dict[str, Any]:
        raise TypeError(
            f"{self._where}: model files cannot store a function; save the weights with "
            "numpy.savez(path, *model.get_weights())"
        )

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        y_true, y_pred = target.astype(np.float64), prediction.astype(np.float64)
        losses, gradient = self._call(y_true, y_pred)
        memory.save(self, y_true, y_pred, gradient, prediction.dtype)
        return losses.astype(prediction.dtype), prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        y_true, y_pred, gradient, dtype = memory.saved(self)
        if gradient is None:
            gradient = self._differences(y_true, y_pred)
        if not np.isfinite(gradient).all():
            raise NonFiniteError(
                f"{self._where}: its gradient is NaN or infinite; keep y_pred from where it is "
                "not defined, such as np.clip(y_pred, 1e-7, 1)"
            )
        dx: Array = (gradient * weight.reshape(-1, *[1] * (y_pred.ndim - 1))).astype(dtype)
        return dx

    def _differences(self, y_true: Array, y_pred: Array) -> Array:
        """The gradient of each sample's loss, an output unit after the other."""
        gradient, step = np.empty_like(y_pred), STEP * np.maximum(np.abs(y_pred), SMALLEST)
        for unit in np.ndindex(y_pred.shape[1:]):
            at = (slice(None), *unit)
            above, below = y_pred.copy(), y_pred.copy()
            above[at] += step[at]
            below[at] -= step[at]
            rise = self._call(y_true, above)[0] - self._call(y_true, below)[0]
            gradient[at] = rise / (above[at] - below[at])
        return gradient

    def _call(self, y_true: Array, y_pred: Array) -> tuple[Array, Array | None]:
        """The losses (N,), and their gradient if the function returned it."""
        result, n = self.function(y_true.copy(), y_pred.copy()), len(y_pred)
        values = result if isinstance(result, tuple) and len(result) == 2 else (result,)
        losses, *gradient = (as_array(each, self._where) for each in values)
        if any(each.dtype.kind not in "buif" for each in (losses, *gradient)):
            raise ValueError(f"{self._where} returned {result!r:.80}, expected numbers")
        if losses.shape[:1] != (n,) or not losses.size:
            raise ShapeError(
                f"{self._where} returned shape {losses.shape} for {n} samples, expected ({n},): "
                "a loss for each, such as np.mean(..., axis=-1)"
            )
        if gradient and gradient[0].shape != y_pred.shape:
            raise ShapeError(
                f"{self._where} returned a gradient of shape {gradient[0].shape}, expected that "
                f"of y_pred: {y_pred.shape}"
            )
        losses = losses.reshape(n, -1).mean(axis=1, dtype=np.float64)
        return losses, gradient[0] if gradient else None

    def _hint(self) -> str:
        return f"; {self._where} gets class numbers as one-hot rows, np.eye(classes)[y]"
