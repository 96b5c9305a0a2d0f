"""Optimizers by Keras's names; `schedules` are falling learning rates."""

from math import sqrt
from typing import Any

from ..common.config import deserialize
from ..common.elementary import power
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


class Adam(Optimizer):
    """Adam: running means of the gradient and its square, corrected for starting at zero.

    `amsgrad` divides by the largest mean square so far. Source: Kingma & Ba 2015 (Keras: the form
    with "epsilon hat"; PyTorch: algorithm 1); Reddi et al. 2018 for AMSGrad.
    """

    operation, all_slots = "adam_update", ("m", "v", "vmax")

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = self._number("beta_1", beta_1, 1)
        self.beta_2 = self._number("beta_2", beta_2, 1)
        self.epsilon = self._number("epsilon", epsilon)
        self.amsgrad = flag(amsgrad, f"{type(self).__name__}: amsgrad")
        self.slot_names = ("m", "v", "vmax") if self.amsgrad else ("m", "v")

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        t = self.iterations + 1
        m_correction, v_correction = 1 - power(self.beta_1, t), sqrt(1 - power(self.beta_2, t))
        if self.form == "keras":
            step_size, v_scale = rate * v_correction / m_correction, 1.0
        else:
            step_size, v_scale = rate / m_correction, 1 / v_correction
        return step_size, v_scale, self.beta_1, self.beta_2, self.epsilon


class AdamW(Adam):
    """Adam with decoupled weight decay (default .004), not part of the gradient's means.

    Arguments and errors as for `Adam`. Source: Loshchilov & Hutter 2019.
    """

    decoupled = True

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        weight_decay: float = 0.004,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)


class Nadam(Optimizer):
    """Adam with Nesterov momentum, which grows towards beta_1: u_t = beta_1 (1 - 0.96^t / 2).

    The product of all u so far follows from `iterations`, so it is no slot: a training that is
    resumed has it exactly. PyTorch's form has 0.004 t for t.
    Source: keras/src/optimizers/nadam.py; Dozat 2016.
    """

    operation = "nadam_update"
    all_slots = slot_names = ("m", "v")

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = self._number("beta_1", beta_1, 1)
        self.beta_2 = self._number("beta_2", beta_2, 1)
        self.epsilon = self._number("epsilon", epsilon)
        self._factors: list[Any] = [0, 1.0]  # t and the product that was computed last

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        t = self.iterations + 1
        u, following = (self.beta_1 * self._growth(i) for i in (t, t + 1))
        product = self.product(t)
        # Numerator and denominator of the step are multiplied by this correction of v.
        correction = sqrt(1 - power(self.beta_2, t))
        m_size = correction * rate * following / (1 - product * following)
        g_size = correction * rate * (1 - u) / (1 - product)
        return m_size, g_size, self.beta_1, self.beta_2, correction * self.epsilon

    def product(self, t: int) -> float:
        """Return u_1 * u_2 * ... * u_t."""
        done, factors = self._factors if self._factors[0] <= t else (0, 1.0)
        for i in range(done + 1, t + 1):
            if (factor := self._growth(i)) == 1:  # and all that follow
                break
            factors *= factor
        self._factors[:] = t, factors
        return power(self.beta_1, t) * factors

    def _growth(self, t: int) -> float:
        return 1 - 0.5 * power(0.96, t if self.form == "keras" else 0.004 * t)


RMSProp = RMSprop
OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.__name__: optimizer for optimizer in (SGD, RMSprop, Adam, AdamW, Adadelta, Nadam)
}


def get_optimizer(identifier: str | Optimizer | dict[str, Any]) -> Optimizer:
    """Return an optimizer from an instance, a name ("adam"), or a {"class_name", "config"}."""
    if isinstance(identifier, Optimizer):
        return identifier
    return deserialize("optimizer", identifier, OPTIMIZERS)


get = get_optimizer  # keras.optimizers.get

__all__ = [
    "OPTIMIZERS", "SGD", "Adadelta", "Adam", "AdamW", "Nadam", "Optimizer", "RMSProp", "RMSprop",
    "get_optimizer",
]  # fmt: skip
