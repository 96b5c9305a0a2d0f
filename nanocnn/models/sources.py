"""Where `fit`, `evaluate` and `predict` get their batches: from arrays, or what yields batches.

Source: keras/src/trainers/epoch_iterator.py and keras/src/trainers/data_adapters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import chain, count
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError, warn
from ..common.validate import integer
from ..data.batches import batches
from .inputs import Data

Check = Callable[[Any, Any, Any], Data]  # of x, y and sample_weight

Batch = tuple[Data, slice | Array]

END = object()
OUT_OF_DATA = (
    "Your input ran out of data; interrupting training. Make sure that your dataset or generator "
    "can generate at least `steps_per_epoch * epochs` batches."
)


class Source:
    """Batches, epoch by epoch. `steps` an epoch, which go on where the last one ended; None: all.

    `data`: all of it, or the first batch. `batch_size` is 0 where it varies; `samples` and `length`
    (in batches) of an epoch are None where they are not known.
    """

    data: Data
    batch_size: int = 0
    samples: int | None = None
    length: int | None = None

    def __init__(self, steps: Any, name: str) -> None:
        self.steps = None if steps is None else integer(steps, name)
        self._rest: Iterator[Any] = iter(())

    def epoch(
        self, rng: np.random.Generator | None = None, where: str = ""
    ) -> Iterator[Batch] | None:
        """The batches of one epoch, in an order by `rng`; None if there are none left.

        Errors in a batch begin with `where` and its number. Warns where batches are missing.
        """
        found = self._epoch(rng, where)
        first = next(found, None)
        return None if first is None else chain([first], found)

    def _epoch(self, rng: np.random.Generator | None, where: str) -> Iterator[Batch]:
        if self.steps is None:
            self._rest = self._all(rng)
        for number in count() if self.steps is None else range(self.steps):
            batch = next(self._rest, END)
            if batch is END and number == 0:
                self._rest = self._all(rng)
                batch = next(self._rest, END)
            if batch is END:
                if self.steps is not None or number == 0:
                    warn(OUT_OF_DATA)
                return
            yield self._checked(batch, f"{where}batch {number + 1}: ")

    def restart(self) -> None:
        """Begin the next epoch with the first batch, where that is possible."""
        self._rest = iter(())

    def _all(self, rng: np.random.Generator | None) -> Iterator[Any]:
        raise NotImplementedError

    def _checked(self, batch: Any, where: str) -> Batch:
        return batch


class ArraySource(Source):
    """Batches of `size` samples of arrays."""

    def __init__(self, data: Data, size: int, steps: Any = None, name: str = "steps") -> None:
        super().__init__(steps, name)
        self.data, self.batch_size = data, size
        self.length = self.steps or -(-len(data.x) // size)
        self.samples = min(len(data.x), self.length * size)

    def _all(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        return ((self.data, index) for index in batches(len(self.data.x), self.batch_size, rng))


class BatchSource(Source):
    """What yields batches: an iterator such as a generator, which is read once; an object with
    `__getitem__` and `__len__` such as a `keras.utils.PyDataset`; or what is iterated anew.

    What is both, such as `ImageDataGenerator.flow`, is an iterator if there are `steps`.

    The first batch is read and checked now, and not lost. `name`: the argument, for errors.
    """

    def __init__(self, given: Any, check: Check, steps: Any, steps_name: str, name: str) -> None:
        super().__init__(steps, steps_name)
        self.given, self.check = given, check
        try:
            size = given.num_batches if hasattr(given, "num_batches") else len(given)
        except TypeError:  # it has no length, or does not know it
            size = None
        self._size = None if size is None else integer(size, f"{name}: number of batches")
        self.length = self.steps or self._size
        indexed = self.steps is None and self._size is not None and hasattr(given, "__getitem__")
        self._once = given if isinstance(given, Iterator) and not indexed else None
        first = next(self._all(None), END)
        if first is END:
            raise ValueError(f"{name}: yields no batch, expected one or more")
        if self._once is not None:
            self._once = chain([first], self._once)
        self.data, _ = self._checked(first, f"{name}: batch 1: ")

    def _epoch(self, rng: np.random.Generator | None, where: str) -> Iterator[Batch]:
        getattr(self.given, "on_epoch_begin", bool)()
        yield from super()._epoch(rng, where)
        getattr(self.given, "on_epoch_end", bool)()

    def _all(self, rng: np.random.Generator | None) -> Iterator[Any]:
        if self._once is not None:
            return self._once
        if self._size is None or not hasattr(self.given, "__getitem__"):
            return iter(self.given)
        order = range(self._size) if rng is None else rng.permutation(self._size).tolist()
        return map(self.given.__getitem__, order)

    def _checked(self, batch: Any, where: str) -> Batch:
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        if len(parts) not in (1, 2, 3) or isinstance(batch, (Mapping, str)):
            raise ValueError(
                f"{where}{type(batch).__name__} of {len(batch)}, expected a tuple (x, y) or (x, y, "
                "sample_weight)"
            )
        try:
            data = self.check(*(*parts, None, None)[:3])
        except ValueError as error:
            kind = type(error) if isinstance(error, (NonFiniteError, ShapeError)) else ValueError
            raise kind(f"{where}{error}") from error
        return data, slice(0, len(data.x))


def source_of(
    x: Any, y: Any, sample_weight: Any, check: Check, size: int, steps: Any,
    steps_name: str = "steps", name: str = "x",
) -> Source:  # fmt: skip
    """Arrays in batches of `size`, or x that yields batches. `steps`: see `Source`.

    `check` turns x, y and sample_weight, of all or of each batch, into `Data`.
    """
    if yields_batches(x, y, sample_weight):
        return BatchSource(x, check, steps, steps_name, name)
    return ArraySource(check(x, y, sample_weight), size, steps, steps_name)


def yields_batches(x: Any, *beside: Any) -> bool:
    """Whether `x` is no array, nor what NumPy makes one of, but yields batches.

    Raises ValueError if it does and y or sample_weight is given `beside` it.
    """
    if isinstance(x, (Sequence, Set, Mapping, type)) or hasattr(x, "shape"):
        return False
    indexed = hasattr(x, "__getitem__") and (hasattr(x, "__len__") or hasattr(x, "num_batches"))
    if hasattr(x, "__array__") or not (indexed or hasattr(x, "__iter__")):
        return False
    if any(each is not None for each in beside):
        raise ValueError(
            f"x: a {type(x).__name__}, which yields batches (x, y) or (x, y, sample_weight), "
            "expected no y and no sample_weight beside it"
        )
    return True
