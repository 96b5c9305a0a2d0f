"""Optimizers: update parameters from gradients. Formulas and defaults are Keras's.

`form="pytorch"` selects PyTorch's formula where it differs: epsilon outside the bias corrections,
the learning rate outside the momentum buffer, weight decay as an L2 term of the gradient (AdamW's
stays decoupled). An update is one kernel call for all parameters; this module has the state and the
numbers that change from step to step, such as the bias corrections.
Sources: keras/src/optimizers/*.py, torch/optim/*.py.
"""

from math import inf
from types import ModuleType
from typing import Any
from weakref import ref

import numpy as np

from ..common.arrays import Array
from ..common.config import Configured, deserialize, refuse_unknown
from ..common.validate import flag, integer, number, one_of
from .schedules import SCHEDULES, Schedule

EMA = "ema"  # the slot of the average; RMSprop's "average" is that of the gradient


class Optimizer(Configured):
    """Base class: updates all parameters from their gradients.

    `learning_rate`: a number or a `Schedule`. Clipping, at most one of: `clipnorm` (the L2 norm of
    each gradient), `global_clipnorm` (of all gradients together) or `clipvalue` (each element).
    `weight_decay`: each step first multiplies parameters by 1 - learning_rate * weight_decay.
    `use_ema`: each step also moves an exponential average of the parameters, the slot "ema":
    average = ema_momentum * average + (1 - ema_momentum) * parameter; the first step copies them.
    `fit` ends with the averages as the weights, and every `ema_overwrite_frequency` steps they
    replace them in between; `train_on_batch` leaves that to `finalize_variable_values`.
    State: `iterations`, and `slots`, arrays of the parameter's shape keyed "parameter name/slot":
    another dict whenever an array of it is replaced. `numbers`: what a step reads that may change
    before the next one (kernels/reference_training.py); always the same array.
    Raises ValueError for an argument out of range. Source: keras/src/optimizers/base_optimizer.py.
    """

    operation = ""  # its kernel
    all_slots: tuple[str, ...] = ()  # the kernel's, in order
    slot_names: tuple[str, ...] = ()  # those of them that are used
    decoupled = False  # weight decay is no term of the gradient in PyTorch's form either

    def __init__(
        self,
        learning_rate: float | Schedule | dict[str, Any] = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
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
        kind = type(self).__name__
        self.use_ema = flag(use_ema, f"{kind}: use_ema")
        self.ema_momentum = number(
            ema_momentum, f"{kind}: ema_momentum", lambda value: 0 <= value <= 1, "from 0 to 1"
        )
        every = ema_overwrite_frequency
        if every is not None:
            every = integer(every, f"{kind}: ema_overwrite_frequency other than None")
        self.ema_overwrite_frequency = every
        self.numbers = np.zeros(11)
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
        shrink = self.form == "keras" or self.decoupled  # the decay is not in the gradient
        own = self._own_numbers(rate)
        self.numbers[:4] = (
            decay * rate if shrink else 0.0,
            0.0 if shrink else decay,
            inf if self.clipvalue is None else self.clipvalue,
            self.clipnorm or self.global_clipnorm or inf,
        )
        self.numbers[4 : 4 + len(own)] = own
        every = self.ema_overwrite_frequency
        self.numbers[9:] = (
            self.ema_momentum if self.iterations else 0.0,
            every is not None and (self.iterations + 1) % every == 0,
        )

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
        if self.use_ema:
            averages = [slots[f"{name}/{EMA}"] for name in params]
            kernels.ema_update(weights, averages, self.numbers)

    def advance(self) -> None:
        """Count an update that took place."""
        self.iterations += 1

    def allocate(self, params: dict[str, Array]) -> None:
        """Create the slots of these parameters that do not exist yet, as zeros.

        An average that begins later than the first step begins with the parameter.
        """
        for name, param in params.items():
            for slot in self.used_slots:
                if f"{name}/{slot}" not in self.slots:
                    begins = slot == EMA and self.iterations > 0
                    self.slots[f"{name}/{slot}"] = param.copy() if begins else np.zeros_like(param)

    @property
    def used_slots(self) -> tuple[str, ...]:
        """The names of all slots, that of the average included."""
        return (*self.slot_names, EMA) if self.use_ema else self.slot_names

    def averages(self, params: dict[str, Array]) -> dict[str, Array]:
        """The averages of these parameters so far, by the parameters' names: the arrays themselves.

        {} without `use_ema`, and before the first step.
        """
        keys = {name: f"{name}/{EMA}" for name in params if self.use_ema}
        return {name: self.slots[key] for name, key in keys.items() if key in self.slots}

    def finalize_variable_values(self, var_list: dict[str, Array]) -> None:
        """Overwrite these parameters, a model's `trainable_weights`, by their averages.

        Without `use_ema` nothing changes.
        """
        for name, average in self.averages(var_list).items():
            var_list[name][...] = average

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
