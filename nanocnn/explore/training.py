"""`Training`: what a page starts, pauses and scrubs. It runs in the thread that owns the model."""

import os
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError
from ..common.validate import integer, number, one_of
from ..data import mnist
from ..metrics import get_metrics
from ..models.run import epochs_trained
from ..optimizers import OPTIMIZERS, get_optimizer
from ..presets import labels_for
from .recorder import Budget, Recorder
from .watched import Digits, Reader, Source, Watched, settings

BATCH, LARGEST_BATCH = 128, 4096
TESTS = 1000  # digits that test loss and accuracy are measured on
PAUSE = 3.0  # seconds between two such measurements, but for the end of an epoch
SHARE = 0.02  # of the training's time, for these measurements


@cache
def training_digits() -> Digits:
    """MNIST's training digits: the embedded ones, or the set that $NANOCNN_DATA names."""
    found = mnist.load(verbose=False) if os.environ.get("NANOCNN_DATA") else mnist.sample()
    return found[0]


class Training(Watched):
    """Trains a session's model, with the batches that `fit` would take.

    The bits are those of `fit`, too, unless weights or settings are changed meanwhile.
    """

    def __init__(self, session: Reader) -> None:
        super().__init__(session)
        self.batch_size = BATCH
        self._recorder: Recorder | None = None
        self._until_epoch = False
        self._tests, self._tested = Budget(SHARE), 0.0

    @property
    def recorder(self) -> Recorder:
        """Another one when the session has got another model."""
        model = self.session.model
        if self._recorder is None or self._recorder.model is not model:
            self._recorder = Recorder(model)
            self._epoch, self._position = epochs_trained(model), 0
            self._order: tuple[int, Array] = -1, np.zeros(0, np.int64)  # of an epoch
            self._digits = self._find_digits(model)
            self._until_epoch = self.running = False
            self.at = self.message = None
        return self._recorder

    def control(
        self, do: Any, learning_rate: Any = None, optimizer: Any = None, batch_size: Any = None
    ) -> None:
        """See `Watched`. `optimizer`: a name; it begins anew, with its own learning rate.

        ValueError for a wrong value, before anything changes.
        """
        do = one_of(do, ("start", "pause", "step", "epoch", "set"), "do")
        self.recorder  # noqa: B018
        model = self.session.model
        made, rate, size = model.optimizer, None, self.batch_size
        if optimizer is not None:
            made = get_optimizer(one_of(optimizer, map(str.lower, OPTIMIZERS), "optimizer"))
        if learning_rate is not None:
            rate = number(learning_rate, "learning_rate", lambda value: 0 <= value <= 1e6,
                          "from 0 to 1,000,000")  # fmt: skip
        if batch_size is not None:
            size = integer(batch_size, "batch_size")
            if size > LARGEST_BATCH:
                raise ValueError(f"batch_size={size}, expected {LARGEST_BATCH} at most")
        if do not in ("pause", "set"):
            self._prepare()
        if type(made) is not type(model.optimizer):
            made.bind(model)
            model.optimizer = made
        if rate is not None:
            model.optimizer.learning_rate = rate
        self.batch_size = size
        if do == "pause":
            self._pause()
        elif do == "step":
            self._pause()
            self._begin()
            self._batch()
            self._pause()
        elif do != "set":
            self._begin()
            self._until_epoch = do == "epoch"
            self.running = True
            self.session.idle = self.advance

    def advance(self) -> bool:
        """See `Watched`."""
        if self.running and self._recorder is not None:
            if self._recorder.model is not self.session.model:
                self.running = False
            else:
                self._batch()
        return self.running

    def scrub(self, step: Any) -> None:
        """See `Watched`. The training pauses; when it goes on, later steps are forgotten."""
        kept = self.recorder.kept(integer(step, "step", 0))
        self._pause()
        self.message = None
        if not kept.restore(self.session.model) and kept.place != (0, 0):
            self.message = "the optimizer's state of this step was not kept: it begins anew"
        self._epoch, self._position = kept.place
        self.at = step
        self.session.changed(weights=True)

    def state(self) -> dict[str, Any]:
        """See `Watched`."""
        recorder, optimizer = self.recorder, self.session.model.optimizer
        left = 0 if self._digits is None else len(self._digits[0]) - self._position
        done = -(-self._position // self.batch_size)
        return {
            "running": self.running,
            "step": recorder.step if self.at is None else self.at,
            "epoch": self._epoch,
            "batch": done,
            "batches": done + -(-left // self.batch_size),
            "batch_size": self.batch_size,
            **settings(optimizer),
        }

    def _find_digits(self, model: Any) -> tuple[Any, Any, bool] | None:
        """Images, labels as the loss takes them, and whether the images are uint8 digits."""
        digits: Source = self.session.digits
        if digits.samples is not None:
            x, y = digits.samples
            return None if y is None else (x, y, False)
        if digits.train is None and not digits.can_draw:
            return None
        x, y = digits.train or training_digits()
        classes = max(model.output_shape[-1], 10 * (model.output_shape == (1,)))
        x, y = (x, y) if y.max() < classes else (x[y < classes], y[y < classes])
        return x, labels_for(model, y), True

    def _prepare(self) -> None:
        """ValueError if the model cannot be trained here."""
        model = self.session.model
        if self._digits is None:
            raise ValueError("training: there are no digits to train on, expected x and y")
        if not model.trainable_weights:
            raise ValueError("training: all layers are frozen, expected one that is trained")
        if _accuracy_of(model.metrics) is None:
            model.metrics = {**model.metrics, **get_metrics(["accuracy"])}

    def _begin(self) -> None:
        self.message = None
        if self.at is not None:
            self.recorder.cut(self.at)
            self.at = None
        self.recorder.begin((self._epoch, self._position))

    def _pause(self) -> None:
        if self.recorder.runs:
            self.recorder.end((self._epoch, self._position))
        self.running = self._until_epoch = False

    def _batch(self) -> None:
        """One step, and what is due after it."""
        model, recorder = self.session.model, self.recorder
        assert self._digits is not None
        x, y, are_pixels = self._digits
        if self._order[0] != self._epoch:
            rng = np.random.default_rng((model.seed, self._epoch))
            self._order = self._epoch, rng.permutation(len(x))
        index = self._order[1][self._position : self._position + self.batch_size]
        images = x[index]
        if are_pixels:
            images = self.session.digits.from_pixels(model, images)
        try:
            values = model.train_on_batch(images, y[index], return_dict=True)
        except NonFiniteError as error:
            self._pause()
            self.message = (
                f"step {recorder.step + 1}: {error}. The training has paused before this step: "
                "lower the learning rate, or go back to an earlier step"
            )
            return
        self._position += len(index)
        ended = self._position >= len(x)
        if ended:
            self._epoch, self._position = self._epoch + 1, 0
        accuracy = values[_accuracy_of(model.metrics)]
        recorder.batch(values["loss"], accuracy, (self._epoch, self._position))
        self._test(ended)
        if ended and self._until_epoch:
            self._pause()
        self.session.changed(weights=True)

    def _test(self, ended: bool) -> None:
        """Measure test loss and accuracy, if it is time and there is time for it."""
        now, digits, model = perf_counter(), self.session.digits, self.session.model
        is_time = ended or now - self._tested >= PAUSE
        if digits.y is None or not is_time or not self._tests.allows(self.recorder.elapsed):
            return
        x, y = digits.x[:TESTS], digits.y[:TESTS]
        try:
            values = self._tests.measured(lambda: model.evaluate(x, y, return_dict=True))
        except NonFiniteError:
            return  # the next batch will say so
        self._tested = now
        self.recorder.test(values["loss"], values[_accuracy_of(model.metrics)])


def _accuracy_of(metrics: dict[str, Any]) -> str | None:
    """The metric that is the curve of the accuracy."""
    return next((name for name in metrics if "acc" in name), None)
