"""Where results live, and what a forward pass saves for its backward pass.

A layer, stage or loss writes its results where `memory.out` says and saves what its backward needs
with `memory.save`: it is the owner of both. With plain `Memory` every result is a new array: right
for study, and for the reference kernels. With an `Arena` every result has a buffer that the next
step uses again, so that a training step allocates nothing. One memory serves one pass at a time;
since nothing of a pass is saved on the layers themselves, several threads can run the same model,
each with a memory of its own.

Owners are told apart by identity, and a memory does not keep them alive. A copy or pickle of a
memory is empty: its owners would be other objects.
"""

from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..common.arrays import Array

DTYPES = {
    "argmax": np.uint8, "wide_argmax": np.int32, "key": np.uint64, "moments": np.float64,
    "sums": np.float64, "means": np.float64,
}  # by name  # fmt: skip


class Memory:
    """A new array for every result."""

    def __init__(self) -> None:
        self._saved: WeakKeyDictionary[object, tuple[Any, ...]] = WeakKeyDictionary()
        self.passes: dict[object, Any] = {}  # that use this memory, captured
        self.gradients: Any = None  # of all layers, in one vector: see models/gradients.py
        self.first = 0  # the place in the batch of the first sample of a pass
        self.rng: np.random.Generator | None = None  # in place of the model's, for augmentation

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def out(self, owner: object, **shapes: tuple[int, ...] | None) -> dict[str, Any]:
        """The kernel's argument `out`, where to write: none here, so that it allocates."""
        return {}

    def save(self, owner: object, *values: Any) -> None:
        """Save `values` for the backward pass of `owner`, replacing what it saved before."""
        self._saved[owner] = values

    def saved(self, owner: object) -> tuple[Any, ...]:
        """What `owner` saved in its last forward pass; RuntimeError if there was none."""
        try:
            return self._saved[owner]
        except KeyError:
            name = getattr(owner, "name", owner)
            raise RuntimeError(f"{name}: backward was called before forward") from None

    def release(self) -> None:
        """Let go of the data that passes have read last."""
        for each in self.passes.values():
            each.release()

    def holds(self, owner: object) -> bool:
        """Whether `owner` has saved anything."""
        return owner in self._saved


class Arena(Memory):
    """Buffers that are allocated once and grow with the batch: for kernels that take `out`."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = np.dtype(dtype)
        self._buffers: WeakKeyDictionary[object, dict[str, Array]] = WeakKeyDictionary()
        self.buffers: list[Array] = []  # work memory of captured passes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.dtype,)

    def place(self, owner: object, name: str, where: Array) -> None:
        """Use this contiguous array as `owner`'s buffer `name` from now on."""
        self._buffers.setdefault(owner, {})[name] = where.reshape(-1)

    def out(self, owner: object, **shapes: tuple[int, ...] | None) -> dict[str, Any]:
        """`{"out": array}`, or a tuple of arrays when several shapes are named; None stays None.

        The arrays are `owner`'s buffers of these names, contiguous and of the arena's dtype, except
        those that `DTYPES` names.
        """
        buffers = self._buffers.get(owner)
        if buffers is None:
            buffers = self._buffers[owner] = {}
        arrays = tuple(
            None if shape is None else self._array(buffers, name, shape)
            for name, shape in shapes.items()
        )
        return {"out": arrays[0] if len(arrays) == 1 else arrays}

    def _array(self, buffers: dict[str, Array], name: str, shape: tuple[int, ...]) -> Array:
        size = prod(shape)
        buffer = buffers.get(name)
        if buffer is None or buffer.size < size:
            dtype = DTYPES.get(name, self.dtype)
            buffer = buffers[name] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)

    @property
    def nbytes(self) -> int:
        """Bytes in all buffers."""
        named = [each for arrays in self._buffers.values() for each in arrays.values()]
        return sum(each.nbytes for each in (*self.buffers, *named))
