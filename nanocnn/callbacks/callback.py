"""The events of a training, evaluation or prediction, and who hears them.

Source: keras/src/callbacks/callback.py and callback_list.py.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from ..common.config import Checked
from ..common.errors import unknown, warn
from ..common.validate import accepts

Names = tuple[str, ...] | None  # of logs; None: not known before the epoch ends


class Callback(Checked):
    """Override what you need. `model` is the model in training; set `model.stop_training` to stop.

    `logs` are an epoch's or a batch's numbers, {} before it; a method may leave them out. `params`
    is {"epochs", "steps", "verbose"}. What `get_state` returns, the attributes named in
    `remembered`, is saved with the model's `.npz` and restored by the `fit` that goes on from it
    with the same callbacks: of the same class, and the same in what `identified_by` names.
    """

    model: Any = None
    params: Any = None
    remembered: ClassVar[tuple[str, ...]] = ()
    identified_by: tuple[str, ...] = ()
    adds_to_logs: ClassVar[tuple[str, ...]] = ()  # by its on_epoch_end

    def set_model(self, model: Any) -> None:
        """Before anything else: the model it will be called for."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Before anything else: {"epochs", "steps", "verbose"}."""
        self.params = params

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Any = None) -> None:
        """After the last epoch, whose numbers `logs` are, or after an interruption."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before epoch number `epoch`, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After the epoch and its validation; what is added to `logs` enters the history."""

    def on_epoch_saved(self, epoch: int, logs: Any = None) -> None:
        """After all `on_epoch_end`, with the epoch in the history: the time to save the model."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before batch number `batch` of the epoch, counted from 0."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After it; `logs` are the running means so far."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """The older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Before an evaluation; those of `fit` are its validations."""

    def on_test_end(self, logs: Any = None) -> None:
        """After it; `logs` are its numbers."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After it; `logs` are the running means so far."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """After it."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After it; `logs` is {"outputs": the model's output for the batch}."""

    def check_before_training(self, before: Names, after: Names) -> None:
        """Raise for what is known to fail, before the first step; `model` is set.

        The names in the logs when its `on_epoch_end` is called, and after those of all callbacks.
        """

    def get_state(self) -> dict[str, Any]:
        """Attributes to remember over an interruption: JSON-able, or weights by "layer/name"."""
        return {name: getattr(self, name) for name in (*self.identified_by, *self.remembered)}

    def owns(self, state: dict[str, Any]) -> bool:
        """Whether `state` was that of a callback with the same arguments."""
        return all(
            state.get(name, getattr(self, name)) == getattr(self, name)
            for name in self.identified_by
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from `get_state`."""
        for name in self.get_state().keys() & state.keys():
            setattr(self, name, state[name])


ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
KNOWN = {name for name in vars(Callback) if name.startswith("on_")}


class CallbackList:
    """What `fit`, `evaluate` and `predict` do with `callbacks`: None, one, or a list of them.

    `heard[event]` are the methods that some callback has for it, so that an event which nobody
    hears costs nothing. Raises ValueError for what is no callback or cannot be called.
    """

    def __init__(
        self, given: Any, model: Any, samples: int, batch_size: int, epochs: int = 1,
        verbose: int | str = 0,
    ) -> None:  # fmt: skip
        given = [given] if isinstance(given, Callback) else () if given is None else given
        listed = isinstance(given, (list, tuple))
        if not (listed and all(isinstance(callback, Callback) for callback in given)):
            raise ValueError(f"callbacks: {given!r:.200}, expected a list of Callback objects")
        steps = -(-samples // batch_size)
        self.params = {"epochs": epochs, "steps": steps, "verbose": verbose}
        self.callbacks: tuple[Callback, ...] = tuple(given)
        self.model = model
        self.heard: dict[str, list[Callable[..., Any]]] = {
            event: [call for each in self.callbacks if (call := _listener(each, event))]
            for event in KNOWN - set(ALIASES.values())
        }
        for callback in self.callbacks:
            _warn_of_uncalled(callback)
            callback.set_params(self.params)
            callback.set_model(model)

    def call(self, event: str, *arguments: Any) -> None:
        """Tell everyone who hears it."""
        for method in self.heard[event]:
            method(*arguments)

    def check(self, measured: Iterable[str]) -> None:
        """What can be known to fail before the first step: ValueError or OSError.

        `measured` are the loss and metrics of an epoch. A callback that is not ours may add
        others in its `on_epoch_end`; what stands behind it is checked when the epoch ends.
        """
        names: tuple[str, ...] | None = tuple(measured)
        found = []
        for callback in self.callbacks:
            found.append(names)
            if callback.on_epoch_end.__module__.partition(".")[0] != __package__:
                names = None
            elif names is not None:
                names += callback.adds_to_logs
        for callback, before in zip(self.callbacks, found, strict=True):
            callback.check_before_training(before, names)

    def get_states(self) -> list[dict[str, Any]]:
        """What each remembers, JSON-able but for weights."""
        return [
            {"class_name": type(callback).__name__, "state": callback.get_state()}
            for callback in self.callbacks
        ]

    def set_states(self, states: list[dict[str, Any]]) -> None:
        """Give each the first state left of its class and with its arguments (`identified_by`)."""
        left = list(states)
        for callback in self.callbacks:
            for place, each in enumerate(left):
                state = dict(each["state"])
                if each["class_name"] == type(callback).__name__ and callback.owns(state):
                    callback.set_state(state)
                    del left[place]
                    break


def _listener(callback: Callback, event: str) -> Callable[..., Any] | None:
    """The callback's method for an event, taking what the event gives; None if it has none."""
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
    method = getattr(callback, name)  # of its class, or put into the object itself
    return getattr(method, "__func__", method) is not getattr(Callback, name)


def _warn_of_uncalled(callback: Callback) -> None:
    """Methods that look like events and are none, and those of the older of an event's names."""
    kind = type(callback).__name__
    for name in dir(callback):
        if name.startswith("on_") and name not in KNOWN and callable(getattr(callback, name)):
            why = str(unknown("event", name, KNOWN))
            warn(f"{kind}.{name} is never called: {why}")
    for event, old in ALIASES.items():
        if _overrides(callback, event) and _overrides(callback, old):
            why = f"it is the same event as {event}, which is"
            warn(f"{kind}.{old} is not called: {why}")
