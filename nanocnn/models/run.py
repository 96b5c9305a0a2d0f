"""`Run`: a `fit` in progress, on one process or several, which must agree."""

import socket
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..callbacks import Callback, CallbackList, ModelCheckpoint
from ..common.config import serialize
from ..common.errors import ModelFileError, warn
from ..common.terminal import say
from ..common.validate import integer
from ..common.version import VERSION
from ..distributed import Communicator
from ..distributed.state import compare, digest, sample
from ..optimizers import Optimizer
from .evaluator import Evaluator
from .history import History, Progress
from .interrupts import Pressed
from .sources import Batch, Source


class Run(NamedTuple):
    """Its data and options, where it reports to, and the processes that share its batches."""

    data: Source
    validation: Source | None
    validation_freq: int | list[int]
    shuffle: bool
    callbacks: CallbackList
    progress: Progress
    history: History
    shards: int
    communicator: Communicator

    def compare_processes(self, model: Evaluator, initial_epoch: int, epochs: int) -> None:
        """Raise ValueError unless all processes train the same model on the same data."""
        if self.communicator.size == 1:
            return
        options: dict[str, Any] = {
            "the version of nanocnn": VERSION,
            "seed": model.seed,
            "shards": self.shards,
            "initial_epoch": initial_epoch,
            "epochs": epochs,
            "shuffle": self.shuffle,
            "validation_freq": self.validation_freq,
            "the model": str(model.get_config()),
            "the kernel set": model.kernel_set,
            "the optimizer": str(model.optimizer.get_config()),
            "the loss": str(serialize(model.loss)),
            "the list of metrics": str(list(model.metrics)),
            "the callback TerminateOnNaN": str(bool(self.callbacks.at_nan)),
            "a callback for batches": str(self.callbacks.see_batches("train")),
            "a callback for batches of the validation": str(self.callbacks.see_batches("test")),
        }
        for prefix, source in (("", self.data), ("validation ", self.validation)):
            if source is not None:
                parts = zip(("x", "y", "sample_weight"), source.data, strict=True)
                options |= {prefix + name: sample(array) for name, array in parts}
                options |= {
                    prefix + "batch_size": source.batch_size,
                    prefix + "steps": source.steps,
                }
        compare(self.communicator, "fit", {**options, **_state(model)})
        machines = len(set(self.communicator.gather(socket.gethostname())))
        if self.progress.shown:
            where = "one machine" if machines == 1 else f"{machines} machines"
            say(
                f"{self.communicator.size} processes on {where}, {self.shards} shards of "
                f"{self.data.batch_size // self.shards} samples"
            )

    def compare_after_callbacks(self, model: Evaluator, epoch: int) -> None:
        """Raise ValueError if a callback has changed the model of one process, before an epoch."""
        if self.communicator.size == 1:
            return
        if any(self.communicator.gather(bool(self.callbacks.listeners["on_epoch_begin"]))):
            compare(self.communicator, f"before epoch {epoch + 1}", _state(model))

    def agree(self, model: Any, epoch: int, pressed: Pressed) -> None:
        """After an epoch: compare the processes' states, and stop where one of them wants to."""
        if self.communicator.size == 1:
            return pressed.check()
        wishes = self.communicator.gather((pressed.first, model.stop_training))
        model.stop_training = any(stop for _, stop in wishes)
        compare(self.communicator, f"after epoch {epoch + 1}", _state(model))
        pressed.check(max(signal for signal, _ in wishes))

    def batches(self, model: Any, epoch: int) -> Iterator[Batch] | None:
        """Those of an epoch, each epoch in an order of its own; None if there are none left."""
        order = (model.seed, epochs_trained(model))
        rng = np.random.default_rng(order) if self.shuffle else None
        return self.data.epoch(rng, f"epoch {epoch + 1}, ")

    def validates(self, epoch: int) -> bool:
        """Whether to validate after epoch number 0, 1, ..."""
        freq = self.validation_freq
        return (epoch + 1) % freq == 0 if isinstance(freq, int) else epoch + 1 in freq

    def close_epoch(self, model: Any, epoch: int, logs: dict[str, float]) -> None:
        """Call the callbacks, add to the history, then call the callbacks that save the model."""
        self.callbacks.call("on_epoch_end", epoch, logs)
        self.history.append(epoch, logs)
        model.progress = {
            "epoch": epoch + 1,
            "epochs_trained": epochs_trained(model) + 1,
            "shards": self.shards,
            "history": self.history.history,
            "callbacks": self.callbacks.get_states(),
        }
        self.callbacks.call("on_epoch_saved", epoch, logs)

    def resume(self, model: Any) -> None:
        """Take the history and the callbacks' states from `model.progress`."""
        history = self.history
        try:
            for name, values in model.progress["history"].items():
                history.history[name] = [float(value) for value in values]
            self.callbacks.set_states(model.progress["callbacks"])
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise ModelFileError(f"cannot resume from the saved progress: {error!r}") from error
        end = model.progress["epoch"]
        history.epoch = list(range(end - len(history.history.get("loss", [])), end))

    def warn_if_done(self, model: Any, initial_epoch: int, epochs: int) -> None:
        """Warn if `epochs` are done, or the training had been stopped early before it was saved."""
        why = ""
        if initial_epoch == epochs:
            why = f"initial_epoch={initial_epoch} is epochs={epochs} already; give more epochs"
        elif model.stop_training:
            why = (
                f"a callback had stopped the training after epoch {initial_epoch}; to train on, "
                "give it more patience or leave it out"
            )
        if why:
            warn(f"fit: nothing is trained: {why}")


def epochs_trained(model: Any) -> int:
    """How many epochs the model was trained in all."""
    epochs: int = model.progress.get("epochs_trained", model.progress.get("epoch", 0))
    return epochs


def how_to_resume(callbacks: Sequence[Callback]) -> str:
    """What to do after an interruption."""
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.saved:
            if not callback.saved.endswith(".npz"):
                return f"the last checkpoint is {callback.saved}"
            return (
                f"resume with model = load_model({callback.saved!r}); "
                "model.fit(..., initial_epoch=model.progress['epoch'])"
            )
    return "the model keeps the weights of its last step; model.save(path) saves them"


def checked_freq(freq: Any) -> int | list[int]:
    """fit's `validation_freq`, a number of epochs or the epochs' numbers; or ValueError."""
    if isinstance(freq, (list, tuple)):
        return [integer(each, "validation_freq") for each in freq]
    return integer(freq, "validation_freq")


def _state(model: Evaluator) -> dict[str, str]:
    """A hash of each array that training changes, and what else the next step depends on."""
    optimizer: Optimizer = model.optimizer
    slots = {f"{key} of the optimizer": array for key, array in optimizer.slots.items()}
    return {
        "the learning rate": str(optimizer.rate()),
        "the number of steps": str(optimizer.iterations),
        **{name: digest(array) for name, array in {**model.weights, **slots}.items()},
        "the random state": str(model.rng.bit_generator.state),
    }


def check_shards(shards: int, batch_size: int, processes: int) -> None:
    """Raise ValueError unless batches can be cut into `shards`, and these be shared out."""
    if batch_size % shards:
        raise ValueError(
            f"shards={shards}, batch_size={batch_size}, expected a batch size that is a multiple "
            f"of {shards}, such as {-(-batch_size // shards) * shards}"
        )
    if shards % processes:
        raise ValueError(
            f"shards={shards} on {processes} processes, expected a number of shards that is a "
            f"multiple of {processes}, such as {-(-shards // processes) * processes}, or another "
            "number of processes"
        )
