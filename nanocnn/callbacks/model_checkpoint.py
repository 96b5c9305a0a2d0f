"""`ModelCheckpoint`: the model is saved after each epoch, or after the best one.

Source: keras/src/callbacks/model_checkpoint.py.
"""

from pathlib import Path
from typing import Any

from ..common import processes
from ..common.files import check_writable, path_name
from ..common.validate import flag, number
from .callback import Names
from .monitors import Monitor


class ModelCheckpoint(Monitor):
    """Saves the model after every epoch, or only when `monitor` is better than before.

    `filepath` may contain fields such as {epoch:02d} (from 1) and {val_loss:.3f}; its ending (.npz,
    .h5, .keras) chooses the format. Training resumes exactly from a .npz file. The file is replaced
    as a whole: an interruption leaves the old one or the new one. `saved` is the last file written.
    Its folder is created when needed. Of several processes (MPI) the first one writes.
    `initial_value_threshold`: the value to beat first. Unknown fields (ValueError) and a place that
    cannot be written (OSError) are found before the first step.
    """

    remembered = ("best",)
    identified_by = (*Monitor.identified_by, "save_best_only")

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        *,
        verbose: int = 0,
        save_weights_only: bool = False,
        save_freq: str = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, 0.0, verbose)
        weights_only = flag(save_weights_only, "ModelCheckpoint: save_weights_only")
        if weights_only or not isinstance(save_freq, str) or save_freq != "epoch":
            raise ValueError(
                f"ModelCheckpoint: save_weights_only={save_weights_only!r}, save_freq="
                f"{save_freq!r:.80}, expected False and 'epoch': "
                "whole models are saved, once an epoch"
            )
        self.filepath = path_name(filepath, "ModelCheckpoint: filepath")
        self.save_best_only = flag(save_best_only, "ModelCheckpoint: save_best_only")
        if initial_value_threshold is not None:
            self.best = number(initial_value_threshold, "ModelCheckpoint: initial_value_threshold")
        self.saved: str | None = None
        self.due = False

    def check_before_training(self, before: Names, after: Names) -> None:
        if self.save_best_only:
            super().check_before_training(before, after)
        fields = {"epoch": 1, **dict.fromkeys(after or (), 0.5)}
        path = self.path(_Any(fields) if after is None else fields)
        self.model.check_path(path)
        if processes.first:
            check_writable(path)

    def on_train_begin(self, logs: Any = None) -> None:
        self.saved = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        old = self.best
        self.due = not self.save_best_only or self.improved(logs)
        if self.save_best_only:
            change = f"better than {old}" if self.due else f"no better than {old}"
            self.say(epoch, f"{self.monitor} {logs[self.monitor]:.5f}, {change}")

    def on_epoch_saved(self, epoch: int, logs: Any = None) -> None:
        if not self.due:
            return
        path = self.path({"epoch": epoch + 1, **logs})
        if processes.first:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.model.save(path)
        self.saved = path
        self.say(epoch, f"saved {path}")

    def path(self, fields: dict[str, Any]) -> str:
        """`filepath` with its fields filled in; ValueError for an unknown field."""
        try:
            return self.filepath.format_map(fields)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath={self.filepath!r}: {error}, expected fields among "
                f"{', '.join(fields)}"
            ) from error


class _Any(dict[str, Any]):
    """Stands for fields that another callback may add: any name, in any format."""

    def __missing__(self, name: str) -> "_Any":
        return self

    def __format__(self, spec: str) -> str:
        return "0"
