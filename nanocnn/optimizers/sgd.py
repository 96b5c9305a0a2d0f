"""Stochastic gradient descent, with momentum."""

from typing import Any

from ..common.validate import flag
from .base import Optimizer
from .schedules import Schedule


class SGD(Optimizer):
    """Stochastic gradient descent: parameter -= learning_rate * gradient.

    `momentum` (>= 0) adds that fraction of the previous step; `nesterov` looks one step ahead.
    Source: keras/src/optimizers/sgd.py; Sutskever et al. 2013.
    """

    operation, all_slots = "sgd_update", ("momentum",)

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = self._number("momentum", momentum)
        self.nesterov = flag(nesterov, f"{type(self).__name__}: nesterov")
        self.slot_names = ("momentum",) if self.momentum else ()

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        return rate, self.momentum

    def _flags(self) -> tuple[bool, ...]:
        return self.nesterov, self.form == "keras"
