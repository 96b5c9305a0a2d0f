"""Adam and its relatives: AdamW, Nadam."""

from functools import lru_cache
from math import sqrt
from typing import Any

from ..common.elementary import power
from ..common.validate import flag
from .base import Optimizer
from .schedules import Schedule


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
    resumed has it exactly. PyTorch's form has 0.004 t for
    t. Source: keras/src/optimizers/nadam.py; Dozat 2016.
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
        self._factors: dict[int, float] = {}  # the last product of them that was computed

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        t = self.iterations + 1
        u, following = (self.beta_1 * self._factor(i) for i in (t, t + 1))
        product = self.product(t)
        # Numerator and denominator of the step are multiplied by this correction of v.
        correction = sqrt(1 - power(self.beta_2, t))
        m_size = correction * rate * following / (1 - product * following)
        g_size = correction * rate * (1 - u) / (1 - product)
        return m_size, g_size, self.beta_1, self.beta_2, correction * self.epsilon

    def product(self, t: int) -> float:
        """Return u_1 * u_2 * ... * u_t."""
        factors, first = self._factors.get(t - 1), t
        if factors is None:
            factors, first = 1.0, 1
        for i in range(first, t + 1):
            if (factor := self._factor(i)) == 1:  # and all that follow
                break
            factors *= factor
        self._factors.clear()
        self._factors[t] = factors
        return power(self.beta_1, t) * factors

    def _factor(self, t: int) -> float:
        return _growth(t if self.form == "keras" else 0.004 * t)


@lru_cache(8)  # each is needed three times, in two steps
def _growth(t: float) -> float:
    return 1 - 0.5 * power(0.96, t)
