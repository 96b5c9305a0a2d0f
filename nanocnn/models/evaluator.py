"""A model with a loss and metrics: what `compile` chooses, and how well the model does."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..callbacks import Callback, CallbackList
from ..common.arrays import Array
from ..common.config import refuses_unknown, serialize
from ..common.errors import NonFiniteError, ShapeError, warn
from ..common.validate import flag, integer
from ..data.batches import take
from ..data.lazy import LazyImages
from ..distributed import Communicator
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from ..losses import Loss, get_loss, is_builtin
from ..metrics import Metric, get_metrics
from ..optimizers import Optimizer, get_optimizer
from .history import Progress
from .inputs import Data, checked_weight, samples_of
from .measure import Means, metric_configs
from .passes import remembered
from .plan import last_activation
from .predictor import INFERENCE_BATCH, Predictor
from .sources import ArraySource, Batch, Source, source_of, yields_batches
from .step import Step


class Evaluator(Predictor):
    """A `Predictor` that `compile` gives a loss, metrics and an optimizer, and that is measured."""

    @refuses_unknown
    def compile(
        self, optimizer: str | Optimizer | dict[str, Any] = "rmsprop",
        loss: str | Loss | Callable[[Any, Any], Any] | dict[str, Any] | None = None,
        loss_weights: Any = None,
        metrics: str | Metric | Callable[..., Any] | Sequence[Any] | None = None,
        weighted_metrics: Any = None,
        run_eagerly: Any = False, steps_per_execution: Any = 1, jit_compile: Any = "auto",
        auto_scale_loss: Any = True,
    ) -> None:  # fmt: skip
        """Choose the optimizer, the loss and the metrics; `fit` and `evaluate` need them.

        Names or objects: "adam", "sparse_categorical_crossentropy", metrics=["accuracy"]; for
        functions of your own see `nanocnn.metrics` and `nanocnn.losses.FunctionLoss`. Without a
        loss the model only predicts. Raises ValueError for an optimizer of another model, and for
        `loss_weights` and `weighted_metrics`, which nanocnn does not have; the arguments after
        these have no effect here.
        """
        third = loss_weights if isinstance(loss_weights, list) and metrics is None else []
        if third and all(isinstance(each, str) or callable(each) for each in third):
            metrics, loss_weights = third, None
            warn("compile: the third argument is loss_weights, as in Keras; pass metrics=[...]")
        for name, value in (("loss_weights", loss_weights), ("weighted_metrics", weighted_metrics)):
            if repr(value) not in ("None", "[]", "1", "1.0", "[1]", "[1.0]"):
                raise ValueError(
                    f"compile: {name}={value!r:.80}, expected None: nanocnn has one loss, and "
                    "metrics that weigh all samples alike; pass metrics=[...] by name"
                )
        new_optimizer, new_metrics = get_optimizer(optimizer), get_metrics(metrics)
        new_loss = None if loss is None else get_loss(loss)
        new_optimizer.bind(self)
        self.optimizer, self.metrics = new_optimizer, new_metrics
        if new_loss is not None:
            self.loss = new_loss
        self._compiled = new_loss is not None
        if self.built:
            if self._compiled:
                self._check_output()
            self._make_plan()

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns."""
        return ["loss", *self.metrics]

    def _compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, JSON-able; None before it."""
        if not self._compiled:
            return None
        return {
            "optimizer": serialize(self.optimizer),
            "loss": serialize(self.loss),
            "metrics": metric_configs(self.metrics),
        }

    def _build(self, given: tuple[int, ...]) -> None:
        changes = bool(self._built_layers)  # by `add` or `pop`: more layers may follow
        super()._build(given)
        if self._compiled and not changes:
            self._check_output()
        if self._compiled:
            self.optimizer.reset()  # the weights that its state belongs to are gone

    @refuses_unknown
    @never_captured
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """[loss, metric, ...] over a data set; the loss alone when there are no metrics.

        x and y, or x that yields batches, as for `fit`. `steps`: the number of batches; None for
        all. `return_dict` gives {"loss": ..., metric: ...} instead. Of `callbacks` the `on_test_`
        methods are called. Errors as for `fit`.
        """
        flag(return_dict, "return_dict")
        size = INFERENCE_BATCH if batch_size is None else integer(batch_size, "batch_size")
        source = source_of(x, y, sample_weight, self._checked_data, size, steps)
        callback_list = CallbackList(callbacks, self, source.length)
        with Progress(verbose) as progress:
            logs = self._evaluate(source, callback_list, progress, Communicator())
        return as_keras(logs, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """`evaluate` of one batch."""
        return self.evaluate(x, y, 2**31 - 1, 0, sample_weight, return_dict=return_dict)

    def _evaluate(
        self, source: Source, callbacks: CallbackList, progress: Progress,
        communicator: Communicator,
    ) -> dict[str, float]:  # fmt: skip
        """The mean loss and metrics over one epoch of `source`, without training.

        The processes of a `communicator` share the batches, unless a callback wants to see each.
        Raises `NonFiniteError`, batch and layer named, when the loss is NaN or infinite.
        """
        source.restart()
        order = source.epoch()
        if order is None:
            return {}
        progress.begin("Evaluation", source.samples)
        callbacks.call("on_test_begin", {})
        means = Means(self.metrics)
        with self.borrowed_memory() as memory:
            if communicator.size > 1 and not callbacks.see_batches("test"):
                self._evaluate_together(source.data, order, memory, means, communicator)
            for number, (data, index) in enumerate(order):
                callbacks.call("on_test_batch_begin", number, {})
                try:
                    step = self._step(data, index, memory, False)
                except NonFiniteError as error:
                    raise self._nonfinite(error, number, data, index) from None
                means.add(step.samples, step.loss, step.measure())
                if callbacks.listeners["on_test_batch_end"]:
                    callbacks.call("on_test_batch_end", number, means.result())
                if progress.is_due():
                    progress.update(means.count, means.result())
        logs = means.result()
        logs["loss"] += self.penalty()
        callbacks.call("on_test_end", dict(logs))
        progress.end(logs, means.count)
        return logs

    def _nonfinite(
        self, error: NonFiniteError, number: int, data: Data, index: slice | Array
    ) -> NonFiniteError:
        """The error, with batch and layer."""
        where = self._first_nonfinite(take(data.x, index, self.dtype))
        return NonFiniteError(f"batch {number + 1}: {error}, first seen in {where}")

    def _evaluate_together(
        self, data: Data, order: Iterable[Batch], memory: Memory, means: Means,
        communicator: Communicator,
    ) -> None:  # fmt: skip
        """Add all batches of `order` to `means`; each process computes a part of them."""
        places = [index for _, index in order]
        found = np.zeros((len(places), 2 + 2 * len(self.metrics)))  # samples, loss, sums
        for number in range(communicator.rank, len(places), communicator.size):
            try:
                step = self._step(data, places[number], memory, False)
            except NonFiniteError:
                found[number] = np.nan
                break
            found[number] = step.samples, step.loss, *step.measure()
        everyone = communicator.all_gather(found)
        for number, index in enumerate(places):
            samples, loss, *sums = everyone[number % communicator.size, number].tolist()
            if not np.isfinite(loss):
                error = NonFiniteError(f"the loss is {loss}")
                raise communicator.agreed(self._nonfinite(error, number, data, index))
            means.add(int(samples), loss, sums)

    def _step(self, data: Data, index: slice | Array, memory: Memory, training: bool) -> Step:
        """One pass over the samples at `index`: see `Step.run`."""
        n = samples_of(index)
        step: Step = remembered(
            memory, (n, training), self.execution_plan, lambda: Step(self, n, memory, training)
        )
        step.run(data, index)
        return step

    def _validation(self, given: Any, rest: Data | None, size: int, steps: Any) -> Source | None:
        """What `fit` validates on after each epoch, if anything; `rest` is split off from x."""
        name = "validation_steps"
        if given is None:
            return None if rest is None else ArraySource(rest, size, steps, name)
        parts = given if isinstance(given, (tuple, list)) else (given, None)
        if len(parts) not in (2, 3) or not (parts is given or yields_batches(given)):
            raise ValueError(
                f"validation_data: {type(given).__name__}, expected a tuple (x, y) or (x, y, "
                "sample_weight), or what yields such batches"
            )
        x, y, weight = (*parts, None)[:3]
        check = partial(self._checked_data, names=("validation x", "validation y"))
        return source_of(x, y, weight, check, size, steps, name, "validation_data")

    def _checked_data(
        self, x: Any, y: Any, sample_weight: Any = None, names: tuple[str, str] = ("x", "y"),
        compare: bool = True,
    ) -> Data:  # fmt: skip
        """All checks of a data set, before any work; raises ValueErrors that say what is wrong.

        The model is built for `x` if it is not yet. RuntimeError where nothing is compiled.
        """
        if not self._compiled:
            raise RuntimeError("call model.compile(optimizer, loss) first")
        self._build_for(x)
        images = self._images(x, names[0], compare)
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

    def _check_output(self) -> None:
        """Warn if the last activation is another than the loss expects."""
        last = last_activation(self.layers)
        if problem := self.loss.check_activation(last, self.output_shape):
            warn(f"model {self.name!r}: {problem}")


def as_keras(logs: dict[str, float], as_dict: bool) -> Any:
    """What Keras's `evaluate` returns: a dict, a list, or the loss alone where nothing else is."""
    if as_dict:
        return dict(sorted(logs.items()))
    values = list(logs.values())
    return values if len(values) > 1 else values[0]
