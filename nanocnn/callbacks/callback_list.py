"""`CallbackList`: the callbacks of one `fit`, `evaluate` or `predict`.

Source: keras/src/callbacks/callback_list.py.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..common.errors import unknown, warn
from ..common.validate import accepts
from .callback import Callback, Logs, UnknownLogs
from .history import History
from .monitors import TerminateOnNaN

ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
KNOWN = {name for name in vars(Callback) if name.startswith("on_")}
PACKAGE = __name__.partition(".")[0]


class CallbackList:
    """The `callbacks` argument of `fit`, `evaluate` and `predict`: None, one, or a list of them.

    `listeners[event]` are the methods that override that event, so that an event without any costs
    nothing. Raises ValueError for what is not a callback, and for a method that cannot be called.
    """

    def __init__(
        self, given: Any, model: Any, steps: int | None, epochs: int = 1, verbose: int | str = 0
    ) -> None:
        given = [given] if isinstance(given, Callback) else () if given is None else given
        listed = isinstance(given, (list, tuple))
        if not (listed and all(isinstance(callback, Callback) for callback in given)):
            raise ValueError(f"callbacks: {given!r:.200}, expected a list of Callback objects")
        self.params = {"epochs": epochs, "steps": steps, "verbose": verbose}
        self.callbacks: tuple[Callback, ...] = tuple(given)
        self.model = model
        self.at_nan = [
            each for each in given if isinstance(each, TerminateOnNaN) and not each.raise_error
        ]
        self.listeners: dict[str, list[Callable[..., Any]]] = {
            event: [call for each in self.callbacks if (call := _listener(each, event))]
            for event in KNOWN - set(ALIASES.values())
        }
        for callback in self.callbacks:
            _warn_of_uncalled(callback)
            callback.set_params(self.params)
            callback.set_model(model)

    def get_history(self) -> History:
        """The `History` among them, or a new one, without the numbers of an earlier `fit`."""
        history = next((each for each in self.callbacks if isinstance(each, History)), History())
        history.begin(self.params)
        return history

    def see_batches(self, of: str) -> bool:
        """Whether any has a method for the batches `of` a "train" or "test"."""
        return any(self.listeners[f"on_{of}_batch_{when}"] for when in ("begin", "end"))

    def call(self, event: str, *arguments: Any) -> None:
        """Call the listeners of `event`, in the order of the callbacks."""
        for method in self.listeners[event]:
            method(*arguments)

    def check(self, measured: Iterable[str]) -> None:
        """Raise ValueError or OSError, before the first step, for what would fail later.

        `measured`: the names of an epoch's loss and metrics. A callback that is not one of
        nanocnn's may add others in its `on_epoch_end`: those after it in the list are checked when
        the epoch ends.
        """
        logs: Logs = dict.fromkeys(measured, 0.5)
        found = []
        for callback in self.callbacks:
            found.append(logs)
            own = callback.on_epoch_end.__module__.startswith(f"{PACKAGE}.")
            kind = type(logs) if own else UnknownLogs
            logs = kind({**logs, **dict.fromkeys(callback.adds_to_logs, 0.5)})
        for callback, before in zip(self.callbacks, found, strict=True):
            callback.check_before_training(before, logs)

    def get_states(self) -> list[dict[str, Any]]:
        """The state of each callback: values that JSON can hold, and arrays of weights."""
        return [
            {"class_name": type(callback).__name__, "state": callback.get_state()}
            for callback in self.callbacks
        ]

    def set_states(self, states: list[dict[str, Any]]) -> None:
        """Give each callback the first state left that is of its class and that it `owns`."""
        left = list(states)
        for callback in self.callbacks:
            for place, each in enumerate(left):
                state = dict(each["state"])
                if each["class_name"] == type(callback).__name__ and callback.owns(state):
                    callback.set_state(state)
                    del left[place]
                    break


def _listener(callback: Callback, event: str) -> Callable[..., Any] | None:
    """The callback's method for an event, called with what the event passes; None if it has none.

    A method may leave `logs` out, or take it by keyword.
    """
    own = [name for name in (event, ALIASES.get(event, event)) if _overrides(callback, name)]
    if not own:
        return None
    kind = type(callback).__name__
    method: Callable[..., Any] = getattr(callback, own[0])
    first = (0,) if accepts(getattr(Callback, event), None, 0, {}) else ()
    if accepts(method, *first, {}):
        return method
    if accepts(method, *first, logs={}):
        return lambda *given: method(*given[:-1], logs=given[-1])
    if accepts(method, *first):
        return lambda *given: method(*given[:-1])
    raise ValueError(f"{kind}.{own[0]}: expected to take {'a number and ' * len(first)}logs")


def _overrides(callback: Callback, name: str) -> bool:
    method = getattr(callback, name)  # of its class, or assigned to the object
    return getattr(method, "__func__", method) is not getattr(Callback, name)


def _warn_of_uncalled(callback: Callback) -> None:
    """Warn of methods named like events that do not exist, and of both names of one event."""
    kind = type(callback).__name__
    for name in dir(callback):
        if name.startswith("on_") and name not in KNOWN and callable(getattr(callback, name)):
            why = str(unknown("event", name, KNOWN))
            warn(f"{kind}.{name} is never called: {why}")
    for event, old in ALIASES.items():
        if _overrides(callback, event) and _overrides(callback, old):
            why = f"it is the same event as {event}, which is"
            warn(f"{kind}.{old} is not called: {why}")
