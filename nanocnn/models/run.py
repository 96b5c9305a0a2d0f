"""`Run`: a `fit` in progress, on one process or several, which must agree."""

import socket
from typing import Any, NamedTuple

from ..callbacks import CallbackList
from ..common.config import serialize
from ..common.terminal import say
from ..common.version import VERSION
from ..distributed import Communicator
from ..distributed.state import compare, digest, sample
from ..optimizers import Optimizer
from .evaluator import Evaluator
from .history import History, Progress
from .inputs import Data
from .interrupts import Pressed


class Run(NamedTuple):
    """Its data and options, where it reports to, and the processes that share its batches."""

    data: Data
    validation: Data | None
    batch_size: int
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
            "batch_size": self.batch_size,
            "shards": self.shards,
            "initial_epoch": initial_epoch,
            "epochs": epochs,
            "shuffle": self.shuffle,
            "the model": str(model.get_config()),
            "the kernel set": model.kernel_set,
            "the optimizer": str(model.optimizer.get_config()),
            "the loss": str(serialize(model.loss)),
            "the list of metrics": str(list(model.metrics)),
            "the callback TerminateOnNaN": str(bool(self.callbacks.at_nan)),
            "a callback for batches": str(self.callbacks.see_batches("train")),
            "a callback for batches of the validation": str(self.callbacks.see_batches("test")),
        }
        for prefix, data in (("", self.data), ("validation ", self.validation)):
            if data is not None:
                parts = zip(("x", "y", "sample_weight"), data, strict=True)
                options |= {prefix + name: sample(array) for name, array in parts}
        compare(self.communicator, "fit", {**options, **_state(model)})
        machines = len(set(self.communicator.gather(socket.gethostname())))
        if self.progress.shown:
            where = "one machine" if machines == 1 else f"{machines} machines"
            say(
                f"{self.communicator.size} processes on {where}, {self.shards} shards of "
                f"{self.batch_size // self.shards} samples"
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
