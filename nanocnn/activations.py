"""The names of activations: `activation=activations.relu` is `activation="relu"`."""

from .common.names import no_attribute
from .layers.activation import ACTIVATIONS


def __getattr__(name: str) -> str:
    if name in ACTIVATIONS:
        return name
    raise no_attribute(f"module {__name__!r}", name, ACTIVATIONS)
