"""`LambdaCallback`: a callback made of functions.

Source: keras/src/callbacks/lambda_callback.py.
"""

from collections.abc import Callable
from typing import Any

from ..common.config import refuse_unknown
from .callback import Callback
from .callback_list import KNOWN

Event = Callable[..., Any] | None


class LambdaCallback(Callback):
    """Calls functions: each argument is an event of `Callback`, and takes what its method takes.

    Raises ValueError for an unknown event, and for what is not a function.
    """

    def __init__(
        self, on_epoch_begin: Event = None, on_epoch_end: Event = None,
        on_train_begin: Event = None, on_train_end: Event = None,
        on_train_batch_begin: Event = None, on_train_batch_end: Event = None, **events: Event,
    ) -> None:  # fmt: skip
        given = {name: value for name, value in locals().items() if name in KNOWN} | events
        refuse_unknown(type(self), events, KNOWN)
        for event, function in given.items():
            if function is not None and (not callable(function) or isinstance(function, type)):
                raise ValueError(f"LambdaCallback: {event}={function!r:.80}, expected a function")
            if function is not None:
                vars(self)[event] = function
