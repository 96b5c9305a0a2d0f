"""One training step, or one batch of an evaluation, for batches of one size.

A step is: fill in the batch, forward to the loss, backward, update. Where all parts allow it each
of these is a program (passes.py); otherwise the same functions run as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.arrays import Array, quietly
from ..common.errors import NonFiniteError
from ..kernels.memory import Arena, Memory
from ..losses import LOSSES
from ..metrics import accuracy
from ..optimizers import OPTIMIZERS
from .inputs import Data
from .passes import Guard, Run, are_capturable, captured, is_capturable, read_of, read_of_kernels

if TYPE_CHECKING:
    from .evaluator import Evaluator

CHANGING = {"iterations", "_learning_rate", "_model"}  # attributes of an optimizer


class Step:
    """Passes of a compiled model over batches of `samples`; `training`: with updates.

    After `run`: `loss`, the mean over the batch and the L2 penalty; `target` and `prediction`; and
    `correct`, how many predictions are right, if accuracy is a metric. The next run overwrites the
    arrays.
    """

    def __init__(self, model: "Evaluator", samples: int, memory: Memory, training: bool) -> None:
        self.model, self.memory, self.training = model, memory, training
        self.plan = model.execution_plan
        self.index = np.arange(samples)
        self.x = np.empty((samples, *model.input_shape), model.dtype)
        self.target = np.empty((samples, *model.output_shape), model.dtype)
        self.share = np.empty(samples, model.dtype)
        self.prediction: Array
        self._mean, self._penalty, self._correct = np.zeros(2), np.zeros(1), np.zeros(1)
        self._counts = accuracy in model.metrics.values() and self.target.ndim == 2
        self._data: Data | None = None
        if training:
            model.optimizer.allocate(model.trained())
        self.guard = Guard(self._places())
        functions = [self._forward]
        if training:
            functions += self._backward, self._update
        self._parts: Sequence[Run] = [partial(quietly, function) for function in functions]
        self.is_captured = False
        if isinstance(memory, Arena) and self._is_capturable():
            uncaptured, self._parts = self._parts, captured(self._parts, memory)
            self.is_captured = self._parts is not uncaptured
        self._filled: Run | None = None

    def fits(self) -> bool:
        """Whether the model is still as it was."""
        return self.plan is self.model.execution_plan and self.guard.holds()

    def run(self, data: Data, index: slice | Array) -> None:
        """The loss of the samples at `index`, and an update if this is a training.

        Raises `NonFiniteError` before the update if the loss is NaN or infinite.
        """
        self._fill_in(data, index)
        forward, *rest = self._parts
        forward()
        self.loss = float(self._mean[0] + self._penalty[0])
        self.correct = float(self._correct[0]) if self._counts else None
        if not np.isfinite(self.loss):
            raise NonFiniteError(f"the loss is {self.loss}")
        if self.training:
            backward, update = rest
            backward()
            optimizer = self.model.optimizer
            optimizer.prepare()
            update()
            optimizer.advance()

    def release(self) -> None:
        """Let go of the data that was filled in last."""
        self._data = self._filled = None

    # --- The batch ---

    def _fill_in(self, data: Data, index: slice | Array) -> None:
        if isinstance(index, slice):
            self.index[...] = np.arange(index.start, index.stop)
        else:
            self.index[...] = index
        if data is not self._data:
            self._data, self._filled = data, None
            quietly(self._fill)
        else:
            if self._filled is None:  # the second batch of this data: there will be more
                self._filled = partial(quietly, self._fill)
                if self.is_captured:
                    assert isinstance(self.memory, Arena)
                    (self._filled,) = captured([self._filled], self.memory)
            self._filled()

    def _fill(self) -> None:
        kernels, data = self.model.kernels, self._data
        assert data is not None
        kernels.take_images(data.x, self.index, out=self.x)
        self.model.loss.fill_target(data.labels, self.index, kernels, self.target)
        kernels.shares(data.weight, self.index, 1 / len(self.index), out=self.share)

    # --- What is captured ---

    def _forward(self) -> None:
        model, kernels, plan = self.model, self.model.kernels, self.plan
        y = plan.forward(self.x, self.training, self.memory)
        losses, self.prediction = model.loss.forward(
            y, self.target, kernels, self.memory, plan.final is not None
        )
        kernels.mean_loss(losses, self.share, out=self._mean)
        if self.training and (factors := model.penalties()):
            weights = model.weights
            params = [weights[name] for name in factors]
            kernels.l2_penalty(params, np.array([*factors.values()]), out=self._penalty)
        if self._counts:
            threshold = model.loss.threshold
            kernels.count_correct(self.target, self.prediction, threshold, out=self._correct)

    def _backward(self) -> None:
        model = self.model
        dy = model.loss.backward(self.share, model.kernels, self.memory)
        self.plan.backward(dy, self.memory)

    def _update(self) -> None:
        self.model.optimizer.update(*self.model.parameters(), self.model.kernels)

    def _is_capturable(self) -> bool:
        model, kernels = self.model, self.model.kernels
        parts: list[tuple[Any, Mapping[str, type]]] = [(model.loss, LOSSES)]
        if self.training:
            parts.append((model.optimizer, OPTIMIZERS))
        return (
            are_capturable(kernels)
            and all(is_capturable(layer, kernels) for layer in self.plan.layers)
            and all(_is_known(part, known) for part, known in parts)
        )

    def _places(self) -> Iterator[tuple[Mapping[str, Any], Iterable[str]]]:
        model = self.model
        yield from read_of(self.plan.layers, True)
        yield read_of_kernels(model.kernels, self.plan.layers, True)
        yield vars(model), ("loss", "optimizer", "metrics", "kernels")
        yield vars(model.loss), vars(model.loss).keys()
        yield model.metrics, model.metrics.keys()
        for layer in model.layers:
            yield layer.penalties, layer.penalties.keys()
        if self.training:
            yield vars(model.optimizer), vars(model.optimizer).keys() - CHANGING
            yield model.optimizer.slots, model.optimizer.slots.keys()


def _is_known(part: Any, known: Mapping[str, type]) -> bool:
    """Whether it is of a class of ours, and its methods are not patched."""
    kind = type(part)
    return kind in known.values() and not any(hasattr(kind, name) for name in vars(part))

