"""A session: one reader's copy of a model, with a digit, its label, and the trace of both."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np

from ..common.arrays import Array, quietly
from ..common.errors import NonFiniteError
from ..common.validate import flag
from ..layers import Dropout
from ..models.record import record
from ..models.sequential import Sequential
from ..models.worked_example import Trace
from .describe import describe
from .digits import Digits, give_loss, target
from .edits import Edits
from .original import Original
from .parts import Part, Request, select
from .training import Training
from .watched import Watched
from .worker import Worker

FIRST_CHUNK, CHUNK, SECONDS = 32, 500, 0.8  # samples, and the time that predicting may take
MOST_OUTPUTS = 1000  # that are told as numbers
_OWN = (  # what the reader gets back after a tour
    "_original", "model", "given_loss", "edits", "digits", "training", "_x", "_y", "picture",
    "digit", "label", "training_mode", "seed",
)  # fmt: skip
_numbers = count(1)


class Session(Worker):
    """A copy of `model` that a reader looks at, changes and trains, in a thread of its own.

    digits  the samples to choose from, made for this model; sessions may share them. None: MNIST's

    Attributes of use to requests: `model`, the copy, another one after each `reset`; `digits`, the
    samples; `version`, which counts up whenever an answer would be another; `edits`; `tour`, the
    name of the guided tour whose model stands in the place of the reader's, or None.
    All methods but `submit`, `call` and `close` are for the session's own thread.
    Raises ValueErrors for data that does not fit, RuntimeError for a model without weights.
    """

    def __init__(self, model: Sequential, digits: Digits | None = None) -> None:
        if not isinstance(model, Sequential):
            raise ValueError(f"model={model!r:.80}, expected a Sequential")
        self._original = Original(model)
        self.version = self.weights_version = 0
        self.training_mode, self.seed = False, 0
        self.tour: str | None = None
        self._own: dict[str, Any] = {}
        self.picture: Array = np.zeros((28, 28), np.uint8)  # of the digit
        self.digit: dict[str, Any] = {}
        self.label: int | None = None
        self.reset()
        self.digits = Digits(self.model) if digits is None else digits
        self._predicted: tuple[int, Array] | None = None
        if self.digits.count:
            self.show_sample(0)
        else:
            self.show_pixels(np.zeros((28, 28), np.uint8), "drawn")
        self.training: Watched = Training(self)
        super().__init__(f"nanocnn-session-{next(_numbers)}")

    # --- What is shown ---

    def reset(self) -> None:
        """Go back to the model as it was loaded."""
        self.model = self._original.copy()
        self.given_loss = give_loss(self.model)
        self.edits = Edits(self.model)
        self.changed(weights=True)

    def lend(self, tour: str, model: Sequential, digits: Digits) -> None:
        """Show another model with its digits, until `give_back`; a training pauses."""
        self._own = {name: getattr(self, name) for name in _OWN}
        self.tour, self.digits, self.training_mode, self.seed = tour, digits, False, 0
        self._original = Original(model)
        self.reset()
        self.training = Training(self)
        self.show_sample(0)

    def give_back(self) -> None:
        """Show the reader's model again, as it was left."""
        for name, value in self._own.items():
            setattr(self, name, value)
        self.tour, self._own = None, {}
        self.changed(weights=True)

    def changed(self, weights: bool = False) -> None:
        """Count the version up; `weights`: predictions of other digits are others, too."""
        self.version += 1
        self.weights_version += weights
        self._trace: Trace | None = None
        self._ranges: dict[tuple[str, str], Any] = {}  # of whole arrays of the trace

    def show_sample(self, index: int, label: int | None = None) -> None:
        """Show a test digit with its label, or with another one."""
        digits = self.digits
        self._x, self.picture = digits.x[index : index + 1], digits.images[index]
        self.digit = {"kind": "test", "index": index}
        if label is None and digits.y is not None:
            self.label = None if digits.labels is None else int(digits.labels[index])
            self._y = digits.y[index : index + 1]
            self.changed()
        else:
            self.set_label(label)

    def show_pixels(self, pixels: Array, kind: str, label: int | None = None) -> None:
        """Show a digit, uint8 (28,28), with a label, or with what the model takes it for."""
        if not self.digits.can_draw:
            raise ValueError(
                "this model takes no drawn digits (28x28 grey pixels), expected one of its samples"
            )
        self._x = self.digits.from_pixels(self.model, pixels[np.newaxis])
        self.picture, self.digit = pixels, {"kind": kind, "index": None}
        self.set_label(label)

    def set_label(self, label: int | None) -> None:
        """Choose the true label; None: the class that the model predicts."""
        if label is None and self.digits.classes:
            label = self._class_of(self.predict(self._x))
        self.label, self._y = label, target(self.model, label)
        self.changed()

    def set_mode(self, training: bool, seed: int) -> None:
        """Whether dropout and batch statistics are on, and the seed of the random numbers."""
        self.training_mode, self.seed = flag(training, "training"), seed
        self.changed()

    @property
    def sample(self) -> tuple[Array, Array]:
        """x (1, ...) and y as `model.trace` takes them."""
        return self._x, self._y

    def trace(self) -> Trace:
        """The trace of this version: the same numbers each time, random ones too."""
        if self._trace is None:
            self._trace = self.record(self.model)
        return self._trace

    def record(self, model: Sequential) -> Trace:
        """A trace of the sample in `model`, with the session's mode and seed."""
        with self.seeded(model):
            return quietly(record, model, *self.sample, self.training_mode)

    @contextmanager
    def seeded(self, model: Sequential) -> Iterator[None]:
        """Let the model draw the random numbers of the session's seed; then go on where it was."""
        rng = model.rng.bit_generator
        before, rng.state = rng.state, np.random.default_rng(self.seed).bit_generator.state
        try:
            yield
        finally:
            rng.state = before

    # --- What a page is told ---

    def state(self) -> dict[str, Any]:
        """The version, the digit and its label, what the model says to it, and what was edited."""
        trace, model, edits = self.trace(), self.model, self.edits
        layers = model.layers
        outputs = trace.prediction[0].reshape(-1)
        return {
            "version": self.version, "label": self.label, "digit": self.digit,
            "training": self.training_mode, "seed": self.seed, "running": self.training.running,
            "prediction": [float(value) for value in outputs[:MOST_OUTPUTS]],
            "loss": trace.loss, "penalty": trace.penalty, "edits": len(edits),
            "off": {name: sorted(off) for name, off in edits.off.items() if off},
            "frozen": [layer.name for layer in layers if layer.weights and not layer.trainable],
            "rates": {layer.name: layer.rate for layer in layers if isinstance(layer, Dropout)},
            "step": model.optimizer.iterations, "problem": self.problem,
        }  # fmt: skip

    def description(self) -> dict[str, Any]:
        """The model: its layers, shapes and formulas, which depend on the mode."""
        return describe(self.model, self.trace(), self.training_mode, self.given_loss)

    def arrays(self, asked: list[Request]) -> list[Array | Part]:
        """The arrays of the trace that a checked body asks for."""
        return select(self.model, self.trace(), asked, self._ranges)

    # --- The test digits ---

    def predictions(self, limit: int) -> Array:
        """The model's outputs for the first test digits: `limit`, or fewer if that takes long."""
        known = self._predicted
        if known is None or known[0] != self.weights_version:
            known = self.weights_version, np.empty((0, *self.model.output_shape), self.model.dtype)
        found, done, size = [known[1]], len(known[1]), FIRST_CHUNK
        limit, start, used = min(limit, self.digits.count), perf_counter(), 0.0
        while done < limit and used < SECONDS:
            found.append(self.predict(self.digits.x[done : min(done + size, limit)]))
            done, used = done + len(found[-1]), perf_counter() - start
            size = (
                CHUNK
                if used < 0.1 * SECONDS
                else min(CHUNK, max(1, int((SECONDS - used) / used * done)))
            )
        self._predicted = self.weights_version, np.concatenate(found)
        return self._predicted[1][:limit]

    def predict(self, x: Array) -> Array:
        """The outputs for x, also for none; NaN where numbers overflow on the way."""
        try:
            return self.model.predict(x) if len(x) else np.empty((0, *self.model.output_shape))
        except NonFiniteError:
            return np.full((len(x), *self.model.output_shape), np.nan, self.model.dtype)

    def predicted_classes(self, prediction: Array) -> Array:
        """The class of each prediction (N,K), as `accuracy` counts them."""
        if prediction.shape[1:] == (1,):
            one = prediction[:, 0]
            if self.digits.classes == 2:
                return (one > self.model.loss.threshold).astype(np.int64)
            return np.rint(np.nan_to_num(one)).clip(0, self.digits.classes - 1).astype(np.int64)
        return prediction.argmax(axis=1)

    def losses(self, prediction: Array, index: Any = None) -> Array:
        """The losses (N,) of test digits, the first or those at `index`; NaN without labels."""
        y = self.digits.y
        if y is None or not len(prediction):
            return np.full(len(prediction), np.nan)
        y = y[: len(prediction)] if index is None else y[index]
        return quietly(self.model.loss.each, y, prediction)

    def _class_of(self, prediction: Array) -> int:
        return int(self.predicted_classes(prediction)[0])
