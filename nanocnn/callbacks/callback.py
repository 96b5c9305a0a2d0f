"""The base class of callbacks: one method for each event.

Source: keras/src/callbacks/callback.py.
"""

from typing import Any, ClassVar

from ..common.config import Checked

Logs = dict[str, float]


class Callback(Checked):
    """Base class of callbacks: override the methods you need.

    `model` is the model being trained; `model.stop_training = True` stops the training. `params` is
    {"epochs", "steps", "verbose"}. `logs` holds the loss and metrics of an epoch or batch, and is
    {} before it; a method may leave the argument out.

    `get_state` returns the attributes named in `remembered`. They are saved with the model's `.npz`
    and restored when `fit` resumes from it with the same callbacks: those of the same class whose
    attributes named in `identified_by` are equal.
    """

    model: Any = None
    params: Any = None
    remembered: ClassVar[tuple[str, ...]] = ()
    identified_by: tuple[str, ...] = ()
    adds_to_logs: ClassVar[tuple[str, ...]] = ()  # the names that its on_epoch_end adds

    def set_model(self, model: Any) -> None:
        """Called first, with the model that is trained, evaluated or used to predict."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first, with {"epochs", "steps", "verbose"}."""
        self.params = params

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Any = None) -> None:
        """After the last epoch, with its logs, or after an interruption."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before epoch number `epoch`, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After the epoch and its validation; what it adds to `logs` goes into the history."""

    def on_epoch_saved(self, epoch: int, logs: Any = None) -> None:
        """After `on_epoch_end` of all callbacks, when the history has the epoch: save here."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before batch number `batch` of the epoch, counted from 0."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After the batch; `logs` holds the means over the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """The older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Before an evaluation, also before each validation of `fit`."""

    def on_test_end(self, logs: Any = None) -> None:
        """After an evaluation; `logs` holds its loss and metrics."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After the batch; `logs` holds the means so far."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After the batch; `logs` is {"outputs": the model's output for the batch}."""

    def check_before_training(self, before: Logs, after: Logs) -> None:
        """Raise an error, before the first step, for what would fail later; `model` is set.

        `before`: logs as its `on_epoch_end` will get them, with numbers of no meaning; `after`:
        logs as `on_epoch_saved` will get them. See `UnknownLogs`.
        """

    def get_state(self) -> dict[str, Any]:
        """What is needed to resume: values that JSON can hold, or weights by "layer/name"."""
        return {name: getattr(self, name) for name in (*self.identified_by, *self.remembered)}

    def owns(self, state: dict[str, Any]) -> bool:
        """Whether `state` comes from a callback with the same `identified_by` attributes."""
        return all(
            state.get(name, getattr(self, name)) == getattr(self, name)
            for name in self.identified_by
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` returned."""
        for name in self.get_state().keys() & state.keys():
            setattr(self, name, state[name])


class UnknownLogs(Logs):
    """Logs to which a callback may add: every name is in them, in any format, besides the known."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        return self

    def __format__(self, spec: str) -> str:
        return "0"
