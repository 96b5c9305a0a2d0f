"""Optimizers that divide by a running root mean square: RMSprop and Adadelta."""

from typing import Any

from ..common.validate import flag
from .base import Optimizer
from .schedules import Schedule


class RMSprop(Optimizer):
    """Divide the gradient by a running root mean square of it. Source: Hinton's lecture 6e.

    `rho` is the decay of the mean; `centered` subtracts the square of the mean gradient;
    `momentum` accumulates the steps in a buffer.
    """

    operation, all_slots = "rmsprop_update", ("v", "average", "buffer")

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = self._number("rho", rho, 1)
        self.momentum = self._number("momentum", momentum)
        self.epsilon = self._number("epsilon", epsilon)
        self.centered = flag(centered, f"{type(self).__name__}: centered")
        self.slot_names = ("v",) + ("average",) * self.centered + ("buffer",) * bool(self.momentum)

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        return rate, self.rho, self.momentum, self.epsilon

    def _flags(self) -> tuple[bool, ...]:
        return (self.form == "keras",)


class Adadelta(Optimizer):
    """RMSprop whose rate is a running root mean square of the steps taken so far.

    `learning_rate` multiplies these steps: 1 is the paper's form. `rho` is the decay of both means.
    Source: keras/src/optimizers/adadelta.py; Zeiler 2012.
    """

    operation = "adadelta_update"
    all_slots = slot_names = ("v", "delta")

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = self._number("rho", rho, 1)
        self.epsilon = self._number("epsilon", epsilon)

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        return rate, self.rho, self.epsilon
