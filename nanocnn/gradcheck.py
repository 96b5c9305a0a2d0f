"""Gradient checks: does backward compute the derivative of forward?

Take a scalar L = sum(R * output) with a random R (never a plain sum: a softmax whose backward
returned zeros would pass that). Its gradient by backward is compared, element by element, with
central differences (L(a+h) - L(a-h)) / 2h in float64. Works on a layer, on a stage of a plan (the
fused kernels), on a whole model with or without a loss, and on a loss alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .arrays import Array
from .data.batches import take
from .kernels import reference
from .layers import Layer
from .losses import Loss
from .memory import Memory
from .plan import Stage
from .sequential import Sequential
from .texts import sizes, table
from .trace import unchanged


@dataclass(frozen=True)
class ArrayCheck:
    """One array's result: its worst element, and whether a kink explains it.

    `error` is |analytic - numeric| / max(|analytic|, |numeric|, scale), scale the root mean square
    of the numeric gradient, or what L's rounding leaves visible of it if that is more: relative,
    but not to nothing where a gradient is 0.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    error: float
    index: tuple[int, ...]
    analytic: float
    numeric: float
    kinks: int
    passed: bool


@dataclass(frozen=True)
class Report:
    """The result of `check`: one `ArrayCheck` an array; true when all are right; prints as a table.

    `kinks` counts elements left out because L has a corner there (a ReLU at 0, a tie in a pool):
    backward's value lies between the slopes on both sides, and is right a little further on.
    """

    arrays: tuple[ArrayCheck, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every array's worst error is within the tolerance."""
        return all(array.passed for array in self.arrays)

    @property
    def worst(self) -> ArrayCheck:
        """The array with the largest error."""
        return max(self.arrays, key=lambda array: array.error)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        rows = [("gradient", "shape", "checked", "worst error", "at", "analytic", "numeric", "")]
        for a in self.arrays:
            kinks = f", {a.kinks} kink{'s' * (a.kinks > 1)} left out" if a.kinks else ""
            rows.append(
                (f"dL/d {a.name}", f"({sizes(a.shape)})", str(a.checked), f"{a.error:.1e}",
                 f"({sizes(a.index)})", f"{a.analytic:+.8g}", f"{a.numeric:+.8g}",
                 ("right" if a.passed else "WRONG") + kinks)
            )  # fmt: skip
        verdict = "all gradients are right" if self.passed else "a gradient is WRONG"
        return f"{table(rows)}\n{verdict} (tolerance {self.tolerance:g})"


class _Case:
    """L = sum(weight * output) of stages one after the other, with a loss at their end or without.

    `arrays` are those that may be moved: all parameters, and the input.
    """

    def __init__(
        self, stages: Sequence[Any], layers: Sequence[Layer], x: Array, training: bool,
        rng: np.random.Generator, loss: "_Loss | None" = None,
    ) -> None:  # fmt: skip
        self.stages, self.layers, self.x, self.training = stages, layers, x, training
        self.loss, self.memory = loss, Memory()
        if loss is not None:
            self.weight = rng.uniform(0.5, 1.5, len(x)) / len(x)
        else:
            with unchanged(layers):
                self.weight = rng.standard_normal(self.output().shape)
            self.weight /= np.sqrt(self.weight.size)
        params = {f"{layer.name}/{k}": v for layer in layers for k, v in layer.params.items()}
        self.arrays = {**params, "input" if stages else "prediction": x}

    def output(self) -> Array:
        """What the weight is for: the last stage's output, or each sample's loss."""
        y = self.x
        for stage in self.stages:
            y = stage.forward(y, self.training, self.memory)
        return y if self.loss is None else self.loss.forward(y, self.memory)

    def value(self) -> float:
        """L, with the same random numbers every time."""
        with unchanged(self.layers):
            return float((self.weight * self.output()).sum())

    def gradient(self) -> dict[str, Array]:
        """L's gradient by backward, for each of `arrays`; 0 where backward gives none."""
        with unchanged(self.layers):
            self.output()
            d = self.weight if self.loss is None else self.loss.backward(self.weight, self.memory)
            for stage in reversed(self.stages):
                d = stage.backward(d, True, self.memory)
            found = {f"{each.name}/{k}": v for each in self.layers for k, v in each.grads.items()}
            *_, last = self.arrays
            found[last] = d.reshape(self.x.shape)
            return {k: found[k] if k in found else np.zeros_like(v) for k, v in self.arrays.items()}


class _Loss:
    """A loss of given labels, by the kernels of a set."""

    def __init__(
        self, loss: Loss, y: Any, shape: tuple[int, ...], kernels: ModuleType, logits: bool
    ) -> None:
        self.target = loss.target(loss.labels(y, shape), shape, np.float64)
        self.loss, self.kernels, self.logits = loss, kernels, logits

    def forward(self, prediction: Array, memory: Memory) -> Array:
        return self.loss.forward(prediction, self.target, self.kernels, memory, self.logits)[0]

    def backward(self, weight: Array, memory: Memory) -> Array:
        return self.loss.backward(weight, self.kernels, memory)


def check(
    target: Sequential | Layer | Stage | Loss,
    x: Any,
    y: Any = None,
    *,
    training: bool = True,
    step: float = 1e-5,
    tolerance: float = 1e-7,
    limit: int | None = 200,
    seed: int = 0,
) -> Report:
    """Compare the gradients of `target` with central differences of step `step`, in float64.

    target    a `Sequential`, `Layer`, stage of `model.plan_.stages` or `Loss`; a float32 model is
              checked through a float64 copy, a layer or stage must have been built with "float64"
    x         input (N, *input_shape), for a model as `fit` takes it; for a loss, the prediction.
              Best without equal neighbours: on a plain background a max-pool's ties are corners
    y         labels, for a loss or a compiled model; a model without y is checked by its output
    training  whether dropout and batch statistics are on; dropout's mask is held fixed
    limit     at most this many elements of each array are checked, drawn at random; None: all

    Every parameter and the input are checked; all are left as they were. Returns a `Report`;
    raises ValueError for a target that cannot be checked.
    """
    rng = np.random.default_rng(seed)
    case = _case(target, x, y, training, rng)
    analytic = {name: np.array(grad) for name, grad in case.gradient().items()}
    checks = []
    for name, array in case.arrays.items():
        count = array.size if limit is None else min(limit, array.size)
        picked = np.sort(rng.permutation(array.size)[:count])
        checks.append(_compare(case, name, array, analytic[name], picked, step, tolerance))
    return Report(tuple(checks), tolerance)


def _compare(
    case: _Case, name: str, array: Array, gradient: Array, picked: Array, h: float, tolerance: float
) -> ArrayCheck:
    """Move the picked elements of `array` one by one, in place, and put each back."""
    if gradient.shape != array.shape:
        raise ValueError(f"dL/d {name} has shape {gradient.shape}, expected {array.shape}")
    here, flat = case.value(), array.reshape(-1)

    def value(place: int, by: float) -> float:
        """L with one element moved."""
        before = flat[place]
        flat[place] = before + by
        result = case.value()
        flat[place] = before
        return result

    def error_of(a: Any, n: Any, h: float) -> Any:
        rounding = 2 * np.finfo(np.float64).eps * max(1.0, abs(here)) / h  # of the difference
        floor = max(scale, rounding / tolerance)
        return np.abs(a - n) / np.maximum(np.maximum(np.abs(a), np.abs(n)), floor)

    def beside(place: int, by: float, h: float) -> tuple[float, float]:
        """The gradient by backward and by differences, with one element moved first."""
        before = flat[place]
        flat[place] = before + by
        slope = float(case.gradient()[name].reshape(-1)[place])
        difference = (value(place, h) - value(place, -h)) / (2 * h)
        flat[place] = before
        return slope, difference

    a = gradient.reshape(-1)[picked]
    right = np.array([(value(place, h) - here) / h for place in picked])
    left = np.array([(here - value(place, -h)) / h for place in picked])
    n = (right + left) / 2
    scale = float(np.sqrt(np.mean(n * n)))
    error = error_of(a, n, h)
    # A corner within h spoils the difference, not the gradient: that lies between the slopes on
    # both sides (but for curvature), and with a smaller step, or a little further on, it is right.
    # A wrong one is wrong there too.
    slack = 1e3 * h * scale
    low, high = np.minimum(left, right) - slack, np.maximum(left, right) + slack
    kinks = 0
    for i in np.flatnonzero((error > tolerance) & (low <= a) & (a <= high)):
        for by, smaller in ((0, 0.1 * h), (0, 0.01 * h), (100 * h, 0.01 * h), (-100 * h, 0.01 * h)):
            slope, difference = beside(picked[i], by, smaller)
            if (again := error_of(slope, difference, smaller)) <= tolerance:
                kinks += by != 0
                n[i], error[i] = (n[i], 0) if by else (difference, again)
                break
    error = np.where(np.isfinite(error), error, np.inf)
    worst = int(error.argmax())
    index = tuple(int(i) for i in np.unravel_index(picked[worst], array.shape))
    return ArrayCheck(
        name, array.shape, len(picked), float(error[worst]), index, float(a[worst]),
        float(n[worst]), kinks, bool(error[worst] <= tolerance),
    )  # fmt: skip


def _case(target: Any, x: Any, y: Any, training: bool, rng: np.random.Generator) -> _Case:
    """What is to be checked, in float64."""
    if isinstance(target, Sequential):
        model = _in_float64(target, x)
        x = take(model._images(x), slice(None), np.float64).copy()
        plan, loss = model.plan_, None
        stages: list[Any] = list(plan.stages)
        if y is not None:
            model._ready(x)
            fused = plan.final is not None
            loss = _Loss(model.loss, y, model.output_shape, model.kernels, fused)
        elif plan.final is not None:
            stages.append(Stage(plan.final))
        return _Case(stages, model.layers, x, training, rng, loss)
    x = np.array(x, np.float64)
    if isinstance(target, Loss):
        logits = bool(getattr(target, "from_logits", False))
        loss = _Loss(target, y, x.shape[1:], reference, logits)
        return _Case((), (), x, training, rng, loss)
    if isinstance(target, Layer):
        if not target.built:
            target.build(x.shape[1:], rng, "float64")
        target = Stage(target)
    if not isinstance(target, Stage):
        raise ValueError(f"{target!r}, expected a Sequential, a Layer, a Stage or a Loss")
    if target.layers[0].dtype != np.float64:
        raise ValueError(f"{target.name}: dtype {target.layers[0].dtype}, expected 'float64'")
    target.layers[0]._check(x)
    return _Case([target], target.layers, x, training, rng)


def _in_float64(model: Sequential, x: Any) -> Sequential:
    """The model itself, or a float64 copy of it."""
    model._build_for(x)
    if model.dtype == np.float64:
        return model
    snapshot = model.snapshot()
    snapshot.config["dtype"] = "float64"
    return Sequential.from_snapshot(snapshot, model.kernel_set)
