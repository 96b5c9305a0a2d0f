"""Functions of one's own, (y_true, y_pred) -> a value of each sample (N,), as losses."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import accepts, as_array
from ..kernels.memory import Memory
from .base import Loss

STEP = 6e-6  # of the differences, relative: about the cube root of float64's epsilon
SMALLEST = 1e-3  # a prediction nearer to 0 is changed as if it were this


class FunctionLoss(Loss):
    """A loss that is a function of one's own: function(y_true, y_pred), both float64 (N, ...).

    It returns the losses (N,), or several a sample (N, ...), which are averaged, as in Keras. The
    gradient is taken by central differences, to about ten digits: two more calls for each output of
    the model in every training step; for a formula derive a class from `Loss`. The loss of a sample
    must depend on that sample alone. Model files cannot store the function.
    ShapeError for a result of another shape, NonFiniteError for a gradient that is not finite.
    """

    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        self._where = f"loss {function_name(function, 'loss')!r}"
        self.hint = f"; {self._where} gets class numbers as one-hot rows, np.eye(classes)[y]"

    def get_config(self) -> dict[str, Any]:
        raise TypeError(
            f"{self._where}: model files cannot store a function; save the weights with "
            "numpy.savez(path, *model.get_weights())"
        )

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        y_true, y_pred = target.astype(np.float64), prediction.astype(np.float64)
        memory.save(self, y_true, y_pred, prediction.dtype)
        return self._losses(y_true, y_pred).astype(prediction.dtype), prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        y_true, y_pred, dtype = memory.saved(self)
        gradient, step = np.empty_like(y_pred), STEP * np.maximum(np.abs(y_pred), SMALLEST)
        for unit in np.ndindex(y_pred.shape[1:]):
            at = (slice(None), *unit)
            above, below = y_pred.copy(), y_pred.copy()
            above[at] += step[at]
            below[at] -= step[at]
            rise = self._losses(y_true, above) - self._losses(y_true, below)
            gradient[at] = rise / (above[at] - below[at]) * weight
        if not np.isfinite(gradient).all():
            raise NonFiniteError(
                f"{self._where}: its gradient is NaN or infinite; keep y_pred from where it is "
                "not defined, such as np.clip(y_pred, 1e-7, 1)"
            )
        return gradient.astype(dtype)

    def _losses(self, y_true: Array, y_pred: Array) -> Array:
        result = self.function(y_true.copy(), y_pred.copy())  # it may change them
        return sample_values(result, len(y_pred), self._where)


def function_name(function: Any, what: str) -> str:
    """The name of a function of one's own; ValueError unless it takes (y_true, y_pred)."""
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    name = str(getattr(inner, "__name__", type(inner).__name__))
    if isinstance(inner, type) or not accepts(function, None, None):
        raise ValueError(f"{what} {name!r}: expected a function of (y_true, y_pred)")
    return name


def sample_values(result: Any, n: int, where: str, one_for_all: bool = False) -> Array:
    """What a function returned for n samples as their values (n,), each the mean of its elements.

    `one_for_all`: one number counts for each of the samples. ValueError for anything else.
    """
    values = as_array(result, where)
    if values.dtype.kind not in "buif":
        raise ValueError(f"{where} returned {result!r:.80}, expected numbers")
    if one_for_all and values.ndim == 0:
        values = np.repeat(values, n)
    if values.shape[:1] != (n,) or not values.size:
        raise ShapeError(
            f"{where} returned shape {values.shape} for {n} samples, expected ({n},): "
            "a value for each, such as np.mean(..., axis=-1)"
        )
    return values.reshape(n, -1).mean(axis=1, dtype=np.float64)
