"""The training loop: from arrays to a trained model, one minibatch at a time."""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..callbacks import Callback, CallbackList
from ..common.arrays import Array
from ..common.config import refuses_unknown
from ..common.errors import NonFiniteError
from ..common.terminal import say
from ..common.validate import flag, integer
from ..distributed import get_communicator
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from .evaluator import Evaluator, as_keras
from .history import History, Progress
from .inputs import Data, class_weighted, samples_of
from .interrupts import Pressed, Terminated, deferred_interrupts
from .measure import Means
from .passes import remembered
from .run import Run, check_shards, checked_freq, how_to_resume
from .shards import ShardedStep
from .sources import Batch, BatchSource, source_of, yields_batches
from .step import Step


class Trainer(Evaluator):
    """An `Evaluator` that is trained: by `fit`, or batch by batch."""

    history: History | None = None
    stop_training = False
    _sharded: ShardedStep | None = None  # the last one, in a training
    last_step: Step | ShardedStep | None = None  # in `fit`, for callbacks that look at each batch

    @never_captured
    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update from one batch: its loss before the update, then the metrics, as `evaluate`.

        Arguments and errors as for `fit`.
        """
        flag(return_dict, "return_dict")
        data = class_weighted(self._training_data(x, y, sample_weight), class_weight, self)
        self._trained_on(data.x)
        means = Means(self.metrics)
        with self.training_memory() as memory:
            step = self._step(data, slice(0, len(data.x)), memory, True)
            means.add(step.samples, step.loss, step.measure())
        return as_keras(means.result(), return_dict)

    @refuses_unknown
    @never_captured
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        shards: int | None = None,
    ) -> History:
        """Train from epoch `initial_epoch` up to `epochs`; returns the `History`.

        x (N, *input_shape): uint8 is scaled by 1/255, floats are used unchanged, other integers
        raise an error (see `Sequential`); (N,H,W) gains its channel axis. Memory-mapped arrays, and
        sources with `shape`, `dtype` and slices such as `h5py.Dataset`, are read a batch at a time
        (see `LazyImages`). y: what the loss expects. `validation_split` takes the last part of the
        data, before shuffling. Reported training numbers are means over the epoch, measured while
        the weights change. `batch_size` None is 32. `class_weight`: {class: weight}, of labels, of
        one-hot targets, or 0 and 1 for one output.

        Instead of arrays, x may yield batches (x, y) or (x, y, sample_weight) of any size: a
        generator, or an object with `__len__` and `__getitem__` such as a
        `keras.utils.PyDataset`, whose batches are shuffled. An epoch is `steps_per_epoch` batches,
        and the next one goes on where it ended; None is one pass over all. `validation_data`: a
        tuple (x, y) or (x, y, sample_weight), or what yields batches. It is measured after the
        epochs whose numbers, from 1, are multiples of `validation_freq` or in that list.

        With `initial_epoch=model.progress["epoch"]` training resumes as if it had not stopped:
        callbacks get their state back, and the history includes the earlier epochs. A warning says
        if nothing is left to train, because all `epochs` are done or `EarlyStopping` had stopped.

        With an optimizer's `use_ema` the averages become the weights after the last epoch; the
        checkpoints of `ModelCheckpoint` have both, and training resumes from these.

        `shards`: each batch is cut into as many equal parts, of which each computes its gradient by
        itself; these are added in a fixed order. Processes that an MPI launcher started share them
        out, and get the same bits for any number of processes. None is one for each process, or
        that of the training that is resumed.

        Raises ValueError for a wrong argument, before any work, and `NonFiniteError`, which names
        epoch, batch and layer, when the loss becomes NaN or infinite.
        """
        size = 32 if batch_size is None else integer(batch_size, "batch_size")
        epochs = integer(epochs, "epochs")
        initial_epoch = integer(initial_epoch, "initial_epoch", 0)
        if initial_epoch > epochs:
            raise ValueError(
                f"initial_epoch={initial_epoch}, epochs={epochs}, expected no more than epochs: "
                "the number of the last epoch, not of those to come"
            )
        shuffle = flag(shuffle, "shuffle")
        freq = checked_freq(validation_freq)
        communicator = get_communicator()
        resumes = initial_epoch and initial_epoch == self.progress.get("epoch")
        if shards is None:
            shards = self.progress.get("shards", 1) if resumes else communicator.size
        check_shards(integer(shards, "shards"), size, communicator.size)
        unit_range = self.unit_range
        try:
            rest: Data | None = None
            split = 0 if validation_data is not None else validation_split
            yields = yields_batches(x)
            if split and yields:
                raise ValueError(
                    f"validation_split={split!r:.80}, expected 0 for x that yields batches; "
                    "use validation_data"
                )

            def check(x: Any, y: Any, weight: Any) -> Data:
                nonlocal rest
                data, rest = self._training_data(x, y, weight, not yields).split(split)
                self._trained_on(data.x)
                return class_weighted(data, class_weight, self)

            data = source_of(x, y, sample_weight, check, size, steps_per_epoch, "steps_per_epoch")
            if validation_batch_size is not None:
                size = integer(validation_batch_size, "validation_batch_size")
            validation = self._validation(validation_data, rest, size, validation_steps)
            if shards > 1 and any(isinstance(each, BatchSource) for each in (data, validation)):
                raise ValueError(
                    f"shards={shards}: expected arrays, of which each process knows its part; or "
                    "one process with shards=1 for data that yield batches"
                )
            callback_list = CallbackList(callbacks, self, data.length, epochs, verbose)
            progress = Progress(verbose)
            names = self.metrics_names
            more = () if validation is None else (f"val_{name}" for name in names)
            callback_list.check((*names, *more))
        except BaseException:
            self.unit_range = unit_range  # nothing was trained
            raise

        history = self.history = callback_list.get_history()
        run = Run(
            data, validation, freq, shuffle, callback_list, progress, history, shards,
            communicator,
        )  # fmt: skip
        run.compare_processes(self, initial_epoch, epochs)
        self.stop_training = False
        callback_list.call("on_train_begin", {})
        if resumes:
            run.resume(self)
        run.warn_if_done(self, initial_epoch, epochs)
        logs: dict[str, float] = {}
        try:
            with (
                progress,
                self.training_memory() as memory,
                deferred_interrupts() as pressed,
                communicator.trains(),
            ):
                for epoch in range(initial_epoch, epochs):
                    if self.stop_training or (batches := run.batches(self, epoch)) is None:
                        break
                    callback_list.call("on_epoch_begin", epoch, {})
                    run.compare_after_callbacks(self, epoch)
                    progress.begin(f"Epoch {epoch + 1}/{epochs}", data.samples)
                    means = self._train_epoch(run, epoch, batches, memory, pressed)
                    logs = {**dict(sorted(means.result().items())), **self._validate(run, epoch)}
                    progress.end(logs, means.count)
                    run.close_epoch(self, epoch, logs)
                    run.agree(self, epoch, pressed)
                self.optimizer.finalize_variable_values(self.trainable_weights)
        except BaseException as error:
            self._spread_slots()  # all processes come here, or have ended
            if isinstance(error, (KeyboardInterrupt, Terminated)):
                say(f"\ninterrupted; {how_to_resume(callback_list.callbacks)}")
            raise
        finally:
            self._sharded = self.last_step = None
            callback_list.call("on_train_end", logs)
        return history

    def _train_epoch(
        self, run: Run, epoch: int, batches: Iterator[Batch], memory: Memory, pressed: Pressed
    ) -> Means:
        """All minibatches of one epoch; returns the means over it."""
        callbacks, progress = run.callbacks, run.progress
        means = Means(self.metrics)
        for number, (data, index) in enumerate(batches):
            callbacks.call("on_train_batch_begin", number, {})
            try:
                step, signal = self._training_step(run, data, index, memory, pressed)
            except NonFiniteError as error:
                if callbacks.at_nan:
                    means.loss, means.count = np.nan, max(means.count, 1)
                    callbacks.call("on_train_batch_end", number, means.result())
                    callbacks.at_nan[0].terminate(number)
                    break
                what = self._nonfinite(error, number, data, index)
                text = f"epoch {epoch + 1}, {what}; the parameters are those before this batch"
                raise run.communicator.agreed(NonFiniteError(text), cause=error) from None
            means.add(step.samples, step.loss, step.measure())
            if callbacks.listeners["on_train_batch_end"]:
                self.last_step = step
                callbacks.call("on_train_batch_end", number, means.result())
            if progress.is_due():
                progress.update(means.count, means.result())
            pressed.check(signal)
            if self.stop_training:
                break
        self._spread_slots()
        for name, array in self.weights.items():  # nothing that is not finite is ever saved
            if not np.isfinite(array).all():
                where = f"epoch {epoch + 1}, batch {number + 1}"
                text = f"{where}: its update made {name} NaN or infinite"
                raise run.communicator.agreed(NonFiniteError(text))
        return means

    def _training_step(
        self, run: Run, data: Data, index: slice | Array, memory: Memory, pressed: Pressed
    ) -> tuple[Step | ShardedStep, int]:
        """One update, and the number of a signal that a process has received, or 0."""
        if run.shards == 1:
            return self._step(data, index, memory, True), pressed.first
        n = samples_of(index)
        splits = not run.callbacks.see_batches("train")  # they may look at all, and change it
        step: ShardedStep = remembered(
            memory, (n, run.shards, run.communicator, splits), self.execution_plan,
            lambda: ShardedStep(self, n, memory, run.shards, run.communicator, splits),
        )  # fmt: skip
        self._sharded = step
        step.run(data, index, pressed)
        return step, step.signal

    def _spread_slots(self) -> None:
        """If each process has only its part of the optimizer's slots: give all of them to each."""
        step = self._sharded
        if step is not None and step.split is not None and not step.communicator.unfinished:
            step.split.spread_slots()

    def _validate(self, run: Run, epoch: int) -> dict[str, float]:
        """The loss and metrics of the validation data, as "val_loss" and so on; {} without any."""
        if run.validation is None or not run.validates(epoch):
            return {}
        try:
            logs = self._evaluate(run.validation, run.callbacks, Progress(0), run.communicator)
        except NonFiniteError as error:
            if not run.callbacks.at_nan:
                text = f"epoch {epoch + 1}, validation: {error}"
                raise run.communicator.agreed(NonFiniteError(text), cause=error) from None
            logs = dict.fromkeys(("loss", *self.metrics), np.nan)
        return {f"val_{name}": value for name, value in sorted(logs.items())}

    def _training_data(self, x: Any, y: Any, sample_weight: Any, compare: bool = True) -> Data:
        data = self._checked_data(x, y, sample_weight, compare=compare)
        self.execution_plan.require_backward()
        self.optimizer.bind(self)
        return data

    @contextmanager
    def training_memory(self) -> Iterator[Memory]:
        """The memory of training passes; one training at a time can have it."""
        frame = sys._getframe(2)  # of the function that has this in a `with` statement
        holder = self._training.acquire(frame)
        if holder is not None:
            who = "this" if holder == threading.get_ident() else "another"
            raise RuntimeError(f"model {self.name!r} is being trained by {who} thread")
        try:
            if self._memory is None:
                self._memory = self.execution_plan.memory()
            yield self._memory
        finally:
            if self._memory is not None:
                self._memory.release()
            self._training.release(frame)
