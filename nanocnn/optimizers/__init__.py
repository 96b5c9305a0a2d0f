"""Optimizers by Keras's names, one file a family; `schedules` are falling learning rates."""

from typing import Any

from ..common.config import deserialize
from .adam import Adam, AdamW, Nadam
from .base import Optimizer
from .rmsprop import Adadelta, RMSprop
from .sgd import SGD

RMSProp = RMSprop
OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.__name__: optimizer for optimizer in (SGD, RMSprop, Adam, AdamW, Adadelta, Nadam)
}


def get_optimizer(identifier: str | Optimizer | dict[str, Any]) -> Optimizer:
    """Return an optimizer from an instance, a name ("adam"), or a {"class_name", "config"}."""
    if isinstance(identifier, Optimizer):
        return identifier
    return deserialize("optimizer", identifier, OPTIMIZERS)


get = get_optimizer  # keras.optimizers.get

__all__ = [
    "OPTIMIZERS", "SGD", "Adadelta", "Adam", "AdamW", "Nadam", "Optimizer", "RMSProp", "RMSprop",
    "get", "get_optimizer",
]  # fmt: skip
