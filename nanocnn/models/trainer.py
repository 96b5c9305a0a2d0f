"""The training loop: from arrays to a trained model, one minibatch at a time."""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

from ..callbacks import Callback, CallbackList, ModelCheckpoint
from ..common.arrays import Array
from ..common.config import refuses_unknown
from ..common.errors import ModelFileError, NonFiniteError, warn
from ..common.terminal import say
from ..common.validate import flag, integer
from ..data.batches import batches
from ..distributed import get_communicator
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from ..metrics import Means
from .evaluator import Evaluator, as_keras
from .history import History, Progress
from .inputs import Data, class_weighted
from .interrupts import FrameLock, Pressed, Terminated, deferred_interrupts
from .passes import remembered
from .run import Run, check_shards
from .shards import ShardedStep
from .step import Step


class Trainer(Evaluator):
    """An `Evaluator` that is trained: by `fit`, or batch by batch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.history: History | None = None
        self.progress: dict[str, Any] = {}  # epoch, history and callbacks, to resume from
        self.stop_training = False
        self._training = FrameLock()
        self._memory: Memory | None = None
        self._sharded: ShardedStep | None = None  # the last one, in a training
        super().__init__(*args, **options)

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build(input_shape)
        self.progress = {}

    @never_captured
    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update from one batch: its loss before the update, then the metrics, as `evaluate`.

        Arguments and errors as for `fit`.
        """
        flag(return_dict, "return_dict")
        self._ready_to_train(x)
        data = self._class_weighted(self._checked_data(x, y, sample_weight), class_weight)
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
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        validation_data: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        callbacks: Callback | Sequence[Callback] | None = None,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        verbose: int | str = "auto",
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

        With `initial_epoch=model.progress["epoch"]` training resumes as if it had not stopped:
        callbacks get their state back, and the history includes the earlier epochs. A warning says
        if nothing is left to train, because all `epochs` are done or `EarlyStopping` had stopped.

        `shards`: each batch is cut into as many equal parts, of which each computes its gradient by
        itself; these are added in a fixed order. Processes that an MPI launcher started share them
        out, and get the same bits for any number of processes. None is one for each process, or
        that of the training that is resumed.

        Raises ValueError for a wrong argument, before any work, and `NonFiniteError`, which names
        epoch, batch and layer, when the loss becomes NaN or infinite.
        """
        self._ready_to_train(x)
        batch_size = 32 if batch_size is None else integer(batch_size, "batch_size")
        epochs = integer(epochs, "epochs")
        initial_epoch = integer(initial_epoch, "initial_epoch", 0)
        if initial_epoch > epochs:
            raise ValueError(
                f"initial_epoch={initial_epoch}, epochs={epochs}, expected no more than epochs: "
                "the number of the last epoch, not of those to come"
            )
        shuffle = flag(shuffle, "shuffle")
        communicator = get_communicator()
        resumes = initial_epoch and initial_epoch == self.progress.get("epoch")
        if shards is None:
            shards = self.progress.get("shards", 1) if resumes else communicator.size
        check_shards(integer(shards, "shards"), batch_size, communicator.size)
        unit_range = self.unit_range
        try:
            data = self._checked_data(x, y, sample_weight)
            data, validation = self._split(data, validation_data, validation_split)
            data = self._class_weighted(data, class_weight)
            callback_list = CallbackList(callbacks, self, len(data.x), batch_size, epochs, verbose)
            progress = Progress(verbose)
            names = ("loss", *self.metrics)
            more = () if validation is None else tuple(f"val_{name}" for name in names)
            callback_list.check((*names, *more))
        except BaseException:
            self.unit_range = unit_range  # nothing was trained
            raise
        self._trained_on(data.x)
        if validation is not None:
            self._compare_range(validation.x, "validation x")
        history = self.history = callback_list.get_history()
        run = Run(
            data, validation, batch_size, shuffle, callback_list, progress, history, shards,
            communicator,
        )  # fmt: skip
        run.compare_processes(self, initial_epoch, epochs)
        self.stop_training = False
        callback_list.call("on_train_begin", {})
        if resumes:
            self._resume(run)
        self._warn_if_done(initial_epoch, epochs)
        logs: dict[str, float] = {}
        try:
            with (
                self.training_memory() as memory,
                deferred_interrupts() as pressed,
                communicator.trains(),
            ):
                for epoch in range(initial_epoch, epochs):
                    if self.stop_training:
                        break
                    callback_list.call("on_epoch_begin", epoch, {})
                    run.compare_after_callbacks(self, epoch)
                    progress.begin(f"Epoch {epoch + 1}/{epochs}", len(data.x))
                    logs = self._train_epoch(run, epoch, memory, pressed)
                    logs.update(self._validate(run, epoch))
                    progress.end(logs)
                    self._close_epoch(run, epoch, logs)
                    run.agree(self, epoch, pressed)
        except BaseException as error:
            self._spread_slots()  # all processes come here, or have ended
            if isinstance(error, (KeyboardInterrupt, Terminated)):
                progress.end()
                say(f"\ninterrupted; {_how_to_resume(callback_list.callbacks)}")
            raise
        finally:
            self._sharded = None
            progress.end()
            callback_list.call("on_train_end", logs)
        return history

    def _train_epoch(
        self, run: Run, epoch: int, memory: Memory, pressed: Pressed
    ) -> dict[str, float]:
        """All minibatches of one epoch; returns the means over it."""
        data, callbacks, progress = run.data, run.callbacks, run.progress
        means = Means(self.metrics)
        rng = np.random.default_rng((self.seed, self._epochs_trained())) if run.shuffle else None
        order = batches(len(data.x), run.batch_size, rng)
        shown = 0.0
        for number, index in enumerate(order):
            callbacks.call("on_train_batch_begin", number, {})
            try:
                step, signal = self._training_step(run, index, memory, pressed)
            except NonFiniteError as error:
                if callbacks.at_nan:
                    means.sums["loss"], means.count = np.nan, max(means.count, 1)
                    callbacks.call("on_train_batch_end", number, means.result())
                    callbacks.at_nan[0].terminate(number)
                    break
                what = self._nonfinite(error, number, data, index)
                text = f"epoch {epoch + 1}, {what}; the parameters are those before this batch"
                raise run.communicator.agreed(NonFiniteError(text), cause=error) from None
            means.add(step.samples, step.loss, step.measure())
            if callbacks.listeners["on_train_batch_end"]:
                callbacks.call("on_train_batch_end", number, means.result())
            if progress.bar is not None and (now := perf_counter()) - shown > 0.05:
                progress.update(means.count - progress.bar.n, means.result())
                shown = now
            pressed.check(signal)
            if self.stop_training:
                break
        self._spread_slots()
        for name, array in self.weights.items():  # nothing that is not finite is ever saved
            if not np.isfinite(array).all():
                where = f"epoch {epoch + 1}, batch {number + 1}"
                text = f"{where}: its update made {name} NaN or infinite"
                raise run.communicator.agreed(NonFiniteError(text))
        return means.result()

    def _training_step(
        self, run: Run, index: slice | Array, memory: Memory, pressed: Pressed
    ) -> tuple[Step | ShardedStep, int]:
        """One update, and the number of a signal that a process has received, or 0."""
        if run.shards == 1:
            return self._step(run.data, index, memory, True), pressed.first
        n = index.stop - index.start if isinstance(index, slice) else len(index)
        splits = not run.callbacks.see_batches("train")  # they may look at all, and change it
        step: ShardedStep = remembered(
            memory, (n, run.shards, run.communicator, splits), self.execution_plan,
            lambda: ShardedStep(
                self, self.loss, self.metrics, self.optimizer, n, memory, run.shards,
                run.communicator, splits,
            ),
        )  # fmt: skip
        self._sharded = step
        step.run(run.data, index, pressed)
        return step, step.signal

    def _spread_slots(self) -> None:
        """If each process has only its part of the optimizer's slots: give all of them to each."""
        step = self._sharded
        if step is not None and step.split is not None and not step.communicator.unfinished:
            step.split.spread_slots()

    def _validate(self, run: Run, epoch: int) -> dict[str, float]:
        """The loss and metrics of the validation data, as "val_loss" and so on; {} without any."""
        if run.validation is None:
            return {}
        try:
            logs = self._evaluate(
                run.validation, run.batch_size, run.callbacks, communicator=run.communicator
            )
        except NonFiniteError as error:
            if not run.callbacks.at_nan:
                text = f"epoch {epoch + 1}, validation: {error}"
                raise run.communicator.agreed(NonFiniteError(text), cause=error) from None
            logs = dict.fromkeys(("loss", *self.metrics), np.nan)
        return {f"val_{name}": value for name, value in logs.items()}

    def _close_epoch(self, run: Run, epoch: int, logs: dict[str, float]) -> None:
        """Call the callbacks, add to the history, then call the callbacks that save the model."""
        run.callbacks.call("on_epoch_end", epoch, logs)
        run.history.append(epoch, logs)
        self.progress = {
            "epoch": epoch + 1,
            "epochs_trained": self._epochs_trained() + 1,
            "shards": run.shards,
            "history": run.history.history,
            "callbacks": run.callbacks.get_states(),
        }
        run.callbacks.call("on_epoch_saved", epoch, logs)

    def _epochs_trained(self) -> int:
        """How many epochs the model was trained in all: each has an order of its own."""
        return int(self.progress.get("epochs_trained", self.progress.get("epoch", 0)))

    def _resume(self, run: Run) -> None:
        """Take the history and the callbacks' states from `self.progress`."""
        history = run.history
        try:
            for name, values in self.progress["history"].items():
                history.history[name] = [float(value) for value in values]
            run.callbacks.set_states(self.progress["callbacks"])
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise ModelFileError(f"cannot resume from the saved progress: {error!r}") from error
        end = self.progress["epoch"]
        history.epoch = list(range(end - len(history.history.get("loss", [])), end))

    def _warn_if_done(self, initial_epoch: int, epochs: int) -> None:
        """Warn if `epochs` are done, or the training had been stopped early before it was saved."""
        why = ""
        if initial_epoch == epochs:
            why = f"initial_epoch={initial_epoch} is epochs={epochs} already; give more epochs"
        elif self.stop_training:
            why = (
                f"a callback had stopped the training after epoch {initial_epoch}; to train on, "
                "give it more patience or leave it out"
            )
        if why:
            warn(f"fit: nothing is trained: {why}")

    # --- Checks ---

    def _ready_to_train(self, x: Any) -> None:
        self._ready(x)
        self.execution_plan.require_backward()
        self.optimizer.bind(self)

    def _split(
        self, data: Data, validation_data: Any, validation_split: Any
    ) -> tuple[Data, Data | None]:
        """What `fit` trains on, and what it validates on after each epoch, if anything."""
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                raise ValueError(
                    f"validation_data: {type(validation_data).__name__}, expected a tuple (x, y) "
                    "or (x, y, sample_weight)"
                )
            x, y, weight = (*validation_data, None)[:3]
            return data, self._checked_data(x, y, weight, names=("validation x", "validation y"))
        return data.split(validation_split)

    def _class_weighted(self, data: Data, class_weight: Any) -> Data:
        return class_weighted(data, class_weight, self.output_shape[-1], self.loss, self.dtype)

    # --- Memory ---

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

    def _layers_changed(self) -> None:
        self._memory = None
        super()._layers_changed()


def _how_to_resume(callbacks: Sequence[Callback]) -> str:
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.saved:
            if not callback.saved.endswith(".npz"):
                return f"the last checkpoint is {callback.saved}"
            return (
                f"resume with model = load_model({callback.saved!r}); "
                "model.fit(..., initial_epoch=model.progress['epoch'])"
            )
    return "the model keeps the weights of its last step; model.save(path) saves them"
