"""`History`: the record of a training.

Source: keras/src/callbacks/history.py.
"""

import math
from typing import Any

from ..common.names import Record
from .callback import Callback


class History(Callback):
    """The record of a training, which `fit` returns; one given in its `callbacks` is filled.

    `history` maps "loss", "accuracy", "val_loss", ... to lists with one number per epoch, NaN where
    it was not measured; `epoch` lists the numbers of these epochs, from 0. They are the epochs of
    this `fit` and, if it resumed a training (`initial_epoch`), those before it. `params` is
    {"epochs", "steps", "verbose"}, as in Keras. `model` stays None: a record does not keep the
    model alive.
    """

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, params: dict[str, Any] | None) -> None:
        """Called by `fit`: forget the numbers of an earlier one."""
        self.params = params
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = Record()

    def set_model(self, model: Any) -> None:
        """Does nothing."""

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        """Add one epoch's numbers, those of callbacks that come after this one included."""
        for name in {**self.history, **logs}:
            value = logs.get(name, math.nan)
            try:
                before = [math.nan] * len(self.epoch)
                self.history.setdefault(name, before).append(float(value))
            except (TypeError, ValueError):
                raise ValueError(
                    f"logs[{name!r}] = {value!r:.80}, expected a number from the callback that "
                    "added it"
                ) from None
        self.epoch.append(epoch)

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"
