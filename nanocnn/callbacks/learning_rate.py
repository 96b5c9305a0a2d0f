"""Callbacks that change the optimizer's learning rate.

Source: keras/src/callbacks/reduce_lr_on_plateau.py and learning_rate_scheduler.py.
"""

from collections.abc import Callable
from typing import Any

from ..common.terminal import say
from ..common.validate import accepts, integer, number, verbosity
from ..optimizers.schedules import Schedule
from .callback import Callback, Logs
from .monitors import Monitor


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement.

    After a reduction the next `cooldown` epochs do not count; the rate never goes below `min_lr`.
    `monitor`, `mode` and `min_delta` as for `EarlyStopping`. ValueError if the learning rate is a
    `Schedule`.
    """

    remembered = ("best", "wait", "cooling")
    adds_to_logs = ("learning_rate",)

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0,
        mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta, verbose)
        where, words = "ReduceLROnPlateau: factor", "more than 0 and less than 1"
        self.factor = number(factor, where, lambda factor: 0 < factor < 1, words)
        self.patience = integer(patience, "ReduceLROnPlateau: patience", 0)
        self.cooldown = integer(cooldown, "ReduceLROnPlateau: cooldown", 0)
        self.min_lr = number(min_lr, "ReduceLROnPlateau: min_lr", lambda rate: rate >= 0, ">= 0")
        ReduceLROnPlateau.on_train_begin(self)  # not that of a subclass

    def check_before_training(self, before: Logs, after: Logs) -> None:
        super().check_before_training(before, after)
        constant_rate(self)

    def on_train_begin(self, logs: Any = None) -> None:
        self.best = None
        self.wait, self.cooling = 0, 0

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.wait, self.cooling = integer(self.wait, "wait", 0), integer(self.cooling, "cooling", 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        rate = constant_rate(self)
        logs["learning_rate"] = rate
        if self.skips(logs):
            return
        better = self.improved(logs)
        if self.cooling > 0:
            self.cooling -= 1
            self.wait = 0
        if better:
            self.wait = 0
        elif self.cooling == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                rate = max(rate * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = rate
                self.cooling, self.wait = self.cooldown, 0
                self.say(epoch, f"ReduceLROnPlateau reducing learning rate to {rate}.")


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch: `schedule(epoch, rate) -> rate`, epoch from 0.

    `schedule(epoch)` works as well. `verbose` 1 prints each rate. Raises ValueError for a rate that
    is not 0 or more, and if the learning rate is a `Schedule`.
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

    def check_before_training(self, before: Logs, after: Logs) -> None:
        constant_rate(self)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rate = constant_rate(self)
        rate = self.schedule(epoch, rate) if self.two else self.schedule(epoch)
        rate = number(rate, "LearningRateScheduler: the rate", lambda rate: rate >= 0, ">= 0")
        self.model.optimizer.learning_rate = rate
        if self.verbose:
            say(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["learning_rate"] = constant_rate(self)


def constant_rate(callback: Callback) -> float:
    """The optimizer's learning rate; ValueError for a `Schedule`, which no callback can change."""
    rate = callback.model.optimizer.learning_rate
    if isinstance(rate, Schedule):
        raise ValueError(
            f"{type(callback).__name__}: the optimizer's learning rate is a "
            f"{type(rate).__name__}, expected a number"
        )
    return float(rate)
