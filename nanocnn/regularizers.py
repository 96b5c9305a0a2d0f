"""L2 regularisation: loss += factor * sum(w^2), gradient += 2 * factor * w (Keras's convention)."""

from typing import Any

from .checks import number


class L2:
    """A penalty of `l2` times the sum of squares of a kernel, added to the loss.

    For `kernel_regularizer=`, which raises ValueError unless `l2` is finite and 0 or more.
    Source: keras/src/regularizers/regularizers.py.
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = number(l2, "L2: l2", lambda l2: l2 >= 0, ">= 0")


def l2_factor(regularizer: Any) -> float:
    """The factor of None, "l2", a number, an `L2`, or Keras's config of one; else a ValueError."""
    if regularizer is None:
        return 0.0
    if isinstance(regularizer, dict) and isinstance(regularizer.get("config"), dict):
        config = regularizer["config"]
        # Old Keras wrote L1L2 for both.
        if regularizer.get("class_name") in ("L2", "L1L2") and config.get("l1", 0) == 0:
            regularizer = config.get("l2")
    elif regularizer == "l2":
        regularizer = L2()
    if isinstance(regularizer, L2):
        return regularizer.l2
    words = ">= 0, or None, 'l2' or L2(factor)"
    return number(regularizer, "kernel_regularizer", lambda factor: factor >= 0, words)


def l2_config(factor: float) -> dict[str, Any] | None:
    """Keras's config of the regularizer with this factor."""
    return {"class_name": "L2", "config": {"l2": factor}} if factor else None
