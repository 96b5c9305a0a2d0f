"""The cross-entropies: -sum of target * log(probability), from probabilities or from logits."""

from types import ModuleType
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import as_array, flag, number, numbers, refuse_where
from ..kernels.memory import Memory
from .base import Loss

# Keras's backend.epsilon(): probabilities are clipped to [EPSILON, 1 - EPSILON].
EPSILON = 1e-7
ONE_UNIT = (
    "one output unit, expected one per class; for two classes use 'binary_crossentropy' after "
    "Dense(1, activation='sigmoid')"
)


class Crossentropy(Loss):
    """Base class of the cross-entropies: logits or probabilities, label smoothing."""

    fused_operation = ""  # the kernels from logits; `operation`: from probabilities
    constants = (EPSILON,)
    classes: int | None = None  # that an output tells apart; None: one for each output

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
        return 1 - self.label_smoothing, self.label_smoothing / (self.classes or out.shape[-1])

    def forward(
        self, prediction: Array, target: Array, kernels: ModuleType, memory: Memory, logits: bool
    ) -> tuple[Array, Array]:
        if not logits and not self.from_logits:
            return super().forward(prediction, target, kernels, memory, logits)
        forward = getattr(kernels, f"{self.fused_operation}_forward")
        out = memory.out(self, losses=prediction.shape[:1], probabilities=prediction.shape)
        losses, probabilities = forward(prediction, target, **out)
        memory.save(self, self.fused_operation, probabilities, target, ())
        return losses, probabilities if logits else prediction

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


class CategoricalCrossentropy(Crossentropy):
    """-sum over k of target_k * log(p_k), for one-hot labels (N,K).

    `from_logits`: predictions are logits, not probabilities. `label_smoothing` a: the target
    becomes t*(1-a) + a/K. A softmax before the loss is fused with it and computed from logits.
    ValueError for other labels. Source: keras/src/losses/losses.py.
    """

    output_activation = "softmax"
    operation, fused_operation = "categorical_cross_entropy", "softmax_cross_entropy"
    hint = "; for integer labels use 'sparse_categorical_crossentropy'"

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        if output_shape[-1] == 1:
            raise ValueError(f"{where}: {ONE_UNIT}")
        self._require_classes(output_shape)
        return super().labels(y, output_shape, where)

    def _require_classes(self, output_shape: tuple[int, ...]) -> None:
        """Raise ShapeError for an output of several axes, which the kernels do not take."""
        if len(output_shape) != 1:
            raise ShapeError(
                f"{type(self).__name__}: y_pred (N, {sizes(output_shape)}), expected (N, classes): "
                "end the model with Flatten() and Dense(classes, activation='softmax')"
            )


class BinaryCrossentropy(Crossentropy):
    """-t*log(p) - (1-t)*log(1-p), averaged over a sample's outputs, which are independent.

    For labels from 0 to 1 of the prediction's shape; (N,) is accepted for (N,1).
    `from_logits`: predictions are logits, not probabilities. `label_smoothing` a: the target
    becomes t*(1-a) + a/2. A sigmoid before the loss is fused with it and computed from logits.
    ValueError for other labels. Source: keras/src/losses/losses.py.
    """

    output_activation = "sigmoid"
    operation, fused_operation = "binary_cross_entropy", "sigmoid_cross_entropy"
    hint = "; for class numbers use 'sparse_categorical_crossentropy' and one unit per class"
    classes = 2

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        y = super().labels(y, output_shape, where)
        refuse_where((y < 0) | (y > 1), y, where, "0 or 1" + self.hint)
        return y


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """-log of the true class's probability, for class numbers (N,) or (N,1), 0 <= label < K.

    ValueError for other labels; arguments as for `CategoricalCrossentropy`.
    Source: keras/src/losses/losses.py.
    """

    def __init__(
        self, from_logits: bool = False, *, label_smoothing: float = 0.0, **words: Any
    ) -> None:
        super().__init__(from_logits, label_smoothing, **words)

    def labels(self, y: Any, output_shape: tuple[int, ...], where: str = "y") -> Array:
        self._require_classes(output_shape)
        y = as_array(y, where)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ShapeError(
                f"{where}: shape {y.shape}, expected (N,) class numbers for "
                "SparseCategoricalCrossentropy; for one-hot labels use 'categorical_crossentropy'"
            )
        if numbers(y, where).dtype.kind == "f":
            raise ValueError(
                f"{where}: labels of type {y.dtype}, expected integer class numbers; if they are, "
                "use y.astype('int64')"
            )
        K = output_shape[-1]
        expected = f"a class from 0 to {K - 1}" + (f"; {ONE_UNIT}" if K == 1 else "")
        refuse_where((y < 0) | (y >= K), y, where, expected)
        return y

    def prepared(self, labels: Array, dtype: Any) -> Array:
        return np.ascontiguousarray(labels, np.int64)

    def take_target(self, labels: Array, index: Array, kernels: ModuleType, out: Array) -> Array:
        scale, off = map(out.dtype.type, self._smoothing(out))
        return kernels.one_hot(labels, index, float(scale + off), float(off), out)
