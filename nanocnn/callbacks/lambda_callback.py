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
    """Calls functions: each argument is an event of `Callback`, such as `on_epoch_end`.

    A function takes what the method of that name takes: `lambda epoch, logs: print(epoch)`. Raises
    ValueError for an unknown event, and for what is not a function.
    """

    def __init__(
        self, on_epoch_begin: Event = None, on_epoch_end: Event = None,
        on_train_begin: Event = None, on_train_end: Event = None,
        on_train_batch_begin: Event = None, on_train_batch_end: Event = None, **events: Event,
    ) -> None:  # fmt: skip
        refuse_unknown(type(self), events, KNOWN)
        events |= {
            "on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin, "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin, "on_train_batch_end": on_train_batch_end,
        }  # fmt: skip
        for event, function in events.items():
            if function is None:
                continue
            if not callable(function) or isinstance(function, type):
                raise ValueError(
                    f"LambdaCallback: {event}={function!r:.80}, expected a function or None"
                )
            vars(self)[event] = function
