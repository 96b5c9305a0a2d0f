"""Optimizers: update parameters from gradients. Formulas and defaults are Keras's.

`form="pytorch"` selects PyTorch's formula where it differs: epsilon outside the bias corrections,
the learning rate outside the momentum buffer, weight decay as an L2 term of the gradient (AdamW's
stays decoupled). An update is one kernel call for all parameters; this module has the state and the
numbers that change from step to step, such as the bias corrections.
Sources: keras/src/optimizers/*.py, torch/optim/*.py.
"""

from math import inf, sqrt
from types import ModuleType
from typing import Any
from weakref import ref

import numpy as np

from .common.arrays import Array
from .common.config import Configured, deserialize, refuse_unknown
from .common.elementary import power
from .common.validate import flag, number, one_of
from .schedules import SCHEDULES, Schedule


class Optimizer(Configured):
    """Base class: updates all parameters from their gradients.

    `learning_rate`: a number or a `Schedule`. Clipping, at most one of: `clipnorm` (the L2 norm of
    each gradient), `global_clipnorm` (of all gradients together) or `clipvalue` (each element).
    `weight_decay`: each step first multiplies parameters by 1 - learning_rate * weight_decay.
    State: `iterations`, and `slots`, arrays of the parameter's shape keyed "parameter name/slot":
    another dict whenever an array of it is replaced. `numbers`: what a step reads that may change
    before the next one (kernels/reference_training.py); always the same array.
    Raises ValueError for an argument out of range. Source: keras/src/optimizers/optimizer.py.
    """

    operation = ""  # its kernel
    all_slots: tuple[str, ...] = ()  # the kernel's, in order
    slot_names: tuple[str, ...] = ()  # those that are used

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        form: str = "keras",
        **unknown: Any,
    ) -> None:
        refuse_unknown(type(self), unknown)
        self.learning_rate = learning_rate
        self.form = one_of(form, ("keras", "pytorch"), "optimizer form")
        self.weight_decay = self._optional("weight_decay", weight_decay)
        self.clipnorm = self._optional("clipnorm", clipnorm)
        self.clipvalue = self._optional("clipvalue", clipvalue)
        self.global_clipnorm = self._optional("global_clipnorm", global_clipnorm)
        clips = (self.clipnorm, self.clipvalue, self.global_clipnorm)
        if clips.count(None) < 2 or 0 in clips:
            raise ValueError(
                f"{type(self).__name__}: clipnorm={clipnorm}, clipvalue={clipvalue}, "
                f"global_clipnorm={global_clipnorm}, expected at most one, more than 0"
            )
        self.numbers = np.zeros(9)
        self.reset()
        self._model: ref[Any] | None = None

    @property
    def learning_rate(self) -> Any:
        """A number or a `Schedule`; may be set at any time."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, dict):
            value = deserialize("learning rate schedule", value, SCHEDULES)
        if not isinstance(value, Schedule):
            value = self._number("learning_rate", value)
        self._learning_rate: float | Schedule = value

    def _no_lr(self, *_: Any) -> Any:
        raise AttributeError(f"{type(self).__name__}.lr: use learning_rate")

    lr = property(_no_lr, _no_lr)  # the name before Keras 2.3; setting it would have no effect

    def reset(self) -> None:
        """Reset iterations and slots, as when the model gets new weights."""
        self.iterations = 0
        self.slots: dict[str, Array] = {}

    def bind(self, model: Any) -> None:
        """Bind the optimizer to `model` before training; ValueError if it has another's state.

        SGD without momentum and schedule has no state, so it can train several models in turn.
        """
        if self._model is not None:
            if self._model() is model:
                return
            if self.slots or (self.iterations and isinstance(self.learning_rate, Schedule)):
                raise ValueError(
                    f"this {type(self).__name__} has trained another model and keeps its state; "
                    "make a new optimizer for each model"
                )
        params = model.weights if model.built else {}
        for key, slot in self.slots.items():
            param = params.get(key.rpartition("/")[0])
            if param is None or (param.shape, param.dtype) != (slot.shape, slot.dtype):
                raise ValueError(
                    f"this {type(self).__name__} keeps {key}, {slot.dtype} {slot.shape}, of "
                    "another model; make a new optimizer for each model"
                )
        self._model = ref(model)

    def __getstate__(self) -> dict[str, Any]:  # a copy has its own state and no model yet
        slots = {name: array.copy() for name, array in self.slots.items()}
        return {**self.__dict__, "slots": slots, "numbers": self.numbers.copy(), "_model": None}

    def rate(self) -> float:
        """Return the learning rate of the next update."""
        rate = self.learning_rate
        return float(rate(self.iterations)) if isinstance(rate, Schedule) else rate

    def apply(self, params: dict[str, Array], grads: dict[str, Array], kernels: ModuleType) -> None:
        """Update all parameters in place; clipping scales the gradients in place too.

        `params` and `grads` have the same keys; `kernels` is the kernel set to use.
        """
        self.prepare()
        self.update(params, grads, kernels)
        self.advance()

    def prepare(self) -> None:
        """Set `numbers` for the next update; nothing else changes."""
        rate, decay = self.rate(), self.weight_decay or 0.0
        shrink = self.form == "keras" or isinstance(self, AdamW)  # the decay is not in the gradient
        own = self._own_numbers(rate)
        self.numbers[:4] = (
            decay * rate if shrink else 0.0,
            0.0 if shrink else decay,
            inf if self.clipvalue is None else self.clipvalue,
            self.clipnorm or self.global_clipnorm or inf,
        )
        self.numbers[4 : 4 + len(own)] = own

    def update(
        self,
        params: dict[str, Array],
        grads: dict[str, Array],
        kernels: ModuleType,
        slots: dict[str, Array] | None = None,
    ) -> None:
        """The kernel calls of `apply`: all that changes from step to step is in `numbers`.

        `slots`: those of `params`, if these are parts of the parameters.
        """
        if slots is None:
            self.allocate(params)
            slots = self.slots
        weights, gradients = list(params.values()), [grads[name] for name in params]
        each = [
            [slots[f"{name}/{slot}"] for name in params] if slot in self.slot_names else []
            for slot in self.all_slots
        ]
        scales = None
        if self.clipnorm is not None or self.global_clipnorm is not None:
            scales = np.empty(len(weights))
            kernels.clip_scales(gradients, self.numbers, self.global_clipnorm is not None, scales)
        getattr(kernels, self.operation)(
            weights, gradients, *each, self.numbers, *self._flags(),
            scales=scales, clips=self.clipvalue is not None,
        )  # fmt: skip

    def advance(self) -> None:
        """Count an update that took place."""
        self.iterations += 1

    def allocate(self, params: dict[str, Array]) -> None:
        """Create the slots of these parameters that do not exist yet, as zeros."""
        for name, param in params.items():
            for slot in self.slot_names:
                if f"{name}/{slot}" not in self.slots:
                    self.slots[f"{name}/{slot}"] = np.zeros_like(param)

    def get_state(self) -> dict[str, Array]:
        """Return copies of `iteration` and every slot."""
        slots = {name: array.copy() for name, array in self.slots.items()}
        return {"iteration": np.array(self.iterations, np.int64), **slots}

    def set_state(self, state: dict[str, Array]) -> None:
        """Restore the state that `get_state` returned."""
        self.iterations = int(state.get("iteration", 0))
        self.slots = {name: array.copy() for name, array in state.items() if name != "iteration"}

    def _own_numbers(self, rate: float) -> tuple[float, ...]:
        """The numbers from `numbers[4]` on, for this learning rate."""
        raise NotImplementedError

    def _flags(self) -> tuple[bool, ...]:
        """The arguments of the kernel after `numbers`."""
        return ()

    def _optional(self, name: str, value: Any) -> float | None:
        return None if value is None else self._number(name, value)

    def _number(self, name: str, value: Any, below: float | None = None) -> float:
        """Check a number of at least 0 and, if given, less than `below`."""
        words = ">= 0" if below is None else f">= 0 and < {below}"
        return number(
            value, f"{type(self).__name__}: {name}",
            lambda value: value >= 0 and (below is None or value < below), words,
        )  # fmt: skip


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

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        weight_decay: float = 0.004,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)


RMSProp = RMSprop
OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.__name__: optimizer for optimizer in (SGD, RMSprop, Adam, AdamW)
}


def get_optimizer(spec: str | Optimizer | dict[str, Any]) -> Optimizer:
    """Return an optimizer from an instance, a name ("adam"), or a {"class_name", "config"}."""
    return spec if isinstance(spec, Optimizer) else deserialize("optimizer", spec, OPTIMIZERS)
