"""`Explorer`: the callback that shows a user's own `fit` on a page."""

from math import isfinite, nan
from typing import Any

from ..callbacks import Callback
from ..callbacks.callback import Logs
from ..common import processes
from ..common.terminal import say
from ..common.validate import flag, integer
from .digits import Digits
from .exploration import Exploration
from .original import Original
from .recorder import Recorder
from .session import Session
from .watched import Following, accuracy_of, loss_and_accuracy

SHARE = 0.005  # of the training's time, for recording; an open page takes about 1%


class Explorer(Callback):
    """Shows the training on a page in the browser, whose address it prints: `explore`, live.

    x, y: samples (N, *input_shape) to look at and their labels as in `fit`; None for MNIST's test
    digits. open: whether to open a browser, too. port: 0 for any that is free.

    Readers look at copies of the model with the weights of kept steps: the training is not changed
    and cannot be steered from the page; what it costs is in README.md. The page stays until `close`
    or the end of the process; another `fit` goes on in it. Of several processes (MPI) the first one
    shows it. Needs starlette and uvicorn (MissingExtraError). Raises ValueErrors for samples that
    do not fit the model, and OSError for a port in use, before the first step.
    """

    def __init__(self, x: Any = None, y: Any = None, *, open: bool = True, port: int = 0) -> None:
        self.x, self.y = x, y
        self.open = flag(open, "Explorer: open")
        self.port = integer(port, "Explorer: port", 0, bits=16)
        from .server import serve  # or MissingExtraError, before any training

        self._serve = serve
        self._server: Exploration | None = None
        self._recorder: Recorder | None = None
        self._copy: Any = None  # of the model: readers get copies of it
        self._digits: Any = None
        self._epoch, self._count, self._right = 0, 0, 0.0

    @property
    def url(self) -> str:
        """The page's address; "" before the training and after `close`."""
        return "" if self._server is None else self._server.url

    def close(self) -> None:
        """End the page."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def check_before_training(self, before: Logs, after: Logs) -> None:
        if processes.first and (self._recorder is None or self._recorder.model is not self.model):
            self._watch(self.model)

    def _watch(self, model: Any) -> None:
        """Make what sessions need of a model, in the thread that trains it."""
        self._copy = Original(model).copy()
        self._digits = Digits(self._copy, self.x, self.y)
        self._recorder = Recorder(model, SHARE)
        if self._server is not None:
            self._server.forget()

    def on_train_begin(self, logs: Any = None) -> None:
        recorder = self._recorder
        if not processes.first or recorder is None:
            return
        recorder.batches = self.params["steps"]
        recorder.step = max(recorder.step, self.model.optimizer.iterations)
        recorder.begin()
        if self._server is None:
            self._server = self._serve(self._make_session, port=self.port, open=self.open)
            say(self._server.url)

    def _make_session(self) -> Session:
        """A reader's session: called in a thread of the server."""
        recorder = self._recorder
        assert recorder is not None
        session = Session(self._copy, self._digits)
        session.training = Following(session, recorder)
        return session

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._count, self._right = epoch, 0, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        recorder, step = self._recorder, self.model.last_step
        if recorder is None:
            return
        loss = accuracy = nan
        if isfinite(logs["loss"]):  # else there was no step: see `TerminateOnNaN`
            loss = step.loss
            if name := accuracy_of(logs):  # `logs` has means over the epoch
                self._count += step.samples
                right = logs[name] * self._count
                accuracy = (right - self._right) / step.samples
                self._right = right
        recorder.batch(loss, accuracy, (self._epoch, batch + 1))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        measured = {
            name.removeprefix("val_"): value for name, value in logs.items()
            if name.startswith("val_")
        }  # fmt: skip
        if self._recorder is not None and measured:
            self._recorder.test(*loss_and_accuracy(measured))

    def on_train_end(self, logs: Any = None) -> None:
        if self._recorder is not None:
            self._recorder.end()
