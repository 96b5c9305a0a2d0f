"""The base class of the losses.

`target` converts labels to a dense array of the prediction's shape, `forward` returns one value per
sample, `backward` the gradient of their weighted mean. The mean divides by the number of samples,
not by the sum of weights (Keras's "sum_over_batch_size"). Source: keras/src/losses/losses.py.
"""

from types import ModuleType
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.config import Configured, refuse_unknown
from ..common.errors import NonFiniteError, ShapeError
from ..common.tables import sizes
from ..common.validate import numbers, refuse_where
from ..kernels import reference
from ..kernels.memory import Memory


class Loss(Configured):
    """Base class: a loss of predictions (N, ...) against a target of the same shape.

    `loss(y_true, y_pred)` is the mean over the samples, a float; ValueError for wrong labels.
    Source: keras/src/losses/losses.py.
    """

    operation = ""  # its kernels, without _forward and _backward
    constants: tuple[float, ...] = ()  # arguments of these kernels
    output_activation = ""  # the activation before the loss that can be fused with it
    from_logits = False
    hint = ""  # behind a message that labels have the wrong shape or range

    def __init__(self, **words: Any) -> None:
        """Take Keras's arguments that have only one possible value here, and `name`."""
        refuse_unknown(type(self), words)

    @property
    def threshold(self) -> float:
        """A single output above it is the positive class: 0.5, or 0 for logits."""
        return 0.0 if self.from_logits else 0.5

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        """Return `y` as an array with checked type, shape, range and finiteness, or ValueError."""
        y = numbers(y, where)
        if y.ndim == 1 and output_shape == (1,):
            y = y[:, np.newaxis]  # (N,) against (N,1) would broadcast to (N,N)
        if y.shape[1:] != output_shape:
            raise ShapeError(
                f"{where}: shape {y.shape}, expected (N, {sizes(output_shape)}) for "
                f"{type(self).__name__}{self.hint}"
            )
        refuse_where(~np.isfinite(y), y, where, "finite numbers", NonFiniteError)
        return y

    def target(self, labels: Array, output_shape: tuple[int, ...], dtype: Any) -> Array:
        """Return the dense target (N, *output_shape) for checked labels."""
        out = np.empty((len(labels), *output_shape), dtype)
        everyone = np.arange(len(labels), dtype=np.int64)
        return self.take_target(self.prepared(labels, dtype), everyone, reference, out)

    def prepared(self, labels: Array, dtype: Any) -> Array:
        """Return the checked labels of a data set as `take_target` reads them."""
        return np.ascontiguousarray(labels, dtype)

    def take_target(self, labels: Array, index: Array, kernels: ModuleType, out: Array) -> Array:
        """Write the target of labels[index] to `out` (N, *output_shape), by kernels alone.

        `labels` are `prepared` for the dtype of `out`; index (N,) is int64.
        """
        kernels.take_rows(labels, index, out)
        return out

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        """Return the losses per sample (N,) and the prediction for metrics (probabilities).

        With `logits` it also applies the model's `output_activation`, fused.
        """
        memory.save(self, self.operation, prediction, target, self.constants)
        out = memory.out(self, losses=prediction.shape[:1])
        forward = getattr(kernels, f"{self.operation}_forward")
        return forward(prediction, target, *self.constants, **out), prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        """Return dL/dprediction of the last forward, for L = sum over n of weight[n] * loss[n]."""
        operation, prediction, target, constants = memory.saved(self)
        backward = getattr(kernels, f"{operation}_backward")
        out = memory.out(self, dx=prediction.shape)
        return backward(prediction, target, weight, *constants, **out)

    def check_activation(self, activation: str, output_shape: tuple[int, ...]) -> str:
        """Return a warning if the model's last `activation` is probably a mistake, else ""."""
        return ""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Return the mean loss of predictions `y_pred` (N, ...) against `y_true`, a float."""
        losses = self.each(y_true, y_pred)
        return float((losses * sample_weights(sample_weight, len(losses))).sum() / len(losses))

    def each(self, y_true: Any, y_pred: Any) -> Array:
        """Return the loss of each sample (N,) for predictions `y_pred` (N, ...)."""
        prediction = numbers(y_pred, "y_pred")
        if not prediction.size:
            raise ShapeError(f"y_pred: shape {prediction.shape}, expected (N, ...)")
        if prediction.dtype.kind != "f":
            prediction = prediction.astype(np.float64)
        if prediction.ndim < 2:
            prediction = prediction.reshape(-1, 1)
        shape = prediction.shape[1:]
        labels = self.labels(y_true, shape, "y_true")
        if len(labels) != len(prediction):
            raise ShapeError(
                f"y_true has {len(labels)} samples and y_pred has {len(prediction)}, "
                "expected as many"
            )
        target = self.target(labels, shape, prediction.dtype)
        losses, _ = self.forward(prediction, target, reference, Memory(), self.from_logits)
        return losses


class MeanSquaredError(Loss):
    """The mean over a sample's elements of (prediction - target)^2, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    operation = "mean_squared_error"


class MeanAbsoluteError(Loss):
    """The mean over a sample's elements of |prediction - target|, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    operation = "mean_absolute_error"


def sample_weights(sample_weight: Any, n: int) -> Array:
    """Return the weights of n samples (n,), each 1 for None; ValueError for another shape."""
    weight = numbers(1.0 if sample_weight is None else sample_weight, "sample_weight")
    if weight.shape not in ((), (n,), (n, 1)):
        raise ShapeError(f"sample_weight: shape {weight.shape}, expected ({n},)")
    return np.broadcast_to(weight.astype(np.float64).reshape(-1), (n,))
