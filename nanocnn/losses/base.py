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
from ..common.validate import as_array
from ..kernels import reference
from ..kernels.memory import Memory


class Loss(Configured):
    """Base class: a loss of predictions (N, ...) against a target of the same shape.

    `loss(y_true, y_pred)` is the mean over the samples, a float; ValueError for wrong labels.
    Source: keras/src/losses/losses.py.
    """

    operation = ""  # its kernels, without _forward and _backward

    def __init__(self, **words: Any) -> None:
        """Take Keras's arguments that have only one possible value here, and `name`."""
        refuse_unknown(type(self), words)

    output_activation = ""  # the activation before the loss that can be fused with it

    @property
    def threshold(self) -> float:
        """A single output above it is the positive class: 0.5, or 0 for logits."""
        return 0.0 if getattr(self, "from_logits", False) else 0.5

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        """Return `y` as an array with checked type, shape, range and finiteness, or ValueError."""
        y = as_array(y, where)
        if y.dtype == object or (not np.issubdtype(y.dtype, np.number) and y.dtype != bool):
            raise ValueError(f"{where}: labels of type {y.dtype}, expected numbers{text_hint(y)}")
        if y.ndim == 1 and output_shape == (1,):
            y = y[:, np.newaxis]  # (N,) against (N,1) would broadcast to (N,N)
        if y.shape[1:] != output_shape:
            raise ShapeError(
                f"{where}: shape {y.shape}, expected (N, {sizes(output_shape)}) for "
                f"{type(self).__name__}" + self._hint()
            )
        bad = ~np.isfinite(y)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise NonFiniteError(f"{where}[{index}] is {y[index]}, expected finite numbers")
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
        memory.save(self, prediction, target)
        losses = getattr(kernels, f"{self.operation}_forward")(
            prediction, target, **memory.out(self, losses=prediction.shape[:1])
        )
        return losses, prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        """Return dL/dprediction of the last forward, for L = sum over n of weight[n] * loss[n]."""
        prediction, target = memory.saved(self)
        out = memory.out(self, dx=prediction.shape)
        dx: Array = getattr(kernels, f"{self.operation}_backward")(
            prediction, target, weight, **out
        )
        return dx

    def check_activation(self, activation: str, output_shape: tuple[int, ...]) -> str:
        """Return a warning if the model's last `activation` is probably a mistake, else ""."""
        return ""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Return the mean loss of predictions `y_pred` (N, ...) against `y_true`, a float."""
        losses = self.each(y_true, y_pred)
        weight = as_array(1.0 if sample_weight is None else sample_weight, "sample_weight")
        if weight.dtype.kind not in "buif" or weight.shape not in ((), losses.shape):
            raise ValueError(
                f"sample_weight: {weight.dtype} of shape {weight.shape}, expected numbers "
                f"of shape {losses.shape}"
            )
        return float((losses * weight).sum() / len(losses))

    def each(self, y_true: Any, y_pred: Any) -> Array:
        """Return the loss of each sample (N,) for predictions `y_pred` (N, ...)."""
        prediction = as_array(y_pred, "y_pred")
        if prediction.dtype.kind not in "buif" or not prediction.size:
            raise ValueError(
                f"y_pred: {prediction.dtype} of shape {prediction.shape}, expected numbers (N, ...)"
            )
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
        logits = bool(getattr(self, "from_logits", False))
        losses, _ = self.forward(prediction, target, reference, Memory(), logits)
        return losses

    def _hint(self) -> str:
        return ""


def text_hint(y: Array) -> str:
    return "; for text such as '5' use y.astype('int64')" if y.dtype.kind in "OUS" else ""
