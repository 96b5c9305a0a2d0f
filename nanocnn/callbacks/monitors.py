"""Callbacks: what happens around the epochs of a training. Names and meanings are Keras's.

Source: keras/src/callbacks/*.py. A NaN counts as worse than any number.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..common.files import check_writable, path_name
from ..common.terminal import say
from ..common.validate import accepts, flag, integer, number, verbosity
from ..schedules import Schedule
from .callback import Callback as Callback, Names


class Monitor(Callback):
    """What callbacks that watch one number share: is it better than the best so far?

    `monitor`: "loss", "val_accuracy", ...; one that is not measured is a ValueError, before the
    first step if it can be known. `mode`: "min", "max" or "auto" (max for names with "acc", else
    min). `verbose` 1 says in a line what was done. A `fit` that goes on with another monitor or
    mode starts with no best.
    """

    identified_by: tuple[str, ...] = ("monitor", "mode")

    def __init__(self, monitor: str, mode: str, min_delta: float, verbose: int = 0) -> None:
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise ValueError(f"mode={mode!r:.80}, expected 'auto', 'min' or 'max'")
        if not isinstance(monitor, str):
            raise ValueError(f"monitor={monitor!r:.80}, expected the name of a loss or metric")
        self.monitor = monitor
        self.min_delta = abs(number(min_delta, f"{type(self).__name__}: min_delta"))
        more = mode == "max" or (mode == "auto" and "acc" in monitor)
        self.mode, self.sign = ("max", 1) if more else ("min", -1)
        self.verbose = verbosity(verbose, f"{type(self).__name__}: verbose")
        self.best: float | None = None

    def check_before_training(self, before: Names, after: Names) -> None:
        if before is not None:
            self.require(before)

    def require(self, names: Any) -> None:
        """ValueError unless `monitor` is one of `names`."""
        if self.monitor not in names:
            measured = any(name.startswith("val_") for name in names)
            hint = self.monitor.startswith("val_") and not measured
            raise ValueError(
                f"{type(self).__name__}: monitor={self.monitor!r} is not measured, expected one of "
                f"{', '.join(names)}" + "; val_ needs validation data or validation_split" * hint
            )

    def improved(self, logs: dict[str, float]) -> bool:
        """Whether the watched number beats the best by over `min_delta`; if so, remembers it."""
        self.require(logs)
        value = logs[self.monitor]
        if math.isnan(value) or not (self.best is None or self.better(value, self.best)):
            return False
        self.best = float(value)
        return True

    def better(self, value: float, than: float) -> bool:
        """Whether `value` beats `than` by over `min_delta`."""
        return (value - than) * self.sign > self.min_delta

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from `get_state`; ValueError for what cannot be one."""
        super().set_state(state)
        if not isinstance(self.best, (int, float, type(None))):
            raise ValueError(f"best={self.best!r:.80}, expected a number")
        self.best = None if self.best is None else float(self.best)

    def say(self, epoch: int, text: str) -> None:
        """A line, if `verbose`."""
        if self.verbose:
            say(f"Epoch {epoch + 1}: {text}")


class EarlyStopping(Monitor):
    """Stops when `monitor` has not improved by `min_delta` for `patience` epochs (see `Monitor`).

    `restore_best_weights`: the model ends with the weights of its best epoch, also when the
    training ran to the end. `baseline`: a value to beat. Counts from epoch `start_from_epoch`.
    `best_epoch` and `stopped_epoch` (None: it did not stop) say what happened. A `fit` that goes
    on from where this stopped it trains nothing, with a warning, unless `patience` is now greater.
    """

    remembered = ("best", "wait", "best_epoch", "stopped_epoch", "best_weights")
    identified_by = (*Monitor.identified_by, "restore_best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        *,
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.patience = integer(patience, "EarlyStopping: patience", 0)
        self.baseline = None if baseline is None else number(baseline, "EarlyStopping: baseline")
        where = "EarlyStopping: restore_best_weights"
        self.restore_best_weights = flag(restore_best_weights, where)
        self.start_from_epoch = integer(start_from_epoch, "EarlyStopping: start_from_epoch", 0)
        self._reset()

    def on_train_begin(self, logs: Any = None) -> None:
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait, self.best_epoch = 0, 0
        self.stopped_epoch: int | None = None
        self.best_weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
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
            self.say(epoch, f"no better {self.monitor} for {self.wait} epochs: stopped early")

    def on_train_end(self, logs: Any = None) -> None:
        if self.best_weights is not None:
            self.model.set_weights(list(self.best_weights.values()))
            self.say(self.best_epoch, f"the best {self.monitor}; its weights are restored")

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        for name in ("wait", "best_epoch"):
            integer(getattr(self, name), name, 0)
        if self.stopped_epoch is not None:
            integer(self.stopped_epoch, "stopped_epoch", 0)
        if self.best_weights is not None and self.best_weights.keys() != self.model.weights.keys():
            raise ValueError("best_weights: expected those of this model")
        if self.stopped_epoch is not None and self.wait >= self.patience:
            self.model.stop_training = True


class ModelCheckpoint(Monitor):
    """Saves the model after every epoch, or only when `monitor` is at its best.

    `filepath` may hold fields such as {epoch:02d} (from 1) and {val_loss:.3f}; its ending (.npz,
    .h5, .keras) chooses the format. A .npz can be resumed exactly. The file is replaced whole: an
    interruption leaves the old one or the new one. `saved` is the last file written. Its folder is
    made when it is needed. `initial_value_threshold`: a best to beat from the start. Unknown fields
    and a place that cannot be written are found before the first step: ValueError, OSError.
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
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        self.saved = path
        self.say(epoch, f"saved {path}")

    def path(self, fields: dict[str, Any]) -> str:
        """`filepath` with its fields filled in; ValueError for one that is not there."""
        try:
            return self.filepath.format_map(fields)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath={self.filepath!r}: {error}, expected fields among "
                f"{', '.join(fields)}"
            ) from error


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement.

    After a reduction it waits `cooldown` epochs; the rate never goes below `min_lr`. `monitor`,
    `mode` and `min_delta` as for `EarlyStopping`. ValueError if the optimizer has a `Schedule`.
    """

    remembered = ("best", "wait", "cooling")
    adds_to_logs = ("learning_rate",)

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        where, words = "ReduceLROnPlateau: factor", "more than 0 and less than 1"
        self.factor = number(factor, where, lambda factor: 0 < factor < 1, words)
        self.patience = integer(patience, "ReduceLROnPlateau: patience", 0)
        self.cooldown = integer(cooldown, "ReduceLROnPlateau: cooldown", 0)
        self.min_lr = number(min_lr, "ReduceLROnPlateau: min_lr", lambda rate: rate >= 0, ">= 0")
        self._reset()

    def check_before_training(self, before: Names, after: Names) -> None:
        super().check_before_training(before and (*before, *self.adds_to_logs), after)
        constant_rate(self)

    def on_train_begin(self, logs: Any = None) -> None:
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait, self.cooling = 0, 0

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.wait, self.cooling = integer(self.wait, "wait", 0), integer(self.cooling, "cooling", 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
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
                self.say(epoch, f"learning rate reduced to {self.model.optimizer.learning_rate:g}")


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch: `schedule(epoch, rate) -> rate`, epoch from 0.

    `schedule(epoch)` works as well. `verbose` 1 says each rate in a line. Raises ValueError for a
    rate that is not 0 or more, or if the optimizer has a `Schedule`.
    """

    adds_to_logs = ("learning_rate",)

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.two = accepts(schedule, 0, 0.0)
        function = callable(schedule) and not isinstance(schedule, type)
        if not function or not (self.two or accepts(schedule, 0)):
            raise ValueError(
                f"LearningRateScheduler: schedule={schedule!r:.80}, expected a function of (epoch, "
                "rate) or of (epoch)"
            )
        self.schedule = schedule
        self.verbose = verbosity(verbose, "LearningRateScheduler: verbose")

    def check_before_training(self, before: Names, after: Names) -> None:
        constant_rate(self)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rate = constant_rate(self)
        rate = self.schedule(epoch, rate) if self.two else self.schedule(epoch)
        rate = number(rate, "LearningRateScheduler: the rate", lambda rate: rate >= 0, ">= 0")
        self.model.optimizer.learning_rate = rate
        if self.verbose:
            say(f"Epoch {epoch + 1}: learning rate {rate:g}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["learning_rate"] = constant_rate(self)


class _Any(dict[str, Any]):
    """The fields of a name, where a callback may add others: any name, in any format."""

    def __missing__(self, name: str) -> "_Any":
        return self

    def __format__(self, spec: str) -> str:
        return "0"


def constant_rate(callback: Callback) -> float:
    """The optimizer's learning rate, which must be a number for a callback to change it."""
    rate = callback.model.optimizer.learning_rate
    if isinstance(rate, Schedule):
        raise ValueError(
            f"{type(callback).__name__}: the optimizer's learning rate is a "
            f"{type(rate).__name__}, expected a number"
        )
    return float(rate)
