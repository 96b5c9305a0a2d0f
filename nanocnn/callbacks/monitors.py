"""Callbacks that watch a value in the logs. NaN counts as worse than any number.

Source: keras/src/callbacks/monitor_callback.py, early_stopping.py and terminate_on_nan.py.
"""

import math
import re
from typing import Any

from ..common.terminal import say
from ..common.validate import flag, integer, number, verbosity
from .callback import Callback, Logs

# Names of metrics of which more is better, and of all whose direction is known.
MORE = re.compile("acc|auc|precision|recall|top_k|f1")
KNOWN = re.compile(f"loss|error|entropy|mae|mse|{MORE.pattern}")


class Monitor(Callback):
    """Base class of callbacks that compare a value with the best one so far.

    `monitor`: "loss", "val_accuracy", ...; ValueError for one that is not measured, before the
    first step where that can be known. `mode`: "min", "max" or "auto", which knows the direction of
    built-in losses and metrics by their names; ValueError for other names. `verbose` 1 prints a
    line for each action. An epoch that was not validated (`validation_freq`) does not count for a
    "val_" monitor. A `fit` that resumes with another monitor or mode starts without a best value.
    """

    identified_by: tuple[str, ...] = ("monitor", "mode")

    def __init__(self, monitor: str, mode: str, min_delta: float, verbose: int = 0) -> None:
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise ValueError(f"mode={mode!r:.80}, expected 'auto', 'min' or 'max'")
        if not isinstance(monitor, str):
            raise ValueError(f"monitor={monitor!r:.80}, expected the name of a loss or metric")
        self.monitor = monitor
        self.min_delta = abs(number(min_delta, f"{type(self).__name__}: min_delta"))
        self.is_guess = mode == "auto" and not KNOWN.search(monitor)
        more = mode == "max" or (mode == "auto" and MORE.search(monitor))
        self.mode, self.sign = ("max", 1) if more else ("min", -1)
        self.verbose = verbosity(verbose, f"{type(self).__name__}: verbose")
        self.best: float | None = None
        self.may_lack = False

    def check_before_training(self, before: Logs, after: Logs) -> None:
        self.require(before)
        self.may_lack = self.monitor in set(before)  # measured, though not after every epoch
        if self.is_guess:
            raise ValueError(
                f"{type(self).__name__}: monitor={self.monitor!r}: cannot tell whether more or "
                "less of it is better, expected mode='max' or mode='min'"
            )

    def require(self, logs: Logs) -> None:
        """ValueError unless the value is in `logs`."""
        if self.monitor not in logs:
            measured = any(name.startswith("val_") for name in logs)
            hint = self.monitor.startswith("val_") and not measured
            raise ValueError(
                f"{type(self).__name__}: monitor={self.monitor!r} is not measured, expected one of "
                f"{', '.join(logs)}" + "; val_ needs validation data or validation_split" * hint
            )

    def skips(self, logs: Logs) -> bool:
        """Whether the epoch does not count: it was not validated, and so lacks the value."""
        return self.may_lack and self.monitor not in logs

    def improved(self, logs: Logs) -> bool:
        """Whether the value is better than the best by more than `min_delta`; if so, keeps it."""
        self.require(logs)
        value = logs[self.monitor]
        if math.isnan(value) or not (self.best is None or self.better(value, self.best)):
            return False
        self.best = float(value)
        return True

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is better than `than` by more than `min_delta`."""
        return (value - self.sign * self.min_delta - than) * self.sign > 0

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` returned; ValueError for what cannot be a state."""
        super().set_state(state)
        if not isinstance(self.best, (int, float, type(None))):
            raise ValueError(f"best={self.best!r:.80}, expected a number")
        self.best = None if self.best is None else float(self.best)

    def say(self, epoch: int, text: str) -> None:
        """Print a line if `verbose`."""
        if self.verbose:
            say(f"Epoch {epoch + 1}: {text}")


class EarlyStopping(Monitor):
    """Stops when `monitor` has not improved by `min_delta` for `patience` epochs (see `Monitor`).

    `restore_best_weights`: the model ends with the weights of its best epoch, also when the
    training was not stopped. `baseline`: a value to beat. Epochs before `start_from_epoch` do not
    count. `best_epoch` and `stopped_epoch` (0: not stopped) tell what happened. A `fit` that
    resumes where training was stopped trains nothing, with a warning, unless `patience` is greater
    than before.
    """

    remembered = ("best", "wait", "best_epoch", "stopped_epoch", "best_weights")
    identified_by = (*Monitor.identified_by, "restore_best_weights")

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 0,
        verbose: int = 0, mode: str = "auto", baseline: float | None = None,
        restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta, verbose)
        self.patience = integer(patience, "EarlyStopping: patience", 0)
        self.baseline = None if baseline is None else number(baseline, "EarlyStopping: baseline")
        where = "EarlyStopping: restore_best_weights"
        self.restore_best_weights = flag(restore_best_weights, where)
        self.start_from_epoch = integer(start_from_epoch, "EarlyStopping: start_from_epoch", 0)
        EarlyStopping.on_train_begin(self)  # not that of a subclass

    def on_train_begin(self, logs: Any = None) -> None:
        self.best = None
        self.wait, self.best_epoch, self.stopped_epoch = 0, 0, 0
        self.best_weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch < self.start_from_epoch or self.skips(logs):
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

    def on_train_end(self, logs: Any = None) -> None:
        if self.stopped_epoch:
            self.say(self.stopped_epoch, "early stopping")
        if self.best_weights is not None:
            if self.verbose:
                best = f"the end of the best epoch: {self.best_epoch + 1}."
                say(f"Restoring model weights from {best}")
            self.model.set_weights(list(self.best_weights.values()))

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.stopped_epoch = 0 if self.stopped_epoch is None else self.stopped_epoch  # old files
        for name in ("wait", "best_epoch", "stopped_epoch"):
            integer(getattr(self, name), name, 0)
        if self.best_weights is not None and self.best_weights.keys() != self.model.weights.keys():
            raise ValueError("best_weights: expected those of this model")
        if self.stopped_epoch and self.wait >= self.patience:
            self.model.stop_training = True


class TerminateOnNaN(Callback):
    """Ends the training, without an error, at the first batch whose loss is NaN or infinite.

    The parameters are those before this batch; the history has NaN for the loss of the epoch, and
    for a validation that is not finite either. Without this callback, or with `raise_error`, `fit`
    raises `NonFiniteError`.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = flag(raise_error, "TerminateOnNaN: raise_error")

    def terminate(self, batch: int) -> None:
        """Called by `fit` at batch number `batch`."""
        say(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
