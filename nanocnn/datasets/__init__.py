"""Data sets by Keras's names: `datasets.mnist.load_data()`."""

from ..common.names import names_of

__getattr__ = names_of(__name__)
