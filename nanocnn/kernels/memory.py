"""Where results live and what a forward pass keeps for its backward pass.

A layer or stage writes its results where `memory.out` says and keeps what its backward needs with
`memory.save`. With plain `Memory` every result is a fresh array: right for study, and for the
reference kernels. With an `Arena` every result has a buffer that is used again in the next step, so
that a training step allocates nothing. One memory serves one pass at a time; since nothing of
a pass is kept on the layers themselves, several threads can run the same model, each with its own.
"""

from math import prod
from typing import Any

import numpy as np

from ..common.arrays import Array


class Memory:
    """Fresh arrays for every result."""

    def __init__(self) -> None:
        self._saved: dict[int, tuple[Any, ...]] = {}

    def out(self, owner: object, **shapes: tuple[int, ...] | None) -> dict[str, Any]:
        """Keyword arguments that tell a kernel where to write: none here, so that it allocates."""
        return {}

    def save(self, owner: object, *values: Any) -> None:
        """Keep `values` for the backward pass of `owner`, in place of what it kept before."""
        self._saved[id(owner)] = values

    def saved(self, owner: object) -> tuple[Any, ...]:
        """What `owner` kept in its last forward pass."""
        try:
            return self._saved[id(owner)]
        except KeyError:
            name = getattr(owner, "name", owner)
            raise RuntimeError(f"{name}: backward was called before forward") from None

    def holds(self, owner: object) -> bool:
        """Whether `owner` has kept anything."""
        return id(owner) in self._saved


class Arena(Memory):
    """Buffers that are allocated once and grow when a larger batch comes: for the fast kernels."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = np.dtype(dtype)
        self._buffers: dict[tuple[int, str], Array] = {}
        self.programs: dict[int, Any] = {}  # captured passes, by the number of samples

    def out(self, owner: object, **shapes: tuple[int, ...] | None) -> dict[str, Any]:
        """`{"out": array}`, or a tuple of arrays when several shapes are named; None stays None.

        Results are of the arena's dtype, but `argmax` (bytes) and `wide_argmax` (int32).
        """
        arrays = tuple(
            None if shape is None else self.array(owner, name, shape)
            for name, shape in shapes.items()
        )
        return {"out": arrays[0] if len(arrays) == 1 else arrays}

    def array(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """The buffer called `name` of `owner`, as a contiguous array of `shape`."""
        dtype = dtype or {"argmax": np.uint8, "wide_argmax": np.int32}.get(name, self.dtype)
        size = prod(shape)
        buffer = self._buffers.get((id(owner), name))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[id(owner), name] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)

    @property
    def nbytes(self) -> int:
        """Bytes held by all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
