"""What arrays are called in annotations: of any shape and dtype, which the docstrings tell."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
