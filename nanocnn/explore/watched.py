"""What a page sees of a training; `Following`: of a `fit` that a script has started.

All runs in the thread that owns the session's model, between its requests.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from math import nan
from time import monotonic
from typing import Any, Protocol

import numpy as np

from ..common.validate import integer
from ..models.sequential import Sequential
from ..optimizers import Optimizer
from ..optimizers.schedules import Schedule
from .digits import Digits
from .edits import Edits
from .parts import Answer
from .recorder import SHOWN, Kept, Recorder

FOLLOW = 1.0  # seconds between two steps of a fit that a reader sees the weights of


class Reader(Protocol):
    """What is used of a session, which has a training itself."""

    model: Sequential
    digits: Digits
    idle: Callable[[], bool] | None
    edits: Edits
    version: int

    def changed(self, weights: bool = False) -> None:
        """Answers are others now; `weights`: those about other digits, too."""


class Watched(ABC):
    """A training that a page shows: its state, curves, distributions, and kept steps."""

    live = False  # whether it is the fit of a script
    message: str | None = None  # for the reader: why it paused
    at: int | None = None  # the kept step that is shown

    def __init__(self, session: Reader) -> None:
        self.session = session

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the training goes on."""

    @property
    @abstractmethod
    def can_train(self) -> bool:
        """Whether `control` does anything: whether there is something to train on."""

    @property
    @abstractmethod
    def recorder(self) -> Recorder:
        """What records it."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Where the training is and how it is set."""

    @abstractmethod
    def scrub(self, step: Any) -> None:
        """Give the session's model the weights of a kept step; ValueError for another step."""

    @abstractmethod
    def control(
        self, do: Any, learning_rate: Any = None, optimizer: Any = None, batch_size: Any = None
    ) -> None:
        """Start, pause, make one step or one epoch, or only set what is given."""

    def run(self, since: Any = -1) -> Answer:
        """`state`, the kept steps, and the curves after step `since`.

        Arrays: steps, losses and accuracies of the batches; (step, loss, accuracy) of the tests.
        """
        recorder = self.recorder
        curves = recorder.curves.part(integer(since, "since", -1) + 1, 2**62).thinned(SHOWN)
        entries = recorder.weights.entries
        result = {
            **self.state(),
            "running": self.running,
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
        steps, *values = curves
        return result, [
            np.array(steps, np.int32), *(np.array(each, np.float32) for each in values), tests,
        ]  # fmt: skip

    def history(self, name: Any, of: Any = "weights") -> Answer:
        """The distributions of an array over time: steps, edges of the bins, counts."""
        steps, edges, counts = self.recorder.history(name, of)
        return {}, [steps.astype(np.int32), edges.astype(np.float32), counts.astype(np.float32)]

    def _show(self, kept: Kept) -> bool:
        """Give the session's model what was kept; edits that were made before are gone.

        Returns whether the optimizer's state came back, too.
        """
        model = self.session.model
        has_state = kept.restore(model)
        self.session.edits = Edits(model)
        self.session.changed(weights=True)
        return has_state


class Following(Watched):
    """Shows the kept steps of a `fit` that another thread runs: the newest, or a chosen one.

    A reader who changes the model stays at its step.
    """

    live, can_train = True, False

    def __init__(self, session: Reader, recorder: Recorder) -> None:
        super().__init__(session)
        self._recorder, self._followed = recorder, -np.inf
        self._shown: tuple[Any, int] = None, -1  # model and step
        self._follow()

    @property
    def running(self) -> bool:
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
