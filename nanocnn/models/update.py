"""One optimizer step with every number: `optimizer_step(model, x, y)`."""

from copy import copy
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

import numpy as np

from ..common.arrays import Array, quiet
from ..common.errors import NonFiniteError, unknown
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from ..optimizers import OPTIMIZERS, Optimizer
from .evaluator import Evaluator
from .formulas import where
from .reach import checked_cell
from .record import unchanged
from .step import Step
from .update_formulas import FORMULAS, Term, Terms, end_terms, gradient_terms, rate_text

SHOWN = 3  # weights of each parameter in the worked example
ABOUT = [
    "Of each parameter the weights with the largest gradients. The formulas are those of the",
    "function that is named, written out; before, gradient, the slots and after are the",
    "model's own numbers.",
]


@dataclass(frozen=True, repr=False)
class ParameterStep:
    """What one step does to one parameter; all arrays have its shape.

    before, after  the weights before and after the step
    gradient       dL/dweight, with the L2 penalty's term, before clipping
    clipped        the gradient after clipping: the same without any
    slots_before, slots_after  the optimizer's slots of this parameter, by name: "m", "v", ...
    """

    name: str
    before: Array
    gradient: Array
    clipped: Array
    slots_before: dict[str, Array]
    slots_after: dict[str, Array]
    after: Array
    _loss_gradient: Array = field(repr=False)
    _factor: float  # of the L2 penalty
    _norm: float  # that clipping looks at
    _optimizer: Optimizer  # as it was before the step

    def terms(self, index: Any = ...) -> dict[str, Term]:
        """{name: (formula, value)} of every number on the way, in order; arrays, or floats.

        `index`: of these elements of the arrays. What the model computed has its bits; the numbers
        between are recomputed, in the same dtype. For a kind of optimizer that is not nanocnn's,
        only the model's own numbers.
        """
        optimizer = self._optimizer
        names = {slot: _label(optimizer, slot) for slot in self.slots_before}
        own = {"before": self.before, "gradient": self.gradient, "after": self.after}
        own |= {f"{name}_before": self.slots_before[slot] for slot, name in names.items()}
        own |= {name: self.slots_after[slot] for slot, name in names.items()}
        if type(optimizer) not in OPTIMIZERS.values():
            return {name: Term("", array[index]) for name, array in own.items()}
        terms = Terms(optimizer, {slot: a[index] for slot, a in self.slots_before.items()})
        name, g = gradient_terms(
            terms, self.before[index], self._loss_gradient[index], self._factor, self._norm
        )
        end_terms(terms, FORMULAS[optimizer.operation](terms, optimizer, name, g))
        if "clipped" in terms:
            own["clipped"] = self.clipped
        return {
            name: Term(term.formula, own[name][index]) if name in own else term
            for name, term in terms.items()
        }

    def __repr__(self) -> str:
        return f"ParameterStep({self.name}, {self.before.shape})"

    def __str__(self) -> str:
        return "\n".join(_parameter_lines(self))


@dataclass(frozen=True, repr=False)
class OptimizerStep:
    """One step of the optimizer: `step["conv2d/kernel"]` is a `ParameterStep`, by its name.

    `print(step)` is a worked example. optimizer: its class; about: its options; t: the number of
    this step, from 1; loss: before the step; params: the `ParameterStep`s by name.
    """

    optimizer: str
    about: str
    t: int
    learning_rate: float
    loss: float
    params: dict[str, ParameterStep]

    def of(self, name: str, index: Any) -> dict[str, float]:
        """Every number of one weight: {"t", "learning_rate", "before", "gradient", ..., "after"}.

        `name` is "layer/param", `index` the weight's place in the array. ValueError for others.
        """
        step = self[name]
        place = checked_cell(index, step.before.shape, repr(name), "index")
        if len(place) < step.before.ndim:
            raise ValueError(f"index={index!r:.80}, expected one for each axis of {name!r}: "
                             f"{step.before.shape}")  # fmt: skip
        terms = step.terms(tuple(slice(i, i + 1) for i in place))
        return {key: np.asarray(term.value).item() for key, term in terms.items()}

    def __getitem__(self, name: str) -> ParameterStep:
        if not isinstance(name, str) or name not in self.params:
            raise unknown("parameter name", name, self.params)
        return self.params[name]

    def __repr__(self) -> str:
        return f"OptimizerStep({self.optimizer}, step {self.t}, {len(self.params)} parameters)"

    def __str__(self) -> str:
        about = f"Step {self.t}, before it a loss of {self.loss:.6g}. {self.about}."
        lines = [*wrap(about, 98, break_long_words=False), *ABOUT]
        for step in self.params.values():
            lines += ["", *_parameter_lines(step)]
        return "\n".join(lines)


@never_captured
def optimizer_step(model: Evaluator, x: Any, y: Any) -> OptimizerStep:
    """Every number of one step of the model's optimizer for the batch x (N, ...), labels y.

    From gradients to new weights: L2 penalties, clipping, weight decay, slots, bias corrections.
    The new weights have the bits that `train_on_batch` gives; the model is left as it was. Raises
    what `train_on_batch` raises for bad data, `NonFiniteError` for a loss that is not finite.
    """
    if not isinstance(model, Evaluator):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    data = model._checked_data(x, y)
    model.execution_plan.require_backward()
    model.optimizer.bind(model)
    with unchanged(model.layers):
        step = _WatchedStep(model, len(data.x))
        return step.watch(data)


class _WatchedStep(Step):
    """A training step that updates copies, of the weights and of the optimizer."""

    def __init__(self, model: Evaluator, samples: int) -> None:
        super().__init__(model, samples, Memory(), False)
        self.optimizer = copy(model.optimizer)  # from here on it is a training

    def watch(self, data: Any) -> OptimizerStep:
        """Forward, backward, and the update of the copies."""
        optimizer, model = self.optimizer, self.model
        assert optimizer is not None
        self._fill_in(data, slice(0, self.samples))
        quiet(self._forward)()
        loss = float(self._mean[0] + self._penalty[0])
        if not np.isfinite(loss):
            raise NonFiniteError(f"the loss is {loss}")
        quiet(self._backward)()
        loss_gradients = {
            f"{layer.name}/{name}": layer.grads[name].copy()
            for layer in model.layers
            for name in layer.trainable_weights
        }
        weights, grads = model.parameters()
        before, params = _copies(weights), _copies(weights)
        gradients = _copies(grads)
        optimizer.allocate(params)
        first = copy(optimizer)
        rate = optimizer.rate()
        optimizer.prepare()
        quiet(optimizer.update)(params, grads, model.kernels)
        factors, norms = model.penalties(), _norms(optimizer, gradients)
        steps = {
            name: ParameterStep(
                name, before[name], gradients[name], grads[name].copy(),
                _slots(first, name), _slots(optimizer, name), params[name],
                loss_gradients[name], factors.get(name, 0.0), norms[name], first,
            )
            for name in params
        }  # fmt: skip
        kind = type(optimizer).__name__
        about = f"{kind}: {_options(first)}"
        return OptimizerStep(kind, about, first.iterations + 1, rate, loss, steps)


def _options(optimizer: Optimizer) -> str:
    """Its arguments that are not None or False, and its kernel."""
    options = [
        f"{name}={value}" for name, value in optimizer.get_config().items()
        if name not in ("name", "learning_rate") and value not in (None, False)
    ]  # fmt: skip
    rate = f"learning_rate={optimizer.rate():g} ({rate_text(optimizer)})"
    return ", ".join([rate, *options, where(optimizer.operation)])


def _copies(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _slots(optimizer: Optimizer, name: str) -> dict[str, Array]:
    return {slot: optimizer.slots[f"{name}/{slot}"] for slot in optimizer.used_slots}


def _label(optimizer: Optimizer, slot: str) -> str:
    """The name of a slot in formulas: SGD's is that of a number, too."""
    return "velocity" if (optimizer.operation, slot) == ("sgd_update", "momentum") else slot


def _norms(optimizer: Optimizer, gradients: dict[str, Array]) -> dict[str, float]:
    """The norm that clipping looks at, of each gradient or of all."""
    squares = {n: float(np.square(g, dtype=np.float64).sum()) for n, g in gradients.items()}
    if optimizer.global_clipnorm is not None:
        squares = dict.fromkeys(squares, sum(squares.values()))
    return {name: float(np.sqrt(square)) for name, square in squares.items()}


# --- In words ---


def _parameter_lines(step: ParameterStep) -> list[str]:
    """A table: a line for each term, a column for each weight."""
    size = np.abs(step.gradient).reshape(-1)
    top = np.argsort(-size, kind="stable")[:SHOWN]
    places = np.unravel_index(top, step.before.shape)
    columns = [f"[{','.join(map(str, place))}]" for place in zip(*places, strict=True)]
    title = f"{step.name} {step.before.shape}"
    lines = [_row(title, columns)]
    for name, (formula, value) in step.terms(places).items():
        if name in ("t", "learning_rate"):
            continue
        text = formula if formula.startswith(f"{name} =") else f"{name}  {formula}".rstrip()
        if isinstance(value, np.ndarray):
            lines.append(_row(f"  {text}", [f"{number:.6g}" for number in value]))
        else:
            lines.append(_row(f"  {text}", [f"{value:.6g}"]))
    return lines


def _row(text: str, columns: list[str]) -> str:
    cells = "".join(f"{column:>14}" for column in columns)
    return f"{text:<56}{cells}" if len(text) <= 56 else f"{text}\n{'':<56}{cells}"
