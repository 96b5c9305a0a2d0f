"""What scripts ask of Keras's backend. Its functions of tensors are NumPy's here."""

from typing import Any

from .common.config import FIXED
from .common.names import names_of

__getattr__ = names_of(__name__)


def image_data_format() -> str:
    """Return "channels_last": images are (N, height, width, channels)."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Accept "channels_last"; ValueError for others."""
    only, advice = FIXED["data_format"]
    if not isinstance(data_format, str) or data_format != only:
        raise ValueError(f"data_format={data_format!r:.80}, expected {only!r}; {advice}")


def floatx() -> str:
    """Return "float32", the dtype of models that are made without `dtype=`."""
    return "float32"


def epsilon() -> float:
    """Return 1e-7, by which probabilities are clipped."""
    return 1e-7


def clear_session(free_memory: bool = True) -> None:
    """Do nothing: all state is a model's, and goes with it."""


def get_value(x: Any) -> Any:
    """Return `x`: numbers such as `model.optimizer.learning_rate` are Python's."""
    return x
