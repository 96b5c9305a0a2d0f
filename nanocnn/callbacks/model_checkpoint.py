"""`ModelCheckpoint`: the model is saved after each epoch, or some batches, or the best of them.

Source: keras/src/callbacks/model_checkpoint.py.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..common import processes
from ..common.files import check_writable, path_name
from ..common.validate import flag, integer, number
from .callback import Logs
from .monitors import Monitor


class ModelCheckpoint(Monitor):
    """Saves the model after every epoch, or only when `monitor` is better than before.

    `filepath` may contain fields such as {epoch:02d} (from 1) and {val_loss:.3f}; its ending (.npz,
    .h5, .keras) chooses the format. Training resumes exactly from a .npz file. The file is replaced
    as a whole: an interruption leaves the old one or the new one. `saved` is the last file written.
    Its folder is created when needed. Of several processes (MPI) the first one writes.
    `save_weights_only`: `model.save_weights` writes it, and its name ends in .weights.h5.
    `save_freq`: after so many batches instead; the fields are {epoch}, {batch} and means over the
    epoch so far. From such a file training resumes at the beginning of the epoch.
    `initial_value_threshold`: the value to beat first. Unknown fields (ValueError) and a place that
    cannot be written (OSError) are found before the first step.
    """

    remembered = ("best",)
    identified_by = (*Monitor.identified_by, "save_best_only")

    def __init__(
        self, filepath: str | Path, monitor: str = "val_loss", verbose: int = 0,
        save_best_only: bool = False, save_weights_only: bool = False, mode: str = "auto",
        save_freq: str | int = "epoch", initial_value_threshold: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, 0.0, verbose)
        self.filepath = path_name(filepath, "ModelCheckpoint: filepath")
        self.save_best_only = flag(save_best_only, "ModelCheckpoint: save_best_only")
        self.save_weights_only = flag(save_weights_only, "ModelCheckpoint: save_weights_only")
        if self.save_weights_only and not self.filepath.endswith(".weights.h5"):
            raise ValueError(
                f"ModelCheckpoint: filepath={filepath!r:.80}, expected it to end in .weights.h5 "
                "with save_weights_only=True"
            )
        self.save_freq: int | None = None  # once an epoch
        if not isinstance(save_freq, str) or save_freq != "epoch":
            self.save_freq = integer(save_freq, "ModelCheckpoint: save_freq other than 'epoch'")
            # Not methods of the class: batches that nobody listens to cost nothing.
            vars(self).update(on_epoch_begin=self._begin_epoch, on_train_batch_end=self._end_batch)
        if initial_value_threshold is not None:
            self.best = number(initial_value_threshold, "ModelCheckpoint: initial_value_threshold")
        self.saved: str | None = None
        self.due, self.change = False, ""
        self.epoch, self.batches = 0, 0  # the batches since the last file

    def check_before_training(self, before: Logs, after: Logs) -> None:
        fields = {"epoch": 1}
        if self.save_freq:
            before = after = dict.fromkeys(("loss", *self.model.metrics), 0.5)
            fields["batch"] = 1
        if self.save_best_only:
            super().check_before_training(before, after)
        path = self.path(type(after)({**fields, **after}))
        self.model.check_path(path, weights=self.save_weights_only)
        if processes.first:
            check_writable(path)

    def on_train_begin(self, logs: Any = None) -> None:
        self.saved = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.due = not self.save_freq and self._is_due(epoch, logs)

    def _begin_epoch(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def _end_batch(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        if self.save_freq and self.batches >= self.save_freq:
            finite = all(np.isfinite(array).all() for array in self.model.weights.values())
            self.batches, self.due = 0, finite and self._is_due(self.epoch, logs)
            self.on_epoch_saved(self.epoch, {"batch": batch + 1, **logs})

    def _is_due(self, epoch: int, logs: Logs) -> bool:
        """Whether to save the model now; if it is the best, sets `change`, which says why."""
        if not self.save_best_only:
            return True
        if self.skips(logs):
            return False
        old = "None" if self.best is None else f"{self.best:.5f}"
        if self.improved(logs):
            self.change = f"{self.monitor} improved from {old} to {self.best:.5f}, "
            return True
        self.say(epoch, f"{self.monitor} did not improve from {old}")
        return False

    def on_epoch_saved(self, epoch: int, logs: Any = None) -> None:
        if not self.due:
            return
        path = self.path({"epoch": epoch + 1, **logs})
        self.say(epoch, f"{self.change}saving model to {path}")
        if processes.first:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        self.saved = path
        self.say(epoch, f"finished saving model to {path}")

    def path(self, fields: Logs) -> str:
        """`filepath` with its fields filled in; ValueError for an unknown field."""
        try:
            return self.filepath.format_map(fields)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath={self.filepath!r}: {error}, expected fields among "
                f"{', '.join(fields)}"
            ) from error
