"""What scripts ask of Keras's backend. Its functions of tensors are NumPy's here."""

from .common.names import names_of

__getattr__ = names_of(__name__)


def image_data_format() -> str:
    """Return "channels_last": images are (N, height, width, channels)."""
    return "channels_last"


def clear_session(free_memory: bool = True) -> None:
    """Do nothing: all state is a model's, and goes with it."""
