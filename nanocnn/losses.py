"""Losses, and their gradients with respect to the prediction.

`target` converts labels to a dense array of the prediction's shape, `forward` returns one value per
sample, `backward` the gradient of their weighted mean. The mean divides by the number of samples,
not by the sum of weights (Keras's "sum_over_batch_size"). Source: keras/src/losses/losses.py.
"""

from types import ModuleType
from typing import Any

import numpy as np

from .common.arrays import Array
from .common.config import Configured, deserialize, refuse_unknown
from .common.errors import NonFiniteError, ShapeError
from .common.tables import sizes
from .common.validate import as_array, flag, number
from .kernels import reference
from .kernels.memory import Memory

# Keras's backend.epsilon(): probabilities are clipped to [EPSILON, 1 - EPSILON].
EPSILON = 1e-7
ONE_UNIT = (
    "one output unit, expected one per class; for two classes use 'binary_crossentropy' after "
    "Dense(1, activation='sigmoid')"
)


class Loss(Configured):
    """Base class: a loss of predictions (N, ...) against a target of the same shape.

    `loss(y_true, y_pred)` is the mean over the samples, a float; ValueError for wrong labels.
    Source: keras/src/losses/losses.py.
    """

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
            raise ValueError(f"{where}: labels of type {y.dtype}, expected numbers{_text_hint(y)}")
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
        raise NotImplementedError

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        """Return dL/dprediction of the last forward, for L = sum over n of weight[n] * loss[n]."""
        raise NotImplementedError

    def check_activation(self, activation: str, output_shape: tuple[int, ...]) -> str:
        """Return a warning if the model's last `activation` is probably a mistake, else ""."""
        return ""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Return the mean loss of predictions `y_pred` (N, ...) against `y_true`, a float."""
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
        weight = as_array(1.0 if sample_weight is None else sample_weight, "sample_weight")
        if weight.dtype.kind not in "buif" or weight.shape not in ((), losses.shape):
            raise ValueError(
                f"sample_weight: {weight.dtype} of shape {weight.shape}, expected numbers "
                f"of shape {losses.shape}"
            )
        return float((losses * weight).sum() / len(losses))

    def _hint(self) -> str:
        return ""


class Crossentropy(Loss):
    """Base class of the cross-entropies: logits or probabilities, label smoothing."""

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, **words: Any
    ) -> None:
        super().__init__(**words)
        kind = type(self).__name__
        self.from_logits = flag(from_logits, f"{kind}: from_logits")
        self.label_smoothing = number(
            label_smoothing, f"{kind}: label_smoothing", lambda a: 0 <= a <= 1, "from 0 to 1"
        )

    def take_target(self, labels: Array, index: Array, kernels: ModuleType, out: Array) -> Array:
        super().take_target(labels, index, kernels, out)
        if self.label_smoothing:
            kernels.smooth(out, *self._smoothing(out), out)
        return out

    def _smoothing(self, out: Array) -> tuple[float, float]:
        """What targets are multiplied by, and what is added then."""
        return 1 - self.label_smoothing, self.label_smoothing / self._classes(out.shape[1:])

    def check_activation(self, activation: str, output_shape: tuple[int, ...]) -> str:
        kind, right = type(self).__name__, self.output_activation
        if activation == "softmax" and right == "sigmoid" and output_shape[-1:] == (1,):
            return "a softmax over one unit is always 1: use activation='sigmoid'"
        if self.from_logits and activation in ("softmax", "sigmoid"):
            return (
                f"the last layer has a {activation}, and {kind}(from_logits=True) applies a "
                f"{right} again: remove one of the two"
            )
        if not self.from_logits and activation in ("linear", "relu", "tanh"):
            return (
                f"{kind} expects probabilities, and the last layer's activation is "
                f"{activation!r}: use activation={right!r}, or {kind}(from_logits=True)"
            )
        return ""

    def _classes(self, output_shape: tuple[int, ...]) -> int:
        return output_shape[-1]


class CategoricalCrossentropy(Crossentropy):
    """-sum over k of target_k * log(p_k), for one-hot labels (N,K).

    `from_logits`: predictions are logits, not probabilities. `label_smoothing` a: the target
    becomes t*(1-a) + a/K. A softmax before the loss is fused with it and computed from logits.
    ValueError for other labels. Source: keras/src/losses/losses.py.
    """

    output_activation = "softmax"

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        if output_shape[-1] == 1:
            raise ValueError(f"{where}: {ONE_UNIT}")
        return super().labels(y, output_shape, where)

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        if logits or self.from_logits:
            N = len(prediction)
            losses, probabilities = kernels.softmax_cross_entropy_forward(
                prediction, target, **memory.out(self, losses=(N,), probabilities=prediction.shape)
            )
            memory.save(self, True, probabilities, target)
            return losses, probabilities if logits else prediction
        memory.save(self, False, prediction, target)
        losses = kernels.categorical_cross_entropy_forward(
            prediction, target, EPSILON, **memory.out(self, losses=prediction.shape[:-1])
        )
        return losses, prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        fused, prediction, target = memory.saved(self)
        out = memory.out(self, dx=prediction.shape)
        if fused:
            return kernels.softmax_cross_entropy_backward(prediction, target, weight, **out)
        return kernels.categorical_cross_entropy_backward(
            prediction, target, weight, EPSILON, **out
        )

    def _hint(self) -> str:
        return "; for integer labels use 'sparse_categorical_crossentropy'"


class BinaryCrossentropy(Crossentropy):
    """-t*log(p) - (1-t)*log(1-p), averaged over a sample's outputs, which are independent.

    For labels from 0 to 1 of the prediction's shape; (N,) is accepted for (N,1).
    `from_logits`: predictions are logits, not probabilities. `label_smoothing` a: the target
    becomes t*(1-a) + a/2. A sigmoid before the loss is fused with it and computed from logits.
    ValueError for other labels. Source: keras/src/losses/losses.py.
    """

    output_activation = "sigmoid"

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        y = super().labels(y, output_shape, where)
        bad = (y < 0) | (y > 1)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"{where}[{index}] is {y[index]}, expected 0 or 1" + self._hint())
        return y

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        N, shape = len(prediction), prediction.shape
        if logits or self.from_logits:
            losses, p = kernels.sigmoid_cross_entropy_forward(
                prediction, target, **memory.out(self, losses=(N,), p=shape)
            )
            memory.save(self, True, p, target)
            return losses, p if logits else prediction
        memory.save(self, False, prediction, target)
        losses = kernels.binary_cross_entropy_forward(
            prediction, target, EPSILON, **memory.out(self, losses=(N,))
        )
        return losses, prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        fused, p, target = memory.saved(self)
        out = memory.out(self, dx=p.shape)
        if fused:
            return kernels.sigmoid_cross_entropy_backward(p, target, weight, **out)
        return kernels.binary_cross_entropy_backward(p, target, weight, EPSILON, **out)

    def _classes(self, output_shape: tuple[int, ...]) -> int:
        return 2

    def _hint(self) -> str:
        return "; for class numbers use 'sparse_categorical_crossentropy' and one unit per class"


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """-log of the true class's probability, for class numbers (N,) or (N,1), 0 <= label < K.

    ValueError for other labels; arguments as for `CategoricalCrossentropy`.
    Source: keras/src/losses/losses.py.
    """

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        y = as_array(y, where)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ShapeError(
                f"{where}: shape {y.shape}, expected (N,) class numbers for "
                "SparseCategoricalCrossentropy; for one-hot labels use 'categorical_crossentropy'"
            )
        if y.dtype.kind not in "iub":
            hint = "; if they are, use y.astype('int64')" if y.dtype.kind == "f" else _text_hint(y)
            raise ValueError(
                f"{where}: labels of type {y.dtype}, expected integer class numbers{hint}"
            )
        K = output_shape[-1]
        bad = (y < 0) | (y >= K)
        if bad.any():
            first = int(bad.argmax())
            hint = f"; {ONE_UNIT}" if K == 1 else ""
            raise ValueError(
                f"{where}[{first}] is {y[first]}, expected a class from 0 to {K - 1}{hint}"
            )
        return y

    def prepared(self, labels: Array, dtype: Any) -> Array:
        return np.ascontiguousarray(labels, np.int64)

    def take_target(self, labels: Array, index: Array, kernels: ModuleType, out: Array) -> Array:
        scale, off = map(out.dtype.type, self._smoothing(out))
        return kernels.one_hot(labels, index, float(scale + off), float(off), out)


class MeanSquaredError(Loss):
    """The mean over a sample's elements of (prediction - target)^2, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        memory.save(self, prediction, target)
        losses = kernels.mean_squared_error_forward(
            prediction, target, **memory.out(self, losses=prediction.shape[:1])
        )
        return losses, prediction

    def backward(self, weight: Array, kernels: ModuleType, memory: Memory) -> Array:
        prediction, target = memory.saved(self)
        return kernels.mean_squared_error_backward(
            prediction, target, weight, **memory.out(self, dx=prediction.shape)
        )


def _text_hint(y: Array) -> str:
    return "; for text such as '5' use y.astype('int64')" if y.dtype.kind in "OUS" else ""


LOSSES: dict[str, type[Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
}


def is_builtin(loss: Loss) -> bool:
    """Whether the loss is of a class above, so that kernels compute all of it."""
    return type(loss) in LOSSES.values()


def get_loss(spec: str | Loss | dict[str, Any]) -> Loss:
    """Return a loss from an instance, a name ("mse"), or a {"class_name", "config"}."""
    return spec if isinstance(spec, Loss) else deserialize("loss", spec, LOSSES)
