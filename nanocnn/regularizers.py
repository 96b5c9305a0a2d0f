"""L2 regularisation: loss += factor * sum(w^2), gradient += 2 * factor * w (Keras's convention)."""

from typing import Any

from .common.config import Configured
from .common.names import names_of
from .common.validate import number

__getattr__ = names_of(__name__)


class L2(Configured):
    """A penalty of `l2` times the sum of squares of a kernel, added to the loss.

    For `kernel_regularizer=`. Raises ValueError unless `l2` is finite and at least 0.
    Source: keras/src/regularizers/regularizers.py.
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = number(l2, "L2: l2", lambda l2: l2 >= 0, ">= 0")


l2 = L2  # as Keras also calls it


def get_regularizer(spec: Any) -> L2 | None:
    """Return an `L2` from an instance, "l2", a number or a Keras config; None for None and 0."""
    if isinstance(spec, dict) and isinstance(spec.get("config"), dict):
        config = spec["config"]
        # Old versions of Keras wrote L1L2 for both.
        if spec.get("class_name") in ("L2", "L1L2") and config.get("l1", 0) == 0:
            spec = config.get("l2")
    if spec is None or isinstance(spec, L2):
        return spec
    if isinstance(spec, str) and spec == "l2":
        return L2()
    words = ">= 0, or None, 'l2' or L2(factor)"
    factor = number(spec, "kernel_regularizer", lambda factor: factor >= 0, words)
    return L2(factor) if factor else None
