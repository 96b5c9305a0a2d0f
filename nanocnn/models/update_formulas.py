"""The formulas of one update of a parameter, with every number between gradient and new weight.

They are those of kernels/reference_training.py, written out: a kernel does them in one go and puts
constants together. `Terms` go from the gradient to what is subtracted, in order.
"""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from ..common.arrays import Array
from ..common.elementary import power
from ..optimizers import SGD, Adadelta, Adam, Nadam, Optimizer, RMSprop
from ..optimizers.schedules import Schedule


class Term(NamedTuple):
    """A number of an update: an array like the parameter, or a float for all of it."""

    formula: str
    value: Any


class Terms(dict[str, Term]):
    """The terms by name, in order. `slots`: the slots of the parameter before the step, by name."""

    def __init__(self, optimizer: Optimizer, slots: Mapping[str, Array]) -> None:
        self.optimizer, self.slots = optimizer, slots
        self.t = optimizer.iterations + 1
        self.rate = optimizer.rate()
        self.add("t", "the number of this step, from 1", self.t)
        self.add("learning_rate", rate_text(optimizer), self.rate)

    def add(self, name: str, formula: str, value: Any) -> Any:
        """Add a term; returns its value."""
        self[name] = Term(formula, value)
        return value

    def slot(self, slot: str, name: str, formula: str, new: Callable[[Array], Array]) -> Array:
        """Add a slot before and after the step, as `name`: new(before). Returns the new one."""
        before = self.add(f"{name}_before", "", self.slots[slot])
        after: Array = self.add(name, f"{name} = {formula}", new(before))
        return after

    def mean(self, slot: str, name: str, what: str, value: Array, beta: str) -> Array:
        """Add a slot that is a running mean of `value`, written `what`; `beta` names its decay."""
        decay = 1 - value.dtype.type(getattr(self.optimizer, beta))  # as the kernels round it
        return self.slot(
            slot, name, f"{name}_before + ({what} - {name}_before) * (1 - {beta})",
            lambda before: before + (value - before) * decay,
        )  # fmt: skip


def rate_text(optimizer: Optimizer) -> str:
    """Where the learning rate of the next step is from."""
    rate = optimizer.learning_rate
    name, t = type(rate).__name__, optimizer.iterations
    return f"{name} after {t} step{'s' * (t != 1)}" if isinstance(rate, Schedule) else "constant"


def gradient_terms(
    terms: Terms, before: Array, loss_gradient: Array, factor: float, norm: float
) -> tuple[str, Array]:
    """From the loss's gradient to the one that the optimizer takes: its name and value.

    factor  of the L2 penalty on this parameter
    norm    the gradient's, or that of all, if it is clipped by one
    """
    optimizer, kind = terms.optimizer, before.dtype.type
    terms.add("before", "the weight before the step", before)
    name, g = "gradient", loss_gradient
    if factor:
        terms.add("dloss", "dloss = dL/dbefore without the L2 penalty", loss_gradient)
        g = terms.add(
            name, f"gradient = dloss + 2 * {factor:g} * before", g + kind(2 * factor) * before
        )
    else:
        terms.add(name, "gradient = dL/dbefore", g)
    if limit := optimizer.clipnorm or optimizer.global_clipnorm:
        which = "the whole gradient" if optimizer.clipnorm else "all gradients together"
        terms.add("norm", f"norm = sqrt(sum of squares) of {which}", norm)
        scale = terms.add(
            "scale", f"scale = {limit:g} / max(norm, {limit:g})", limit / max(norm, limit)
        )
        name, g = "clipped", terms.add("clipped", "clipped = gradient * scale", g * kind(scale))
    elif limit := optimizer.clipvalue:
        name = "clipped"
        text = f"clipped = gradient, at least {-limit:g} and at most {limit:g}"
        g = terms.add(name, text, np.clip(g, -limit, limit))
    if _decays_gradient(optimizer):
        decay = optimizer.weight_decay or 0.0
        text = f"decayed = {name} + {decay:g} * before"
        name, g = "decayed", terms.add("decayed", text, g + before * kind(decay))
    return name, g


def _decays_gradient(optimizer: Optimizer) -> bool:
    """Whether weight decay is a term of the gradient."""
    return bool(optimizer.weight_decay) and optimizer.form == "pytorch" and not optimizer.decoupled


def end_terms(terms: Terms, step: Array) -> None:
    """From the optimizer's own step to the new weight, and the average."""
    optimizer, before = terms.optimizer, terms["before"].value
    subtracted, text = step, "step"
    if optimizer.weight_decay and not _decays_gradient(optimizer):
        decay = optimizer.weight_decay
        shrunk = terms.add(
            "decay", f"decay = learning_rate * {decay:g} * before",
            before * before.dtype.type(terms.rate * decay),
        )  # fmt: skip
        subtracted, text = step + shrunk, "step + decay"
    terms.add("subtracted", f"subtracted = {text}", subtracted)
    every = optimizer.ema_overwrite_frequency
    replaced = optimizer.use_ema and every is not None and terms.t % every == 0
    name = "updated" if replaced else "after"
    new = terms.add(name, f"{name} = before - subtracted", before - subtracted)
    if optimizer.use_ema:
        begun = terms.t > 1
        momentum = before.dtype.type(optimizer.ema_momentum if begun else 0)
        text = f"{momentum:g} * ema_before + (1 - {momentum:g}) * {name}" if begun else name
        average = terms.slot("ema", "ema", text, lambda old: old * momentum + (1 - momentum) * new)
        if replaced:
            terms.add("after", "after = ema", average)


# --- The optimizers: each adds its terms and returns the step -------------------------------------


def sgd(terms: Terms, optimizer: SGD, name: str, g: Array) -> Array:
    """Gradient descent, with momentum; Nesterov's looks one step ahead."""
    rate, momentum = terms.rate, optimizer.momentum
    if not momentum:
        return terms.add("step", f"step = learning_rate * {name}", rate * g)
    inside = optimizer.form == "keras"  # where the rate is
    push, text = (rate * g, f"learning_rate * {name}") if inside else (g, name)
    velocity = terms.slot(
        "momentum", "velocity", f"momentum * velocity_before - {text}",
        lambda before: momentum * before - push,
    )  # fmt: skip
    step, words = -velocity, "-velocity"
    if optimizer.nesterov:
        step, words = push - momentum * velocity, f"{text} - momentum * velocity"
    if not inside:
        step, words = rate * step, f"learning_rate * ({words})"
    return terms.add("step", f"step = {words}", step)


def rmsprop(terms: Terms, optimizer: RMSprop, name: str, g: Array) -> Array:
    """The gradient divided by the root of its running mean square."""
    epsilon = optimizer.epsilon
    v, root = terms.mean("v", "v", f"{name}^2", g * g, "rho"), "v"
    if optimizer.centered:
        average = terms.mean("average", "average", name, g, "rho")
        v = terms.add("variance", "variance = v - average^2", v - average * average)
        root = "variance"
    keras = optimizer.form == "keras"
    if keras:
        divisor = terms.add("root", f"root = sqrt({root} + epsilon)", np.sqrt(v + epsilon))
        step, text = terms.rate * g / divisor, f"learning_rate * {name} / root"
    else:
        divisor = terms.add("root", f"root = sqrt({root}) + epsilon", np.sqrt(v) + epsilon)
        step, text = g / divisor, f"{name} / root"
    if optimizer.momentum:
        step = terms.slot(
            "buffer", "buffer", f"momentum * buffer_before + {text}",
            lambda before: optimizer.momentum * before + step,
        )  # fmt: skip
        text = "buffer"
    if not keras:
        step, text = terms.rate * step, f"learning_rate * {text}"
    return terms.add("step", f"step = {text}", step)


def adadelta(terms: Terms, optimizer: Adadelta, name: str, g: Array) -> Array:
    """The gradient divided by its root mean square, times that of the steps so far."""
    epsilon = optimizer.epsilon
    v, delta = terms.mean("v", "v", f"{name}^2", g * g, "rho"), terms.slots["delta"]
    own = terms.add(
        "own", f"own = sqrt(delta_before + epsilon) * {name} / sqrt(v + epsilon)",
        np.sqrt(delta + epsilon) * g / np.sqrt(v + epsilon),
    )  # fmt: skip
    terms.mean("delta", "delta", "own^2", own * own, "rho")
    return terms.add("step", "step = learning_rate * own", terms.rate * own)


def adam(terms: Terms, optimizer: Adam, name: str, g: Array) -> Array:
    """Running means of the gradient and its square, corrected for starting at zero."""
    m, v = _moments(terms, name, g)
    first, second = (_correction(terms, n, beta) for n, beta in (("m", "beta_1"), ("v", "beta_2")))
    mean = "v"
    if optimizer.amsgrad:
        text, mean = "the larger of vmax_before and v", "vmax"
        largest = v
        v = terms.slot("vmax", "vmax", text, lambda before: np.maximum(before, largest))
    if optimizer.form == "keras":
        size = terms.add(
            "step_size", "step_size = learning_rate * sqrt(v_correction) / m_correction",
            terms.rate * sqrt(second) / first,
        )  # fmt: skip
        root, text = np.sqrt(v), f"sqrt({mean})"
    else:
        size = terms.add(
            "step_size", "step_size = learning_rate / m_correction", terms.rate / first
        )
        root, text = np.sqrt(v) / sqrt(second), f"sqrt({mean}) / sqrt(v_correction)"
    step = size * m / (root + optimizer.epsilon)
    return terms.add("step", f"step = step_size * m / ({text} + epsilon)", step)


def nadam(terms: Terms, optimizer: Nadam, name: str, g: Array) -> Array:
    """Adam with Nesterov's momentum u, which grows from step to step."""
    m, v = _moments(terms, name, g)
    t, beta = terms.t, optimizer.beta_1
    exponent = "t" if optimizer.form == "keras" else "(0.004 t)"
    u, following = (beta * optimizer._growth(i) for i in (t, t + 1))
    terms.add("u", f"u = beta_1 * (1 - 0.5 * 0.96^{exponent})", u)
    terms.add("u_next", "u_next = u of the step t + 1", following)
    product = terms.add("u_product", "u_product = product of all u so far", optimizer.product(t))
    m_hat = terms.add(
        "m_hat", "m_hat = u_next * m / (1 - u_product * u_next)",
        m * (following / (1 - product * following)),
    )  # fmt: skip
    g_hat = terms.add(
        "g_hat", f"g_hat = (1 - u) * {name} / (1 - u_product)", g * ((1 - u) / (1 - product))
    )
    second = _correction(terms, "v", "beta_2")
    step = terms.rate * (m_hat + g_hat) / (np.sqrt(v) / sqrt(second) + optimizer.epsilon)
    text = "learning_rate * (m_hat + g_hat) / (sqrt(v) / sqrt(v_correction) + epsilon)"
    return terms.add("step", f"step = {text}", step)


def _moments(terms: Terms, name: str, g: Array) -> tuple[Array, Array]:
    return (
        terms.mean("m", "m", name, g, "beta_1"),
        terms.mean("v", "v", f"{name}^2", g * g, "beta_2"),
    )


def _correction(terms: Terms, name: str, beta: str) -> float:
    """What a running mean of ones would be after t steps from 0."""
    value = 1 - power(getattr(terms.optimizer, beta), terms.t)
    terms.add(f"{name}_correction", f"{name}_correction = 1 - {beta}^t", value)
    return value


FORMULAS: dict[str, Callable[..., Array]] = {  # by the optimizer's kernel
    "sgd_update": sgd, "rmsprop_update": rmsprop, "adadelta_update": adadelta,
    "adam_update": adam, "nadam_update": nadam,
}  # fmt: skip
