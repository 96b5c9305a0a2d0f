"""`Training`: what a page starts, pauses and scrubs. It runs in the thread that owns the model."""

from time import perf_counter
from typing import Any

from ..common.errors import NonFiniteError
from ..common.validate import integer, number, one_of
from ..kernels.memory import Memory
from ..metrics import get_metrics
from ..models.measure import Means
from ..models.run import epochs_trained
from ..optimizers import OPTIMIZERS, get_optimizer
from .feed import Feed, can_feed
from .recorder import Budget, Recorder
from .watched import Reader, Watched, accuracy_of, loss_and_accuracy, settings

BATCH, LARGEST_BATCH = 128, 4096
TESTS = 1000  # digits that test loss and accuracy are measured on
PAUSE = 3.0  # seconds between two such measurements, but for the end of an epoch
SHARE = 0.01  # of the training's time, for these measurements


class Training(Watched):
    """Trains a session's model, with the batches that `fit` would take.

    The bits are those of `fit`, too, unless weights or settings are changed meanwhile.
    """

    running = False  # whether `advance` has something to do

    def __init__(self, session: Reader) -> None:
        super().__init__(session)
        self.batch_size = BATCH
        self._recorder: Recorder | None = None
        self._feed: Feed | None = None  # what the model is trained on
        self._memory: tuple[Any, Memory] | None = None  # of its steps, and the plan it belongs to
        self._epoch, self._position = 0, 0  # of the next batch; its first sample
        self._until_epoch = False
        self._tests, self._tested = Budget(SHARE), 0.0

    @property
    def recorder(self) -> Recorder:
        """Another one when the session has got another model."""
        model = self.session.model
        if self._recorder is None or self._recorder.model is not model:
            self._recorder = Recorder(model)
            self._epoch, self._position = epochs_trained(model), 0
            self._feed, self._memory = None, None
            self._until_epoch = self.running = False
            self.at = self.message = None
        return self._recorder

    @property
    def can_train(self) -> bool:
        """Whether there is something to train on."""
        return can_feed(self.session.digits)

    def control(
        self, do: Any, learning_rate: Any = None, optimizer: Any = None, batch_size: Any = None
    ) -> None:
        """See `Watched`. `optimizer`: a name; it begins anew, with its own learning rate.

        ValueError for a wrong value, before anything changes.
        """
        do = one_of(do, ("start", "pause", "step", "epoch", "set"), "do")
        model = self.recorder.model
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
        """Train one batch if it runs; True if there is more to do."""
        if self.running and self._recorder is not None:
            if self._recorder.model is not self.session.model:
                self.running = False
            else:
                try:
                    self._batch()
                except BaseException:  # such as a MemoryError: the worker tells the reader
                    self._pause()
                    raise
        return self.running

    def scrub(self, step: Any) -> None:
        """See `Watched`. The training pauses; when it goes on, later steps are forgotten."""
        kept = self.recorder.kept(integer(step, "step", 0))
        self._pause()
        self.message = None
        if not self._show(kept) and kept.place != (0, 0):
            self.message = "the optimizer's state of this step was not kept: it begins anew"
        self._epoch, self._position = kept.place
        self.at = step

    def state(self) -> dict[str, Any]:
        """See `Watched`."""
        recorder, optimizer = self.recorder, self.session.model.optimizer
        left = 0 if self._feed is None else self._feed.count - self._position
        done = -(-self._position // self.batch_size)
        return {
            "step": recorder.step if self.at is None else self.at,
            "epoch": self._epoch,
            "batch": done,
            "batches": done + -(-left // self.batch_size),
            "batch_size": self.batch_size,
            **settings(optimizer),
        }

    def _prepare(self) -> None:
        """ValueError if the model cannot be trained here."""
        model, digits = self.session.model, self.session.digits
        if not model.trainable_weights:
            raise ValueError("training: all layers are frozen, expected one that is trained")
        if self._feed is None:
            self._feed = Feed(model, digits)
        if accuracy_of(model.metrics) is None and digits.classes:
            model.metrics = {**model.metrics, **get_metrics(["accuracy"])}

    def _begin(self) -> None:
        self.message = None
        if self.at is not None:
            self.recorder.cut(self.at)
            self.at = None
        self.recorder.begin((self._epoch, self._position))

    def _pause(self) -> None:
        if self.recorder.runs:
            self.recorder.end()
        self.running = self._until_epoch = False

    def _batch(self) -> None:
        """One step, and what is due after it."""
        model, recorder, feed = self.session.model, self.recorder, self._feed
        assert feed is not None
        data, index = feed.batch(self._epoch, self._position, self.batch_size)
        if self._memory is None or self._memory[0] is not model.execution_plan:
            self._memory = model.execution_plan, model.execution_plan.memory()
        try:
            step = model._step(data, index, self._memory[1], True)
        except NonFiniteError as error:
            self._pause()
            where = model._nonfinite(error, self._position // self.batch_size, data, index)
            self.message = (
                f"step {recorder.step + 1}, {where}. The training has paused before this step: "
                "lower the learning rate, or go back to an earlier step"
            )
            return
        means = Means(model.metrics)
        means.add(step.samples, step.loss, step.measure())
        self._position += step.samples
        ended = self._position >= feed.count
        if ended:
            self._epoch, self._position = self._epoch + 1, 0
        loss, accuracy = loss_and_accuracy(means.result())
        recorder.batch(loss, accuracy, (self._epoch, self._position))
        self._test(ended)
        if ended and self._until_epoch:
            self._pause()
        self.session.changed(weights=True)

    def _test(self, ended: bool) -> None:
        """Measure test loss and accuracy, if it is time and there is time for it."""
        now, digits, model = perf_counter(), self.session.digits, self.session.model
        is_time, elapsed = ended or now - self._tested >= PAUSE, self.recorder.elapsed
        if digits.y is None or not is_time or not self._tests.allows(elapsed):
            return
        x, y = digits.x[:TESTS], digits.y[:TESTS]
        try:
            values = self._tests.measured(lambda: model.evaluate(x, y, return_dict=True), elapsed)
        except NonFiniteError:
            return  # the next batch will say so
        self._tested = now
        self.recorder.test(*loss_and_accuracy(values))
