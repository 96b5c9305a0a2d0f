"""Callbacks: what happens around the epochs of a training. Names and meanings are Keras's.

Source: keras/src/callbacks/*.py. A NaN counts as worse than any number.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from .checks import number, whole
from .configs import Checked
from .schedules import Schedule


class Callback(Checked):
    """Override what you need. `model` is the model in training; set `model.stop_training` to stop.

    What `get_state` returns, the attributes named in `remembered`, is saved with the model's `.npz`
    and restored by the `fit` that goes on from it with the same callbacks.
    """

    model: Any = None
    remembered: ClassVar[tuple[str, ...]] = ()

    def on_train_begin(self) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before epoch number `epoch`, counted from 0."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """After batch number `batch` of the epoch; `logs` are the running means so far."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """After the epoch and its validation; what is added to `logs` enters the history."""

    def on_epoch_saved(self, epoch: int, logs: dict[str, float]) -> None:
        """After all `on_epoch_end`, with the epoch in the history: the time to save the model."""

    def on_train_end(self) -> None:
        """After the last epoch, or after an interruption."""

    def get_state(self) -> dict[str, Any]:
        """Attributes to remember over an interruption: JSON-able, or weights by "layer/name"."""
        return {name: getattr(self, name) for name in self.remembered}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from `get_state`."""
        for name in self.get_state().keys() & state.keys():
            setattr(self, name, state[name])


class Monitor(Callback):
    """What callbacks that watch one number share: is it better than the best so far?

    `monitor`: "loss", "val_accuracy", ...; one that is not measured is a ValueError. `mode`: "min",
    "max" or "auto" (max for names with "acc", else min).
    """

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode={mode!r}, expected 'auto', 'min' or 'max'")
        if not isinstance(monitor, str):
            raise ValueError(f"monitor={monitor!r}, expected the name of a loss or metric")
        self.monitor = monitor
        self.min_delta = abs(number(min_delta, f"{type(self).__name__}: min_delta"))
        self.sign = 1 if mode == "max" or (mode == "auto" and "acc" in monitor) else -1
        self.best: float | None = None

    def improved(self, logs: dict[str, float]) -> bool:
        """Whether the watched number beats the best by over `min_delta`; if so, remembers it."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: monitor={self.monitor!r} is not measured, "
                f"expected one of {', '.join(logs)}"
            )
        value = logs[self.monitor]
        if math.isnan(value) or not (self.best is None or self.better(value, self.best)):
            return False
        self.best = float(value)
        return True

    def better(self, value: float, than: float) -> bool:
        """Whether `value` beats `than` by over `min_delta`."""
        return (value - than) * self.sign > self.min_delta


class EarlyStopping(Monitor):
    """Stops when `monitor` has not improved by `min_delta` for `patience` epochs (see `Monitor`).

    `restore_best_weights`: the model ends with the weights of its best epoch, also when the
    training ran to the end. `baseline`: a value to beat. Counts from epoch `start_from_epoch`.
    `best_epoch` and `stopped_epoch` (None: it did not stop) say what happened.
    """

    remembered = ("best", "wait", "best_epoch", "stopped_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = whole(patience, "EarlyStopping: patience", 0)
        self.baseline = None if baseline is None else number(baseline, "EarlyStopping: baseline")
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = whole(start_from_epoch, "EarlyStopping: start_from_epoch", 0)
        self.on_train_begin()

    def on_train_begin(self) -> None:
        self.best = None
        self.wait, self.best_epoch = 0, 0
        self.stopped_epoch: int | None = None
        self.best_weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improved(logs):
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = {k: v.copy() for k, v in self.model.weights.items()}
            if self.baseline is None or self.better(logs[self.monitor], self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self) -> None:
        if self.best_weights is not None:
            self.model.set_weights(list(self.best_weights.values()))

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if self.stopped_epoch is not None and self.wait >= self.patience:
            self.model.stop_training = True


class ModelCheckpoint(Monitor):
    """Saves the model after every epoch, or only when `monitor` is at its best.

    `filepath` may hold fields such as {epoch:02d} (from 1) and {val_loss:.3f}; its ending (.npz,
    .h5, .keras) chooses the format. A .npz can be resumed exactly. The file is replaced whole: an
    interruption leaves the old one or the new one. `saved` is the last file written.
    """

    remembered = ("best",)

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode, 0.0)
        self.filepath, self.save_best_only = str(filepath), save_best_only
        self.saved: str | None = None
        self.due = False

    def on_train_begin(self) -> None:
        self.saved = None
        self.model.check_path(self.filepath)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.due = not self.save_best_only or self.improved(logs)

    def on_epoch_saved(self, epoch: int, logs: dict[str, float]) -> None:
        if not self.due:
            return
        fields = {"epoch": epoch + 1, **logs}
        try:
            path = self.filepath.format(**fields)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath={self.filepath!r}: {error}, expected fields among "
                f"{', '.join(fields)}"
            ) from error
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        self.saved = path


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement.

    After a reduction it waits `cooldown` epochs; the rate never goes below `min_lr`. `monitor`,
    `mode` and `min_delta` as for `EarlyStopping`. ValueError if the optimizer has a `Schedule`.
    """

    remembered = ("best", "wait", "cooling")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        where, words = "ReduceLROnPlateau: factor", "more than 0 and less than 1"
        self.factor = number(factor, where, lambda factor: 0 < factor < 1, words)
        self.patience = whole(patience, "ReduceLROnPlateau: patience", 0)
        self.cooldown = whole(cooldown, "ReduceLROnPlateau: cooldown", 0)
        self.min_lr = number(min_lr, "ReduceLROnPlateau: min_lr", lambda rate: rate >= 0, ">= 0")
        self.on_train_begin()

    def on_train_begin(self) -> None:
        self.best = None
        self.wait, self.cooling = 0, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        rate = constant_rate(self)
        logs["learning_rate"] = rate
        better = self.improved(logs)
        if self.cooling > 0:
            self.cooling -= 1
            self.wait = 0
        if better:
            self.wait = 0
        elif self.cooling == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                self.model.optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooling, self.wait = self.cooldown, 0


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch: `schedule(epoch, rate) -> rate`, epoch from 0.

    Raises ValueError for a rate that is not 0 or more, or if the optimizer has a `Schedule`.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        if not callable(schedule):
            raise ValueError(f"LearningRateScheduler: schedule={schedule!r}, expected a function")
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int) -> None:
        rate = self.schedule(epoch, constant_rate(self))
        rate = number(rate, "LearningRateScheduler: the rate", lambda rate: rate >= 0, ">= 0")
        self.model.optimizer.learning_rate = rate

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs["learning_rate"] = constant_rate(self)


def constant_rate(callback: Callback) -> float:
    """The optimizer's learning rate, which must be a number for a callback to change it."""
    rate = callback.model.optimizer.learning_rate
    if isinstance(rate, Schedule):
        raise ValueError(
            f"{type(callback).__name__}: the optimizer's learning rate is a "
            f"{type(rate).__name__}, expected a number"
        )
    return float(rate)
