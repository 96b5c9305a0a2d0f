"""A model with a loss and metrics: what `compile` chooses, and how well the model does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..callbacks import Callback, CallbackList
from ..common.arrays import Array
from ..common.config import serialize
from ..common.errors import NonFiniteError, ShapeError, warn
from ..common.validate import flag, integer
from ..data.batches import batches
from ..data.lazy import LazyImages
from ..distributed import Communicator
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from ..losses import Loss, get_loss, is_builtin
from ..metrics import AnyMetric, Means, get_metrics, metric_configs, sizes
from ..optimizers import Optimizer, get_optimizer
from .history import Progress
from .inputs import Data, checked_weight
from .passes import remembered
from .plan import last_activation, make_plan
from .step import Step
from .structure import Structure

INFERENCE_BATCH = 128  # large enough for the kernels, small enough for the cache


class Evaluator(Structure):
    """A `Structure` that `compile` gives a loss, metrics and an optimizer, and that is measured."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.optimizer: Optimizer
        self.loss: Loss
        self.metrics: dict[str, AnyMetric] = {}
        self._compiled = False
        super().__init__(*args, **options)

    def compile(
        self,
        optimizer: str | Optimizer | dict[str, Any] = "rmsprop",
        loss: str | Loss | Callable[[Any, Any], Any] | dict[str, Any] | None = None,
        metrics: str | AnyMetric | Sequence[str | AnyMetric | dict[str, Any]] | None = None,
    ) -> None:
        """Choose the optimizer, the loss and the metrics; `fit` and `evaluate` need them.

        Names or objects: "adam", "sparse_categorical_crossentropy", ["accuracy"]; for functions of
        your own see `nanocnn.metrics` and `nanocnn.losses.FunctionLoss`. Raises ValueError for an
        optimizer of another model.
        """
        if loss is None:
            raise ValueError("compile: loss=None, expected a loss such as 'mse'")
        new_optimizer, new_loss, new_metrics = (
            get_optimizer(optimizer), get_loss(loss), get_metrics(metrics),
        )  # fmt: skip
        new_optimizer.bind(self)
        self.optimizer, self.loss, self.metrics = new_optimizer, new_loss, new_metrics
        self._compiled = True
        if self.built:
            self._layers_changed()

    def _compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, JSON-able; None before it."""
        if not self._compiled:
            return None
        return {
            "optimizer": serialize(self.optimizer),
            "loss": serialize(self.loss),
            "metrics": metric_configs(self.metrics),
        }

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build(input_shape)
        if self._compiled:
            self.optimizer.reset()  # the weights that its state belongs to are gone

    @never_captured
    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        sample_weight: Any = None,
        verbose: int | str = 0,
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """[loss, metric, ...] over a data set; the loss alone when there are no metrics.

        `return_dict` gives {"loss": ..., metric: ...} instead. Of `callbacks` the `on_test_`
        methods are called. Errors as for `fit`.
        """
        flag(return_dict, "return_dict")
        size = INFERENCE_BATCH if batch_size is None else integer(batch_size, "batch_size")
        self._ready(x)
        data = self._checked_data(x, y, sample_weight)
        progress = Progress(verbose)
        callback_list = CallbackList(callbacks, self, len(data.x), size)
        with progress:
            logs = self._evaluate(data, size, callback_list, progress)
        return as_keras(logs, return_dict)

    def _evaluate(
        self,
        data: Data,
        batch_size: int,
        callbacks: CallbackList,
        progress: Progress | None = None,
        communicator: Communicator | None = None,
    ) -> dict[str, float]:
        """The mean loss and metrics over checked data, without training.

        The processes of a `communicator` share the batches, unless a callback wants to see each.
        Raises `NonFiniteError`, batch and layer named, when the loss is NaN or infinite.
        """
        if communicator is not None and communicator.size > 1 and not callbacks.see_batches("test"):
            return self._evaluate_together(data, batch_size, callbacks, communicator)
        means = Means(self.metrics)
        if progress is not None:
            progress.begin("Evaluation", len(data.x))
        callbacks.call("on_test_begin", {})
        with self.borrowed_memory() as memory:
            for number, index in enumerate(batches(len(data.x), batch_size)):
                callbacks.call("on_test_batch_begin", number, {})
                try:
                    step = self._step(data, index, memory, False)
                except NonFiniteError as error:
                    raise self._nonfinite(error, number, data, index) from None
                means.add(step.samples, step.loss, step.measure())
                if callbacks.listeners["on_test_batch_end"]:
                    callbacks.call("on_test_batch_end", number, means.result())
                if progress is not None and progress.bar is not None:
                    progress.update(step.samples, means.result())
        logs = self._means(means, callbacks)
        if progress is not None:
            progress.end(logs)
        return logs

    def _means(self, means: Means, callbacks: CallbackList) -> dict[str, float]:
        logs = means.result()
        logs["loss"] += self.penalty()
        callbacks.call("on_test_end", dict(logs))
        return logs

    def _nonfinite(
        self, error: NonFiniteError, number: int, data: Data, index: slice | Array
    ) -> NonFiniteError:
        """The error, with batch and layer."""
        where = self._first_nonfinite(data.images(index, self.dtype))
        return NonFiniteError(f"batch {number + 1}: {error}, first seen in {where}")

    def _evaluate_together(
        self, data: Data, batch_size: int, callbacks: CallbackList, communicator: Communicator
    ) -> dict[str, float]:
        """`_evaluate`, each process a part of the batches, with the same result on all."""
        callbacks.call("on_test_begin", {})
        order = [*batches(len(data.x), batch_size)]
        found = np.zeros((len(order), 2 + sum(sizes(self.metrics))))  # samples, loss, sums
        with self.borrowed_memory() as memory:
            for number in range(communicator.rank, len(order), communicator.size):
                try:
                    step = self._step(data, order[number], memory, False)
                except NonFiniteError:
                    found[number] = np.nan
                    break
                found[number] = step.samples, step.loss, *step.measure()
        means = Means(self.metrics)
        everyone = communicator.all_gather(found)
        for number, index in enumerate(order):
            samples, loss, *sums = everyone[number % communicator.size, number].tolist()
            if not np.isfinite(loss):
                error = NonFiniteError(f"the loss is {loss}")
                raise communicator.agreed(self._nonfinite(error, number, data, index))
            means.add(int(samples), loss, sums)
        return self._means(means, callbacks)

    def _step(self, data: Data, index: slice | Array, memory: Memory, training: bool) -> Step:
        """One pass over the samples at `index`: see `Step.run`."""
        n = index.stop - index.start if isinstance(index, slice) else len(index)
        plan, optimizer = self.execution_plan, self.optimizer if training else None
        step: Step = remembered(
            memory, (n, training), plan,
            lambda: Step(self, self.loss, self.metrics, optimizer, n, memory),
        )  # fmt: skip
        step.run(data, index)
        return step

    def _checked_data(
        self, x: Any, y: Any, sample_weight: Any = None, names: tuple[str, str] = ("x", "y")
    ) -> Data:
        """All checks of a data set, before any work; raises ValueErrors that say what is wrong."""
        images = self._images(x, names[0])
        labels = self.loss.labels(y, self.output_shape, names[1])
        if len(labels) != len(images):
            raise ShapeError(
                f"{names[0]} has {len(images)} samples and {names[1]} has {len(labels)}, "
                "expected as many labels as images"
            )
        weight = checked_weight(sample_weight, len(images), self.dtype)
        if is_builtin(self.loss):
            labels = self.loss.prepared(labels, self.dtype)
        if not isinstance(images, LazyImages):
            images = np.ascontiguousarray(images)
        return Data(images, labels, weight)

    def _ready(self, x: Any) -> None:
        """Raise RuntimeError where nothing is compiled; build the model for `x` if it is not."""
        if not self._compiled:
            raise RuntimeError("call model.compile(optimizer, loss) first")
        self._build_for(x)

    def _layers_changed(self) -> None:
        super()._layers_changed()
        leave = ""
        if self._compiled:
            if problem := self.loss.check_activation(
                last_activation(self.layers), self.output_shape
            ):
                warn(f"model {self.name!r}: {problem}")
            if not getattr(self.loss, "from_logits", False):
                leave = self.loss.output_activation
        self._plan = make_plan(self.layers, self.kernels, self.dtype, leave)


def as_keras(logs: dict[str, float], as_dict: bool) -> Any:
    """What Keras's `evaluate` returns: a dict, a list, or the loss alone where nothing else is."""
    if as_dict:
        return logs
    values = list(logs.values())
    return values if len(values) > 1 else values[0]
