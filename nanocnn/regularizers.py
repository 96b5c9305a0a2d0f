"""L2 regularisation: loss += factor * sum(w^2), gradient += 2 * factor * w (Keras's convention)."""

from math import isfinite
from typing import Any


class L2:
    """A penalty of `l2` times the sum of squares of a kernel, added to the loss.

    For `kernel_regularizer=`, which raises ValueError unless `l2` is finite and 0 or more.
    Source: keras/src/regularizers/regularizers.py.
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = float(l2)


def l2_factor(regularizer: Any) -> float:
    """The factor of None, "l2", a number, an `L2`, or Keras's config of one; else a ValueError."""
    if regularizer is None:
        return 0.0
    if isinstance(regularizer, L2):
        factor = regularizer.l2
    elif regularizer == "l2":
        factor = 0.01
    elif isinstance(regularizer, (int, float)):
        factor = float(regularizer)
    elif isinstance(regularizer, dict) and regularizer.get("class_name") == "L2":
        factor = float(regularizer["config"]["l2"])
    else:
        raise ValueError(
            f"kernel_regularizer={regularizer!r}, expected None, 'l2', a factor or L2(factor)"
        )
    if not (isfinite(factor) and factor >= 0):
        raise ValueError(f"kernel_regularizer: factor {factor}, expected a finite number >= 0")
    return factor


def l2_config(factor: float) -> dict[str, Any] | None:
    """Keras's config of the regularizer with this factor."""
    return {"class_name": "L2", "config": {"l2": factor}} if factor else None
