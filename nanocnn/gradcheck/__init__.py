"""Gradient checks: does backward compute the derivative of forward?

Take a scalar L = sum(R * output) with a random R (never a plain sum: a softmax whose backward
returned zeros would pass that). Its gradient by backward is compared, element by element, with
central differences (L(a+h) - L(a-h)) / 2h in float64. Works on a layer, on a stage of a plan (the
fused kernels), on a whole model with or without a loss, and on a loss alone.

L has corners: where a ReLU's input is 0 and where two cells of a max-pool are equal it has several
slopes, and backward gives one of them. On real digits such ties are everywhere, since all plain
paper is equal. So where backward and the difference disagree, there are three cases:

1. L is smooth there: within the step no ReLU and no pool chooses otherwise, and half the step gives
   the same difference. Then backward is wrong.
2. A corner is near: a shorter step is taken.
3. A corner is at the point itself: every array is moved by a little noise. That leaves no tie, and
   a backward that is wrong is wrong there too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.errors import NonFiniteError
from ..common.tables import sizes, table
from ..common.validate import flag, integer, number
from ..layers import Layer
from ..losses import Loss
from ..models.plan import Stage
from ..models.sequential import Sequential
from . import scalar
from .scalar import Scalar

NOISE = 1e-2  # how far every number is moved away from a tie, at most
PLACES = 3  # beside a tie, before an element is given up


@dataclass(frozen=True)
class ArrayCheck:
    """One array's result: the counts of its elements, and the worst of those decided.

    `error` is |analytic - numeric| / max(|analytic|, |numeric|, scale), scale the root mean square
    of the numeric gradient, or what L's rounding leaves visible of it if that is more: relative,
    but not to nothing where a gradient is 0.

    checked    elements looked at one by one; `rest` more were moved all at once
    wrong      elements found wrong; the rest counts as one, and as `index` ()
    ties       elements at a corner of L, right beside it: the numbers are those from there
    undecided  elements of which neither could be shown
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    rest: int
    error: float
    index: tuple[int, ...]
    analytic: float
    numeric: float
    wrong: int
    ties: int
    undecided: int

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, and most of what was looked at could be decided."""
        return not self.wrong and 2 * self.undecided <= self.checked

    @property
    def looked_at(self) -> str:
        """How many elements: "36", or "200 + rest"."""
        return f"{self.checked}{' + rest' * (self.rest > 0)}"

    @property
    def verdict(self) -> str:
        """In words: "right, 12 at ties", "WRONG: 3 of 36", "NOT DECIDED: 150 of 200"."""
        if self.undecided and not (self.wrong or self.passed):
            return f"NOT DECIDED: {self.undecided} of {self.checked}"
        words = [f"WRONG: {self.wrong} of {self.looked_at}" if self.wrong else "right"]
        words += [f"{self.ties} at ties"] * (self.ties > 0)
        return ", ".join([*words, *[f"{self.undecided} undecided"] * (self.undecided > 0)])


@dataclass(frozen=True)
class Report:
    """The result of `check`: one `ArrayCheck` an array; true when all passed; prints as a table."""

    arrays: tuple[ArrayCheck, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every array passed: nothing is wrong, and most of it could be decided."""
        return all(array.passed for array in self.arrays)

    @property
    def worst(self) -> ArrayCheck:
        """The array with the largest error."""
        return max(self.arrays, key=lambda array: array.error)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        rows = [
            ("gradient", "shape", "checked", "worst error", "at", "analytic", "numeric", "verdict")
        ]
        for a in self.arrays:
            at = f"({sizes(a.index)})" if a.index or not a.shape else "the rest"
            error = "-" if a.undecided == a.checked else f"{a.error:.1e}"
            rows.append(
                (f"dL/d {a.name}", f"({sizes(a.shape)})", a.looked_at, error, at,
                 f"{a.analytic:+.8g}", f"{a.numeric:+.8g}", a.verdict)
            )  # fmt: skip
        verdict = f"{self._verdict()} (tolerance {self.tolerance:g})"
        return "\n".join([table(rows), *self._notes(), verdict])

    def _notes(self) -> Iterator[str]:
        if any(a.rest for a in self.arrays):
            yield "rest: all other elements, moved at once; limit=None looks at each of them"
        if ties := sum(a.ties for a in self.arrays):
            yield (
                f"at ties: {ties} elements where a ReLU's input is 0 or two cells of a pool are "
                f"equal; they were compared after moving everything by up to {NOISE:g}"
            )
        if undecided := sum(a.undecided for a in self.arrays):
            yield (
                f"{undecided} elements cannot be decided here: L has corners (ties) or bends within"
                " every step; try random x, or another step"
            )

    def _verdict(self) -> str:
        if any(a.wrong for a in self.arrays):
            return "a gradient is WRONG"
        if not self.passed:
            return "NOT DECIDED for most of an array: no gradient was found wrong"
        left = sum(a.undecided for a in self.arrays)
        return "all gradients are right" + f", but {left} elements undecided" * (left > 0)


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

    target    a `Sequential`, `Layer`, stage of `model.execution_plan.stages` or `Loss`; a float32
              model is checked through a float64 copy, a layer or stage must have been built with "float64"
    x         input (N, *input_shape), for a model as `fit` takes it; for a loss, the prediction.
              Real images will do: an element at a tie is compared a little beside it
    y         labels, for a loss or a compiled model; a model without y is checked by its output
    training  whether dropout and batch statistics are on; dropout's mask is held fixed
    limit     at most this many elements of each array are checked one by one, drawn at random, and
              the rest by one difference, all moved at once; None: each of all elements

    Every parameter and the input are checked; all are left as they were, but are moved meanwhile:
    let nothing else use the model. Returns a `Report`; raises ValueError for a target that cannot
    be checked.
    """
    training, seed = flag(training, "training"), integer(seed, "seed", 0, bits=128)
    step = number(step, "step", lambda h: 1e-12 < h <= 1, "more than 1e-12, at most 1")
    tolerance = number(tolerance, "tolerance", lambda t: 0 < t < 1, "between 0 and 1")
    limit = None if limit is None else integer(limit, "limit")
    rng = np.random.default_rng(seed)
    case = scalar.of(target, x, y, training, rng)
    with case.put_back():
        here = _Point(case)
        if not np.isfinite(here.value):
            raise NonFiniteError(f"L is {here.value} for this x, expected a finite number")
        arrays = [_Elements(case, name, limit, step, tolerance, rng) for name in case.arrays]
        for each in arrays:
            each.compare(here)
        for _ in range(PLACES):
            if any(each.open for each in arrays):
                with case.put_back():
                    for array in case.arrays.values():
                        array += NOISE * rng.uniform(-1, 1, array.shape)
                    beside = _Point(case)
                    for each in arrays if np.isfinite(beside.value) else ():
                        each.decide(beside, beside=True)
    return Report(tuple(each.result() for each in arrays), tolerance)


class _Point:
    """What is known where the arrays of a case are now."""

    def __init__(self, case: Scalar) -> None:
        self.value, self.gradient, self.choices = case.value(), case.gradient(), case.choices()


class _Elements:
    """The elements of one array; those in `open` wait for a verdict.

    An element is a move: places and a sign for each. One place, or the last: all that were not
    drawn, with signs of their own, so that a mistake in any of them shows.
    """

    def __init__(
        self, case: Scalar, name: str, limit: int | None, step: float, tolerance: float,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.case, self.name, self.array = case, name, case.arrays[name]
        self.steps, self.tolerance = (step, 0.1 * step, 0.01 * step), tolerance
        order = rng.permutation(self.array.size)
        self.picked, self.rest = np.sort(order[:limit]), order[len(order[:limit]) :]
        self.moves = [(np.array([place]), np.ones(1)) for place in self.picked]
        if self.rest.size:
            self.moves.append((self.rest, rng.choice([-1.0, 1.0], self.rest.size)))
        self.analytic, self.numeric, self.error = np.zeros((3, len(self.moves)))
        self.open: list[int] = []
        self.wrong: set[int] = set()
        self.ties: set[int] = set()

    def compare(self, here: _Point) -> None:
        """By one difference each; what disagrees is looked at more closely."""
        h, count = self.steps[0], len(self.moves)
        numeric = np.array([self.difference(i, h) for i in range(count)])
        self.scale = float(np.sqrt(np.mean(numeric[: len(self.picked)] ** 2)))
        for i in range(count):
            self.note(i, here, numeric[i], h)
        self.open = [i for i in range(count) if not self.error[i] <= self.tolerance]
        self.decide(here)

    def decide(self, point: _Point, beside: bool = False) -> None:
        """Find the open elements right or wrong, where that can be said at this point."""
        for i in list(self.open):
            verdict = self.verdict(i, point)
            if verdict is not None:
                self.open.remove(i)
                if not verdict:
                    self.wrong.add(i)
                elif beside:
                    self.ties.add(i)

    def verdict(self, i: int, point: _Point) -> bool | None:
        """Whether backward is right for element i at this point; None where a corner is in the way.

        Never right only because the step is short: the differences of shorter steps, which show
        less, are asked for only where a longer one lies across a corner.
        """
        for h in self.steps:
            self.note(i, point, self.difference(i, h), h)
            if self.error[i] <= self.tolerance:
                return True
            if not np.isfinite(self.analytic[i]):
                return False
            if self.changes(i, self.steps[-1], point):
                return None
            if not self.changes(i, h, point) and self.settled(i, h, point):
                return False
        return None

    def note(self, i: int, point: _Point, numeric: float, h: float) -> None:
        """Keep both gradients of element i at this point, and how far they are apart."""
        places, signs = self.moves[i]
        analytic = float((point.gradient[self.name].flat[places] * signs).sum())
        rounding = 16 * np.finfo(np.float64).eps * max(1.0, abs(point.value)) / h  # of a difference
        least = max(self.scale, rounding / self.tolerance)
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), least)
        self.analytic[i], self.numeric[i] = analytic, numeric
        self.error[i] = error if np.isfinite(error) else np.inf

    @contextmanager
    def moved(self, i: int, by: float) -> Iterator[None]:
        """With element i moved."""
        places, signs = self.moves[i]
        before = self.array.flat[places]
        self.array.flat[places] = before + by * signs
        yield
        self.array.flat[places] = before

    def value(self, i: int, by: float) -> float:
        """L there."""
        with self.moved(i, by):
            return self.case.value()

    def difference(self, i: int, h: float) -> float:
        """The central difference."""
        return (self.value(i, h) - self.value(i, -h)) / (2 * h)

    def changes(self, i: int, h: float, point: _Point) -> bool:
        """Whether a ReLU or a pool chooses otherwise within h: then a corner lies there."""
        for by in (h, -h):
            with self.moved(i, by):
                choices = self.case.choices()
            if not all(map(np.array_equal, choices, point.choices)):
                return True
        return False

    def settled(self, i: int, h: float, point: _Point) -> bool:
        """Whether half the step gives the same slopes, but for a tenth of the disagreement.

        Then neither bends of L explain it nor corners of other layers than `choices` knows.
        """
        (right, left), (half_right, half_left) = (
            ((self.value(i, s) - point.value) / s, (point.value - self.value(i, -s)) / s)
            for s in (h, h / 2)
        )
        bend = abs((right + left) - (half_right + half_left)) / 2
        corner = abs((half_right - half_left) - (right - left) / 2)
        return max(bend, corner) <= 0.1 * abs(self.analytic[i] - self.numeric[i])

    def result(self) -> ArrayCheck:
        """What was found."""
        count = len(self.picked)
        error = np.where(np.isin(np.arange(len(self.moves)), self.open), 0, self.error)
        worst = int(error.argmax())
        index: tuple[int, ...] = ()
        if worst < count:
            index = tuple(int(i) for i in np.unravel_index(self.picked[worst], self.array.shape))
        ties, undecided = (sum(i < count for i in which) for which in (self.ties, self.open))
        return ArrayCheck(
            self.name, self.array.shape, count, 0 if count in self.open else len(self.rest),
            float(error[worst]), index, float(self.analytic[worst]), float(self.numeric[worst]),
            len(self.wrong), ties, undecided,
        )  # fmt: skip
