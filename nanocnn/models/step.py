"""One training step, or one batch of an evaluation, for batches of one size.

A step is: fill in the batch, forward to the loss, backward, update. Where all parts allow it each
of these is a program (passes.py); otherwise the same functions run as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..common.arrays import Array, quiet
from ..common.errors import NonFiniteError
from ..data.batches import take
from ..data.lazy import LazyImages
from ..jit.capture import each_time
from ..kernels.memory import Memory
from ..losses import LOSSES, is_builtin
from ..optimizers import OPTIMIZERS, Optimizer
from .inputs import Data
from .measure import is_counted, measure
from .passes import Guard, Run, can_capture, captured, read_of
from .structure import Structure

CHANGING = {"iterations", "_learning_rate", "_model"}  # attributes of an optimizer


class Step:
    """Passes of a model over batches of `samples`, with updates if it is a `training`.

    After `run`: `loss`, the mean over the batch and the L2 penalty; `target` and `prediction`,
    arrays that the next run overwrites; and what `measure` returns.
    """

    def __init__(
        self, model: Structure, samples: int, memory: Memory, training: bool,
        total: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.memory, self.plan = model, memory, model.execution_plan
        self.loss_function, self.metrics = model.loss, model.metrics
        self.optimizer: Optimizer | None = model.optimizer if training else None
        self.samples = samples
        self.total = total or samples  # of the batch, if these samples are a shard of it
        self.index = np.arange(samples)
        self.x = np.empty((samples, *model.input_shape), model.dtype)
        self.target = np.empty((samples, *model.output_shape), model.dtype)
        self.share = np.empty(samples, model.dtype)
        self.prediction: Array
        self._mean, self._penalty, self._correct = np.zeros(2), np.zeros(1), np.zeros(1)
        self._counts = any(map(is_counted, self.metrics.values()))
        self._data: Data | None = None
        if self.optimizer is not None:
            self.optimizer.allocate(model.trainable_weights)
        self.guard = Guard(self._places())
        self._parts: Sequence[Run] = [quiet(function) for function in self._functions()]
        self.is_captured = False
        if (
            can_capture(memory, model.kernels, self.plan.layers)
            and _is_known(model.loss, LOSSES)
            and (self.optimizer is None or _is_known(self.optimizer, OPTIMIZERS))
        ):
            uncaptured, self._parts = self._parts, captured(self._parts, memory)
            self.is_captured = self._parts is not uncaptured
        self._filled: Run | None = None

    def run(self, data: Data, index: slice | Array) -> None:
        """The loss of the samples at `index`, and an update if this is a training.

        Raises `NonFiniteError` before the update if the loss is NaN or infinite.
        """
        forward, *rest = self._parts
        self.memory.first = 0  # shards may have used it
        self._fill_in(data, index)
        forward()
        self.loss = float(self._mean[0] + self._penalty[0])
        if not np.isfinite(self.loss):
            raise NonFiniteError(f"the loss is {self.loss}")
        if self.optimizer is not None:
            backward, update = rest
            backward()
            self.optimizer.prepare()
            update()
            self.optimizer.advance()

    def measure(self) -> list[float]:
        """The metrics' sums over the samples of the last run: see `measure`."""
        rows = self.target.size // self.target.shape[-1]
        correct = float(self._correct[0]) * (self.samples / rows)
        return measure(self.metrics, self.target, self.prediction, correct)

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
            quiet(self._fill)()
        else:
            if self._filled is None:  # the second batch of this data: there will be more
                self._filled = quiet(self._fill)
                if self.is_captured:
                    (self._filled,) = captured([self._filled], self.memory)
            self._filled()

    def _fill(self) -> None:
        kernels, data = self.model.kernels, self._data
        assert data is not None
        if isinstance(data.x, LazyImages):
            each_time(take, data.x, self.index, self.x.dtype, self.x)
        else:
            kernels.take_images(data.x, self.index, self.x)
        loss, labels = self.loss_function, data.labels
        if is_builtin(loss):
            loss.take_target(labels, self.index, kernels, self.target)
        else:
            shape, dtype = self.target.shape[1:], self.target.dtype
            self.target[...] = loss.target(labels[self.index], shape, dtype)
        kernels.shares(data.weight, self.index, 1 / self.total, out=self.share)

    # --- What is captured ---

    def _functions(self) -> list[Run]:
        return [self._forward] if self.optimizer is None else [
            self._forward, self._backward, self._update,
        ]  # fmt: skip

    def _forward(self) -> None:
        self._to_loss(self.plan.forward(self.x, self.optimizer is not None, self.memory))

    def _to_loss(self, y: Array) -> None:
        """From the output of the last stage."""
        model, kernels, plan, loss = self.model, self.model.kernels, self.plan, self.loss_function
        losses, self.prediction = loss.forward(
            y, self.target, kernels, self.memory, plan.final is not None
        )
        kernels.mean_loss(losses, self.share, out=self._mean)
        if self.optimizer is not None:
            model._write_penalty(self._penalty)
        if self._counts:
            K = self.target.shape[-1]
            rows = [each.reshape(-1, K) for each in (self.target, self.prediction)]
            kernels.count_correct(*rows, loss.threshold, out=self._correct)

    def _backward(self) -> None:
        dy = self.loss_function.backward(self.share, self.model.kernels, self.memory)
        self.plan.backward(dy, self.memory)

    def _update(self) -> None:
        assert self.optimizer is not None
        self.optimizer.update(*self.model.parameters(), self.model.kernels)

    def _places(self) -> Iterator[tuple[Mapping[str, Any], Iterable[str]]]:
        model, loss, optimizer = self.model, self.loss_function, self.optimizer
        training = optimizer is not None
        yield from read_of(self.plan.layers, model.kernels, training)
        yield vars(model), ("loss", "optimizer", "metrics", "kernels")
        yield vars(loss), vars(loss).keys()
        yield self.metrics, self.metrics.keys()
        for layer in model.layers if training else ():
            yield layer.penalties, layer.penalties.keys()
        if optimizer is not None:
            yield vars(optimizer), vars(optimizer).keys() - CHANGING
            yield optimizer.slots, optimizer.slots.keys()


def _is_known(part: Any, known: Mapping[str, type]) -> bool:
    """Whether it is of a class of ours, and its methods are not patched."""
    kind = type(part)
    return kind in known.values() and not any(callable(getattr(kind, n, None)) for n in vars(part))
