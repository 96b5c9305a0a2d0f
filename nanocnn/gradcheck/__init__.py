"""Gradient checks: does backward compute the derivative of forward?

`check` takes the scalar L = sum(R * output) with a random R (with a plain sum, a softmax whose
backward returns zeros would pass). It compares the gradient by backward, element by element, with
central differences (L(a+h) - L(a-h)) / 2h in float64. The target is a layer, a stage of a plan (the
fused kernels), a whole model with or without a loss, or a loss.

L has kinks where the input of a ReLU is 0 or two cells of a max-pool are equal (ties). There it has
several slopes, and backward returns one of them. Images of digits are full of ties, since their
background is constant. If backward and the difference disagree, there are three cases:

1. L is smooth: no ReLU and no pool changes its choice within the step, and half the step gives the
   same difference. Then backward is wrong.
2. A kink is nearby: a shorter step is tried.
3. There is a kink at the point itself: noise is added to every array. That breaks all ties, and a
   wrong backward is wrong there too.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.errors import NonFiniteError, unknown
from ..common.tables import sizes, table
from ..common.validate import flag, integer, number
from ..layers import Layer
from ..losses import Loss
from ..models.sequential import Sequential
from ..models.stages import Stage
from . import scalar
from .scalar import Scalar

NOISE = 1e-2  # the most that is added to a number to break ties
POINTS = 3  # to try beside a tie before an element is undecided


@dataclass(frozen=True)
class ArrayCheck:
    """The result for one array: how many elements are right or wrong, and the largest error.

    `error` is |analytic - numeric| / max(|analytic|, |numeric|, scale). The scale is the root mean
    square of the numeric gradient, or more if the rounding of L hides so small a gradient: without
    it the error would be relative to 0 where a gradient is 0.

    checked    elements checked one by one; `rest` more were checked all at once
    index      the element with the largest error, or () for the rest
    wrong      elements found wrong; the rest counts as one
    ties       elements at a kink of L but right beside it, where their numbers are from
    undecided  elements that could be shown to be neither right nor wrong
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
        """Whether nothing is wrong and at least half of the elements could be decided."""
        return not self.wrong and 2 * self.undecided <= self.checked

    @property
    def looked_at(self) -> str:
        """The number of elements: "36", or "200 + rest"."""
        return f"{self.checked}{' + rest' * (self.rest > 0)}"

    @property
    def verdict(self) -> str:
        """The result in words: "right, 12 at ties", "WRONG: 3 of 36", "NOT DECIDED: 150 of 200"."""
        if self.undecided and not (self.wrong or self.passed):
            return f"NOT DECIDED: {self.undecided} of {self.checked}"
        words = [f"WRONG: {self.wrong} of {self.looked_at}" if self.wrong else "right"]
        words += [f"{self.ties} at ties"] * (self.ties > 0)
        return ", ".join([*words, *[f"{self.undecided} undecided"] * (self.undecided > 0)])


@dataclass(frozen=True)
class Report:
    """The result of `check`: an `ArrayCheck` per array. True if all passed; prints as a table."""

    arrays: tuple[ArrayCheck, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every array passed."""
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
            yield "rest: all other elements, checked at once; limit=None checks each of them"
        if ties := sum(a.ties for a in self.arrays):
            yield (
                f"at ties: {ties} elements where a ReLU's input is 0 or two cells of a pool are "
                f"equal; they were checked after adding noise of up to {NOISE:g} to every array"
            )
        if undecided := sum(a.undecided for a in self.arrays):
            yield (
                f"{undecided} elements cannot be decided here: L has kinks (ties) or is too curved "
                "within every step; try random x, or another step"
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
    arrays: Sequence[str] | None = None,
) -> Report:
    """Compare the gradients of `target` with central differences in float64.

    target     a `Sequential`, `Layer`, `Loss`, or stage of `model.execution_plan.stages`. A float32
               model is checked as a float64 copy; layers and stages must be built in float64
    x          input (N, *input_shape), for a model as in `fit`; for a loss, the prediction. Images
               will do: an element at a tie is checked beside it
    y          labels, for a loss or a compiled model; without y the output of a model is checked
    training   whether dropout and batch statistics are on; the mask of a dropout stays the same
    step       h of the central differences
    tolerance  the largest error of a gradient that is right
    limit      check this many random elements of each array one by one, and the rest at once by a
               single difference; None checks each element
    seed       of R and of all random choices
    arrays     names of those to check, such as ["conv2d/kernel", "input"]; None checks all

    Checks every parameter and the input. They are changed during the check and restored after it:
    do not use the model meanwhile. Returns a `Report`. Raises ValueError for a target that cannot
    be checked.
    """
    training, seed = flag(training, "training"), integer(seed, "seed", 0, bits=128)
    step = number(step, "step", lambda h: 1e-12 < h <= 1, "more than 1e-12, at most 1")
    tolerance = number(tolerance, "tolerance", lambda t: 0 < t < 1, "between 0 and 1")
    limit = None if limit is None else integer(limit, "limit")
    rng = np.random.default_rng(seed)
    case = scalar.of(target, x, y, training, rng)
    names = list(case.arrays) if arrays is None else _known(arrays, case.arrays)
    with case.restored():
        here = _Point(case)
        if not np.isfinite(here.value):
            raise NonFiniteError(f"L is {here.value} for this x, expected a finite number")
        checked = [_Elements(case, name, limit, step, tolerance, rng) for name in names]
        for each in checked:
            each.compare(here)
        for _ in range(POINTS):
            if any(each.open for each in checked):
                with case.restored():
                    for array in case.arrays.values():
                        array += NOISE * rng.uniform(-1, 1, array.shape)
                    beside = _Point(case)
                    for each in checked if np.isfinite(beside.value) else ():
                        each.decide(beside, beside=True)
    return Report(tuple(each.result() for each in checked), tolerance)


def _known(names: Any, arrays: Iterable[str]) -> list[str]:
    """The checked argument `arrays`."""
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError(f"arrays={names!r:.80}, expected None or a list of names")
    for name in names:
        if name not in tuple(arrays):
            raise unknown("name in arrays", name, arrays)
    return list(names)


class _Point:
    """L, its gradient and the choices of its layers at the current values of the arrays."""

    def __init__(self, case: Scalar) -> None:
        self.value, self.gradient, self.choices = case.value(), case.gradient(), case.choices()


class _Elements:
    """The elements of one array; those in `open` have no verdict yet.

    An element is a direction to move in: indices and a sign for each. It has one index; only the
    last, the rest, has all that were not drawn, with random signs, so that any mistake shows.
    """

    def __init__(
        self, case: Scalar, name: str, limit: int | None, step: float, tolerance: float,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.case, self.name, self.array = case, name, case.arrays[name]
        self.steps, self.tolerance = (step, 0.1 * step, 0.01 * step), tolerance
        order = rng.permutation(self.array.size)
        self.picked, self.rest = np.sort(order[:limit]), order[len(order[:limit]) :]
        self.moves = [(np.array([index]), np.ones(1)) for index in self.picked]
        if self.rest.size:
            self.moves.append((self.rest, rng.choice([-1.0, 1.0], self.rest.size)))
        self.analytic, self.numeric, self.error = np.zeros((3, len(self.moves)))
        self.open: list[int] = []
        self.wrong: set[int] = set()
        self.ties: set[int] = set()

    def compare(self, here: _Point) -> None:
        """Compare each element with one difference, and decide those that disagree."""
        h, count = self.steps[0], len(self.moves)
        numeric = np.array([self.difference(i, h) for i in range(count)])
        self.scale = float(np.sqrt(np.mean(numeric[: len(self.picked)] ** 2)))
        for i in range(count):
            self.note(i, here, numeric[i], h)
        self.open = [i for i in range(count) if not self.error[i] <= self.tolerance]
        self.decide(here)

    def decide(self, point: _Point, beside: bool = False) -> None:
        """Find the open elements right or wrong, as far as they can be decided at this point."""
        for i in list(self.open):
            verdict = self.verdict(i, point)
            if verdict is not None:
                self.open.remove(i)
                if not verdict:
                    self.wrong.add(i)
                elif beside:
                    self.ties.add(i)

    def verdict(self, i: int, point: _Point) -> bool | None:
        """Whether backward is right for element i at this point; None if a kink prevents a verdict.

        Shorter steps, whose differences are less accurate, are used only if there is a kink within
        a longer one: so no element passes merely because the step is short.
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
        """Store both gradients of element i at this point, and their error."""
        indices, signs = self.moves[i]
        analytic = float((point.gradient[self.name].flat[indices] * signs).sum())
        rounding = 16 * np.finfo(np.float64).eps * max(1.0, abs(point.value)) / h  # of a difference
        least = max(self.scale, rounding / self.tolerance)
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), least)
        self.analytic[i], self.numeric[i] = analytic, numeric
        self.error[i] = error if np.isfinite(error) else np.inf

    @contextmanager
    def moved(self, i: int, by: float) -> Iterator[None]:
        """Move element i by `by`, and back."""
        indices, signs = self.moves[i]
        before = self.array.flat[indices]
        self.array.flat[indices] = before + by * signs
        yield
        self.array.flat[indices] = before

    def value(self, i: int, by: float) -> float:
        """L with element i moved by `by`."""
        with self.moved(i, by):
            return self.case.value()

    def difference(self, i: int, h: float) -> float:
        """The central difference of L for element i."""
        return (self.value(i, h) - self.value(i, -h)) / (2 * h)

    def changes(self, i: int, h: float, point: _Point) -> bool:
        """Whether a ReLU or a pool changes its choice within h: then there is a kink."""
        for by in (h, -h):
            with self.moved(i, by):
                choices = self.case.choices()
            if not all(map(np.array_equal, choices, point.choices)):
                return True
        return False

    def settled(self, i: int, h: float, point: _Point) -> bool:
        """Whether half the step gives the same slopes, up to a tenth of the disagreement.

        Then neither curvature explains it nor a kink in a layer that `choices` does not know.
        """
        (right, left), (half_right, half_left) = (
            ((self.value(i, s) - point.value) / s, (point.value - self.value(i, -s)) / s)
            for s in (h, h / 2)
        )
        curvature = abs((right + left) - (half_right + half_left)) / 2
        kink = abs((half_right - half_left) - (right - left) / 2)
        return max(curvature, kink) <= 0.1 * abs(self.analytic[i] - self.numeric[i])

    def result(self) -> ArrayCheck:
        """The counts, and the element with the largest error that could be decided."""
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
