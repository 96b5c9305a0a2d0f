"""Losses that compare numbers: mean squared and mean absolute error."""

from types import ModuleType

from ..common.arrays import Array
from ..kernels.memory import Memory
from .base import Loss


class _MeanError(Loss):
    """A mean over a sample's elements, by kernels `operation`_forward and _backward."""

    operation = ""

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        memory.save(self, prediction, target)
        losses = getattr(kernels, f"{self.operation}_forward")(
            prediction, target, **memory.out(self, losses=prediction.shape[:1])
        )
        return losses, prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        prediction, target = memory.saved(self)
        out: Array = getattr(kernels, f"{self.operation}_backward")(
            prediction, target, weight, **memory.out(self, dx=prediction.shape)
        )
        return out


class MeanSquaredError(_MeanError):
    """The mean over a sample's elements of (prediction - target)^2, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    operation = "mean_squared_error"


class MeanAbsoluteError(_MeanError):
    """The mean over a sample's elements of |prediction - target|, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    operation = "mean_absolute_error"
