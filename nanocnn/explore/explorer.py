"""`Explorer`: the callback that shows a user's own `fit` on a page."""

from copy import copy
from typing import TYPE_CHECKING, Any

from ..callbacks import Callback
from ..callbacks.callback import Logs
from ..common import processes
from ..common.errors import MissingExtraError
from ..common.terminal import say
from ..common.validate import flag, integer
from .recorder import Recorder

if TYPE_CHECKING:
    from .exploration import Exploration
    from .session import Session


class Explorer(Callback):
    """Shows the training on a page in the browser, whose address it prints: `explore`, live.

    open: whether to open a browser, too. port: 0 for any that is free. Readers look at copies of
    the model with the weights of kept steps, so the training is not changed, and takes less than
    3% longer. It cannot be steered from the page. The page stays until `close` or the end of the
    process; another `fit` of the model goes on in it. Of several processes (MPI) the first one
    shows it. Needs starlette and uvicorn (MissingExtraError). ValueError for a wrong argument,
    OSError for a port in use.
    """

    def __init__(self, *, open: bool = True, port: int = 0) -> None:
        self.open = flag(open, "Explorer: open")
        self.port = integer(port, "Explorer: port", 0, bits=16)
        try:
            import starlette as starlette
            import uvicorn as uvicorn
        except ImportError as error:
            fix = 'pip install "nanocnn[explore]"'
            raise MissingExtraError(f"Explorer needs starlette and uvicorn: {fix}") from error
        self._server: Exploration | None = None
        self._recorder: Recorder | None = None
        self._copy: Any = None  # of the model: readers get copies of it
        self._digits: Any = None
        self._epoch = 0

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
        from .digits import Digits

        self._copy = copy(model)
        self._digits = Digits(self._copy)
        self._recorder = Recorder(model)
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
            from .server import serve

            self._server = serve(self._make_session, port=self.port, open=self.open)
            say(self._server.url)

    def _make_session(self) -> "Session":
        """A reader's session: called in a thread of the server."""
        from .session import Session
        from .watched import Following

        recorder = self._recorder
        assert recorder is not None
        session = Session(self._copy, self._digits)
        session.training = Following(session, recorder)
        return session

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        recorder, step = self._recorder, self.model.last_step
        if recorder is not None and step is not None:
            loss, accuracy = step.loss, float("nan")
            if logs["loss"] != logs["loss"]:  # `TerminateOnNaN`: there was no such step
                loss = logs["loss"]
            elif (place := _place_of_accuracy(self.model.metrics)) is not None:
                top, bottom = step.measure()[2 * place : 2 * place + 2]
                accuracy = top / bottom if bottom else accuracy
            recorder.batch(loss, accuracy, (self._epoch, batch + 1))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._recorder is not None and "val_loss" in logs:
            name = next((name for name in logs if name.startswith("val_") and "acc" in name), None)
            accuracy = float("nan") if name is None else logs[name]
            self._recorder.test(logs["val_loss"], accuracy)

    def on_train_end(self, logs: Any = None) -> None:
        if self._recorder is not None:
            self._recorder.end(self._recorder.place)


def _place_of_accuracy(metrics: dict[str, Any]) -> int | None:
    return next((place for place, name in enumerate(metrics) if "acc" in name), None)
