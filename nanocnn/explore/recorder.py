"""`Recorder`: what a training leaves behind: curves, distributions, and weights to scrub through.

Curves get a point for each batch, which costs microseconds. The rest is taken only as often as a
share of the training's time allows, and thinned to a limit of memory. One thread records; others
may read at any time: what they read is replaced, never changed.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from statistics import fmean
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..common.arrays import Array
from ..common.validate import integer, number
from .distributions import distribution, over_time

POINTS = 8192  # of the curves, in memory
SHOWN = 2000  # of the curves, in one answer
ENTRIES = 256  # kept steps and distributions, at most
LAST = 9  # pieces of work whose mean says what one takes
WITH_STATE = 32  # steps to keep: where memory is too small for it, they have no optimizer's state


class Kept(NamedTuple):
    """A copy of what a training step changes: weights, optimizer, random state.

    `slots`: the optimizer's state and the name of its class, or None where memory does not allow
    it. `place`: (epoch, batch), the next one.
    """

    weights: dict[str, Array]
    slots: tuple[str, dict[str, Array]] | None
    random: dict[str, Any]
    place: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        slots = () if self.slots is None else self.slots[1].values()
        return sum(array.nbytes for array in (*self.weights.values(), *slots))

    def restore(self, model: Any) -> bool:
        """Set the weights of `model`; True if its optimizer could be set back too.

        Otherwise the optimizer begins anew.
        """
        weights = model.weights
        for name, array in self.weights.items():
            weights[name][...] = array
        model.rng.bit_generator.state = self.random
        optimizer = model.optimizer
        if self.slots is not None and self.slots[0] == type(optimizer).__name__:
            optimizer.set_state(self.slots[1])
            return True
        optimizer.reset()
        return False


class Budget:
    """A share of the elapsed time for one kind of work, spent evenly.

    After each piece it waits as long as the mean of the last ones allows: a slow step is not
    followed by many pieces at once, nor a piece that was slow for once by a long gap.
    """

    def __init__(self, share: float) -> None:
        self.share, self.next = share, 0.0
        self._times: deque[float] = deque(maxlen=LAST)

    def allows(self, elapsed: float) -> bool:
        """Whether it is time for the next piece."""
        return self.share > 0 and elapsed >= self.next

    def measured(self, work: Callable[[], Any], elapsed: float) -> Any:
        """Do it, and take its time."""
        start = perf_counter()
        result = work()
        took = perf_counter() - start
        self._times.append(took)
        if self.share > 0:
            self.next = elapsed + took + fmean(self._times) / self.share
        return result


class Series:
    """(step, thing) in order. The first and the last stay; in between it is thinned by halves."""

    def __init__(self) -> None:
        self.entries: tuple[tuple[int, Any], ...] = ()
        self.spacing = 1  # steps to the next one, at least

    def is_due(self, step: int) -> bool:
        """Whether `step` is far enough from the last one."""
        return not self.entries or step - self.entries[-1][0] >= self.spacing

    def add(self, step: int, thing: Any, most: int) -> None:
        """Append it, and drop every second one while there are more than `most`, or two."""
        entries = (*self.entries, (step, thing))
        while len(entries) > max(most, 2):
            entries = (*entries[:-1:2], entries[-1])
            even = (step - entries[0][0]) // len(entries)
            self.spacing = max(2 * self.spacing, even)
        self.entries = entries

    def cut(self, step: int) -> None:
        """Drop what is later than `step`."""
        self.entries = tuple(each for each in self.entries if each[0] <= step)

    @property
    def steps(self) -> list[int]:
        """The steps, in order."""
        return [step for step, _ in self.entries]


class Curves(NamedTuple):
    """Steps with the loss and the accuracy of each batch, NaN where there is none.

    When there are too many, neighbours become one: their mean, at the later step.
    """

    steps: list[int]
    losses: list[float]
    accuracies: list[float]

    def thinned(self, groups: int) -> "Curves":
        """Means over runs of points, so many that `groups` are left at most."""
        n = len(self.steps)
        size = -(-n // groups)
        if size <= 1:
            return self
        starts = np.arange(0, n, size)
        counts = np.diff([*starts, n])
        values = (np.add.reduceat(np.array(each), starts) / counts for each in self[1:])
        ends = starts + counts - 1
        return Curves([self.steps[i] for i in ends], *(each.tolist() for each in values))

    def part(self, first: int, last: int) -> "Curves":
        """Those of the steps first to last."""
        steps = self.steps[:]  # the other two are at least as long
        part = slice(bisect_left(steps, first), bisect_right(steps, last))
        return Curves(steps[part], self.losses[part], self.accuracies[part])


class Recorder:
    """Records a training of `model`: `begin`, `batch` after each step, `end`.

    `share`: of the training's time, for what is not cheap. `memory`: bytes for kept steps.
    `keeps_state`: whether kept steps have the optimizer's state, to go on from there, as long as
    memory suffices for `WITH_STATE` of them. Raises ValueError for a share that is not from 0 to 1.
    """

    def __init__(
        self, model: Any, share: float = 0.02, memory: int = 64 << 20, *, keeps_state: bool = True
    ) -> None:
        share = number(share, "share", lambda value: 0 <= value <= 1, "from 0 to 1")
        self.model, self.share = model, share
        self.memory = integer(memory, "memory", bits=62)
        self.keeps_state = keeps_state
        self.step = model.optimizer.iterations
        self.branch = 0  # counts up whenever later steps are forgotten
        self.curves = Curves([], [], [])
        self.tests: list[tuple[int, float, float]] = []
        self.weights, self.distributions = Series(), Series()
        self._budgets = Budget(share / 2), Budget(share / 2)
        self.place = (0, 0)  # of the next batch: its epoch and its number there
        self.batches: int | None = None  # of an epoch, where it is known
        self._trained = self._spent = 0.0
        self._since: float | None = None

    # --- In the thread that trains ---

    def begin(self, place: tuple[int, int] = (0, 0)) -> None:
        """The training begins, or goes on; the first time its weights are kept."""
        if self._since is None:
            self._since = perf_counter()
        self.place = place
        if not self.weights.entries:
            self._budgets[1].measured(self._keep, self._trained)

    def batch(self, loss: float, accuracy: float, place: tuple[int, int] = (0, 0)) -> None:
        """A step was made: the loss and accuracy of its batch; `place`: the next one's."""
        start = perf_counter()
        self.step += 1
        self.place = place
        steps, losses, accuracies = self.curves
        losses.append(loss)
        accuracies.append(accuracy)
        steps.append(self.step)  # the last: readers take as many as there are steps
        if len(steps) >= POINTS:
            self.curves = self.curves.thinned(POINTS // 2)
        elapsed = self._elapsed(start)
        for series, budget, take in self._parts():
            if series.is_due(self.step) and budget.allows(elapsed):
                budget.measured(take, elapsed)
        self._spent += perf_counter() - start

    def end(self) -> None:
        """The training ends or pauses: its last weights are kept."""
        start = perf_counter()
        self._trained, self._since = self._elapsed(start), None
        for series, budget, take in self._parts():
            if not series.entries or series.entries[-1][0] != self.step:
                budget.measured(take, self._trained)
        self._spent += perf_counter() - start

    def test(self, loss: float, accuracy: float) -> None:
        """Add a point to the curve of the test digits, at this step."""
        self.tests.append((self.step, loss, accuracy))

    def cut(self, step: int) -> None:
        """Forget what is later than `step`: the training goes on from there."""
        if step < self.step:
            self.branch += 1
            self.step = step
            self.curves = self.curves.part(0, step)
            self.tests = [each for each in self.tests if each[0] <= step]
            self.weights.cut(step)
            self.distributions.cut(step)

    @property
    def runs(self) -> bool:
        """Whether the training goes on."""
        return self._since is not None

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self._elapsed(perf_counter())

    def _elapsed(self, now: float) -> float:
        return self._trained + (0.0 if self._since is None else now - self._since)

    def _parts(self) -> tuple[tuple[Series, Budget, Callable[[], None]], ...]:
        return (
            (self.distributions, self._budgets[0], self._distribute),
            (self.weights, self._budgets[1], self._keep),
        )

    def _keep(self) -> None:
        model, optimizer = self.model, self.model.optimizer
        weights = {name: array.copy() for name, array in model.weights.items()}
        sizes = [array.nbytes for array in (*weights.values(), *optimizer.slots.values())]
        slots = None
        if self.keeps_state and WITH_STATE * sum(sizes) <= self.memory:
            slots = type(optimizer).__name__, optimizer.get_state()
        kept = Kept(weights, slots, model.rng.bit_generator.state, self.place)
        most = min(ENTRIES, self.memory // max(kept.nbytes, 1))
        self.weights.add(self.step, kept, most)

    def _distribute(self) -> None:
        self.distributions.add(self.step, distribution(self.model.layers), ENTRIES)

    # --- In any thread ---

    @property
    def cost(self) -> float:
        """The share of the training's time that recording took."""
        elapsed = self.elapsed
        return self._spent / elapsed if elapsed else 0.0

    def kept(self, step: int) -> Kept:
        """What was kept at `step`; ValueError, which names the nearest ones, if nothing was."""
        entries = dict(self.weights.entries)
        if step not in entries:
            near = sorted(sorted(entries, key=lambda each: abs(each - step))[:3])
            raise ValueError(f"step={step!r:.80}, expected a kept step, such as {near}")
        kept: Kept = entries[step]
        return kept

    def names(self) -> list[str]:
        """The arrays that have distributions: "conv2d/kernel", ..."""
        entries = self.distributions.entries
        names = entries[-1][1].names if entries else ()
        return list(dict.fromkeys(name.partition(":")[2] for name in names))

    def history(self, name: str, of: str = "weights") -> tuple[Array, Array, Array]:
        """(steps (n,), edges (BINS+1,), counts (n, BINS)) of an array or of its gradients.

        `of`: "weights" or "gradients". ValueError for an array that is not recorded.
        """
        found = over_time(self.distributions.entries, f"{of}:{name}")
        if found is None:
            raise ValueError(
                f"name={name!r:.80}, of={of!r:.80}, expected one of {self.names()}, and 'weights' "
                "or 'gradients'"
            )
        return found
