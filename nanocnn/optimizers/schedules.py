"""Learning-rate schedules: schedule(step) -> rate. Names and formulas are Keras's.

A step is one update of the parameters.
"""

from dataclasses import KW_ONLY, dataclass, fields
from math import floor, inf, pi
from typing import ClassVar, get_origin

from ..common.config import Configured
from ..common.elementary import cos, power
from ..common.validate import flag, number, to_python


@dataclass(frozen=True)
class Schedule(Configured):
    """Base class: a learning rate that depends on the number of updates so far.

    `decay_steps`, `warmup_steps` and `boundaries` are numbers of updates. Raises ValueError for
    arguments out of range. Source: keras/src/optimizers/schedules/learning_rate_schedule.py.
    """

    positive: ClassVar[tuple[str, ...]] = ("decay_steps",)

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number `step`, counted from 0."""
        kind = type(self).__name__
        number(step, f"{kind}: step", lambda step: step >= 0, ">= 0")
        try:
            rate = self._rate(step)
        except OverflowError:
            rate = inf
        return number(rate, f"{kind}: the rate of step {step}")

    def _rate(self, step: int) -> float:
        raise NotImplementedError

    def __post_init__(self) -> None:
        for field in fields(self):
            value, where = getattr(self, field.name), f"{type(self).__name__}: {field.name}"
            if isinstance(field.default, bool):
                flag(value, where)
            elif field.name in self.positive:
                number(value, where, lambda value: value > 0, "more than 0")
            elif value is not None or field.default is not None:
                listed = get_origin(field.type) is list and isinstance(value, (list, tuple))
                for item in value if listed else (value,):
                    number(item, where)
                value = [to_python(item) for item in value] if listed else value
            object.__setattr__(self, field.name, to_python(value))


@dataclass(frozen=True)
class _Decay(Schedule):
    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False

    def _periods(self, step: int) -> float:
        periods = step / self.decay_steps
        return floor(periods) if self.staircase else periods


@dataclass(frozen=True)
class ExponentialDecay(_Decay):
    """rate = initial * decay_rate^p, p = step / decay_steps, rounded down if `staircase`.

    Units, errors and source: `Schedule`.
    """

    positive: ClassVar = ("decay_steps", "decay_rate")

    def _rate(self, step: int) -> float:
        return self.initial_learning_rate * power(self.decay_rate, self._periods(step))


@dataclass(frozen=True)
class PiecewiseConstantDecay(Schedule):
    """values[i] up to and including step boundaries[i], then the next value.

    ValueError unless there is one more value than boundaries. Units and source: `Schedule`.
    """

    boundaries: list[int]
    values: list[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        both = (self.boundaries, self.values)
        lists = all(isinstance(each, (list, tuple)) for each in both)
        if not lists or len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"PiecewiseConstantDecay: boundaries={self.boundaries}, values={self.values}, "
                "expected two lists, with one more value than boundaries"
            )
        if list(self.boundaries) != sorted(self.boundaries):
            raise ValueError(
                f"PiecewiseConstantDecay: boundaries={self.boundaries}, expected ascending"
            )

    def _rate(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Half a cosine from initial down to alpha * initial over `decay_steps`.

    With `warmup_target` the rate first rises linearly from initial to the target over
    `warmup_steps`, and the cosine starts there. Source: Loshchilov & Hutter 2017. See `Schedule`.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    _: KW_ONLY  # Keras has `name` here
    warmup_target: float | None = None
    warmup_steps: int = 0

    def _rate(self, step: int) -> float:
        peak, start = self.initial_learning_rate, 0
        if self.warmup_target is not None:
            peak, start = self.warmup_target, self.warmup_steps
            if step < start:
                climb = (peak - self.initial_learning_rate) * step / start
                return self.initial_learning_rate + climb
        done = min(step - start, self.decay_steps) / self.decay_steps
        return peak * ((1 - self.alpha) * 0.5 * (1 + cos(pi * done)) + self.alpha)


@dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """From initial to end in `decay_steps`: (initial-end) * (1 - step/decay_steps)^power + end.

    `cycle` restarts the decay at its end, each time longer by `decay_steps`.
    Units, errors and source: `Schedule`.
    """

    positive: ClassVar = ("decay_steps", "power")
    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False

    def _rate(self, step: int) -> float:
        span = self.decay_steps
        if self.cycle and step > span:
            span *= -(-step // span)
        left = 1 - min(step, span) / span
        drop = self.initial_learning_rate - self.end_learning_rate
        return drop * power(left, self.power) + self.end_learning_rate


@dataclass(frozen=True)
class InverseTimeDecay(_Decay):
    """rate = initial / (1 + decay_rate * p), p = step / decay_steps, rounded down if `staircase`.

    Units, errors and source: `Schedule`.
    """

    def _rate(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Half a cosine up to max_learning_rate, then half a cosine down, over `total_steps` updates.

    It rises from max / div_factor for `pct_start` (0 to 1) of the steps, falls to
    max / div_factor / final_div_factor in update number total_steps - 1, and stays there.
    Keras has none: a .h5 or .keras file keeps no optimizer with it. Units and errors: `Schedule`.
    Source: torch.optim.lr_scheduler.OneCycleLR; Smith & Topin 2017.
    """

    positive: ClassVar = ("total_steps", "div_factor", "final_div_factor")
    max_learning_rate: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        where = "OneCycle: pct_start"
        number(self.pct_start, where, lambda value: 0 <= value <= 1, "from 0 to 1")

    def _rate(self, step: int) -> float:
        last = self.total_steps - 1
        top = self.pct_start * self.total_steps - 1  # the step of the maximum, -1 if there is none
        now = min(step, last)
        first = self.max_learning_rate / self.div_factor
        if now <= top:
            start, end, done = first, self.max_learning_rate, now / top if top > 0 else 1.0
        else:
            start, end = self.max_learning_rate, first / self.final_div_factor
            done = (now - top) / (last - top)
        return end + (start - end) / 2 * (1 + cos(pi * done))


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.__name__: schedule
    for schedule in (ExponentialDecay, PiecewiseConstantDecay, CosineDecay, PolynomialDecay,
                     InverseTimeDecay, OneCycle)
}  # fmt: skip
