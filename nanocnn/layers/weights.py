"""What has weights, a layer or a model: reads, sets and counts them."""

from collections.abc import Sequence
from typing import Any

from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.validate import as_array


class Weighted:
    """Base of classes with a dict `weights` of arrays, in Keras's order."""

    @property
    def weights(self) -> dict[str, Array]:
        """All weights by name: the arrays themselves."""
        raise NotImplementedError

    def count_params(self) -> int:
        """Return the number of weights, trained or not."""
        return sum(array.size for array in self.weights.values())

    def get_weights(self) -> list[Array]:
        """Return copies of all weights, in Keras's order and shapes."""
        return [array.copy() for array in self.weights.values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights from a list, as `get_weights` here or in Keras returns it.

        Raises ValueError, before any is set, unless their number and shapes are the same.
        """
        mine = self.weights
        if not isinstance(weights, (list, tuple)):
            raise ValueError(f"weights: {type(weights).__name__}, expected a list of arrays")
        if len(weights) != len(mine):
            raise ShapeError(f"weights: {len(weights)} arrays, expected {len(mine)}: {list(mine)}")
        arrays = []
        for (name, array), given in zip(mine.items(), weights, strict=True):
            new = as_array(given, f"weights of {name}")
            if new.dtype.kind not in "buif":
                raise ValueError(f"weights of {name}: array of type {new.dtype}, expected numbers")
            if new.shape != array.shape:
                raise ShapeError(f"weights of {name}: shape {new.shape}, expected {array.shape}")
            arrays.append(new)
        for array, new in zip(mine.values(), arrays, strict=True):
            array[...] = new
