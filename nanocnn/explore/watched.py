"""What a page sees of a training; `Following`: of a `fit` that a script has started.

All runs in the thread that owns the session's model, between its requests.
"""

from collections.abc import Callable, Iterable
from math import nan
from time import monotonic
from typing import Any, Protocol

import numpy as np

from ..common.arrays import Array
from ..common.validate import integer
from ..optimizers import Optimizer
from ..optimizers.schedules import Schedule
from .edits import Edits
from .recorder import SHOWN, Kept, Recorder

FOLLOW = 1.0  # seconds between two steps of a fit that a reader sees the weights of

Answer = tuple[dict[str, Any], list[Array]]


class Source(Protocol):
    """What is used of a session's digits.

    `x`, `y`: test digits, as the model and the loss take them. `samples`: such arrays to train on.
    `train`: uint8 digits (N,28,28) to train on and their class numbers. Both None: MNIST's.
    `classes`: how many there are, 0 for a model whose outputs are no classes.
    """

    can_draw: bool
    x: Array
    y: Array | None
    samples: tuple[Array, Array | None] | None
    train: tuple[Array, Array] | None
    classes: int

    def from_pixels(self, model: Any, digits: Array) -> Array:
        """uint8 digits (N,28,28) as the model takes them."""


class Reader(Protocol):
    """What is used of a session; `idle` is called again and again until it returns False."""

    model: Any
    digits: Any
    idle: Callable[[], bool] | None
    edits: Any
    version: int

    def changed(self, weights: bool = False) -> None:
        """Answers are others now; `weights`: those about other digits, too."""


class Watched:
    """A training that a page shows: its state, curves, distributions, and kept steps."""

    running = False  # whether `advance` has something to do
    live = False  # whether it is the fit of a script
    message: str | None = None  # for the reader: why it paused
    at: int | None = None  # the kept step that is shown

    def __init__(self, session: Reader) -> None:
        self.session = session

    @property
    def runs(self) -> bool:
        """Whether the training goes on, here or in a script."""
        return self.running

    @property
    def can_train(self) -> bool:
        """Whether `control` does anything: whether there is something to train on."""
        return False

    @property
    def recorder(self) -> Recorder:
        """What records it."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Where the training is and how it is set."""
        raise NotImplementedError

    def advance(self) -> bool:
        """Train one batch if it runs; True if there is more to do."""
        return False

    def run(self, since: Any = -1) -> Answer:
        """`state`, the kept steps, and the curves after step `since`.

        Arrays: steps, losses and accuracies of the batches; (step, loss, accuracy) of the tests.
        """
        recorder = self.recorder
        curves = recorder.curves.part(integer(since, "since", -1) + 1, 2**62).thinned(SHOWN)
        entries = recorder.weights.entries
        result = {
            **self.state(),
            "version": self.session.version,
            "live": self.live,
            "message": self.message,
            "at": self.at,
            "branch": recorder.branch,
            "cost": recorder.cost,
            "layers": recorder.names(),
            "kept": [step for step, _ in entries],
            "continues": [step for step, kept in entries if kept.slots is not None],
        }
        tests = np.array(recorder.tests, np.float32).reshape(-1, 3)
        return result, [
            np.array(curves.steps, np.int32), *(np.array(each, np.float32) for each in curves[1:]),
            tests,
        ]  # fmt: skip

    def history(self, name: Any, of: Any = "weights") -> Answer:
        """The distributions of an array over time: steps, edges of the bins, counts."""
        steps, edges, counts = self.recorder.history(name, of)
        return {}, [steps.astype(np.int32), edges.astype(np.float32), counts.astype(np.float32)]

    def scrub(self, step: Any) -> None:
        """Give the session's model the weights of a kept step; ValueError for another step."""
        raise NotImplementedError

    def _show(self, kept: Kept) -> bool:
        """Give the session's model what was kept; edits that were made before are gone.

        Returns whether the optimizer's state came back, too.
        """
        model = self.session.model
        has_state = kept.restore(model)
        self.session.edits = Edits(model)
        self.session.changed(weights=True)
        return has_state

    def control(
        self, do: Any, learning_rate: Any = None, optimizer: Any = None, batch_size: Any = None
    ) -> None:
        """Start, pause, make one step or one epoch, or only set what is given."""
        raise NotImplementedError


class Following(Watched):
    """Shows the kept steps of a `fit` that another thread runs: the newest, or a chosen one.

    A reader who changes the model stays at its step.
    """

    live = True

    def __init__(self, session: Reader, recorder: Recorder) -> None:
        super().__init__(session)
        self._recorder, self._followed = recorder, -np.inf
        self._shown: tuple[Any, int] = None, -1  # model and step
        self._follow()

    @property
    def runs(self) -> bool:
        """See `Watched`."""
        return self._recorder.runs

    @property
    def recorder(self) -> Recorder:
        """That of the fit."""
        return self._recorder

    def run(self, since: Any = -1) -> Answer:
        """See `Watched`; the session's model gets newer weights."""
        self._follow()
        return super().run(since)

    def scrub(self, step: Any) -> None:
        """See `Watched`; None follows the newest step again."""
        if step is None:
            self._show_step(*self._recorder.weights.entries[-1])
        else:
            step = integer(step, "step", 0)
            self._show_step(step, self._recorder.kept(step))
        self.at = step

    def control(
        self, do: Any, learning_rate: Any = None, optimizer: Any = None, batch_size: Any = None
    ) -> None:
        """ValueError: a script trains."""
        raise ValueError("do: this is the fit of a script, which starts, stops and sets it")

    def state(self) -> dict[str, Any]:
        """See `Watched`."""
        recorder, optimizer = self._recorder, self._recorder.model.optimizer
        epoch, batch = recorder.place
        return {
            "running": recorder.runs,
            "step": recorder.step,
            "epoch": epoch,
            "batch": batch,
            "batches": recorder.batches,
            "batch_size": None,
            **settings(optimizer),
        }

    def _follow(self) -> None:
        entries, now = self._recorder.weights.entries, monotonic()
        if self.at is None and len(self.session.edits):
            self.at = self._shown[1]  # the edits are the reader's: nothing overwrites them
        if self.at is None and entries and now - self._followed >= FOLLOW:
            self._followed = now
            self._show_step(*entries[-1])

    def _show_step(self, step: int, kept: Kept) -> None:
        if self._shown != (self.session.model, step) or len(self.session.edits):
            self._show(kept)
            self._shown = self.session.model, step


def settings(optimizer: Optimizer) -> dict[str, Any]:
    """Its name, its learning rate now, and whether a schedule changes that."""
    return {
        "optimizer": type(optimizer).__name__,
        "learning_rate": optimizer.rate(),
        "scheduled": isinstance(optimizer.learning_rate, Schedule),
    }


def accuracy_of(names: Iterable[str]) -> str | None:
    """The first of these names, of metrics, that is of an accuracy."""
    return next((name for name in names if "acc" in name), None)


def loss_and_accuracy(logs: dict[str, float]) -> tuple[float, float]:
    """Of these logs; NaN for an accuracy that is not measured."""
    name = accuracy_of(logs)
    return logs["loss"], nan if name is None else logs[name]
