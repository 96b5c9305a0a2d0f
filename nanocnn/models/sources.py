"""Where `fit`, `evaluate` and `predict` get their batches: from arrays, or what yields batches.

Source: keras/src/trainers/epoch_iterator.py and keras/src/trainers/data_adapters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import count, islice
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError, warn
from ..common.validate import integer
from ..data.batches import batches
from .inputs import Data

Batch = tuple[Data, slice | Array]
Check = Callable[[Any, Any, Any], Data]  # of x, y and sample_weight

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
        self._warned = False

    def epoch(self, rng: np.random.Generator | None = None, where: str = "") -> Iterator[Batch]:
        """The batches of one epoch, in an order by `rng`; errors in one begin with `where`."""
        if self.steps is None:
            self._rest = self._all(rng)
        for number in count() if self.steps is None else range(self.steps):
            batch = next(self._rest, END)
            if batch is END and number == 0 and self.steps is not None:
                self._rest = self._all(rng)
                batch = next(self._rest, END)
            if batch is END:
                if self.steps is not None:
                    self._ran_out()
                return
            yield self._checked(batch, f"{where}batch {number + 1}: ")

    def has_more(self) -> bool:
        """Whether there is a batch for another epoch; warns if not."""
        return True

    def restart(self) -> None:
        """Begin the next epoch with the first batch, where that is possible."""
        self._rest = iter(())

    def _ran_out(self) -> None:
        if not self._warned:
            self._warned = True
            warn(OUT_OF_DATA)

    def _all(self, rng: np.random.Generator | None) -> Iterator[Any]:
        raise NotImplementedError

    def _checked(self, batch: Any, where: str) -> Batch:
        return batch


class ArraySource(Source):
    """Batches of `batch_size` samples of arrays."""

    def __init__(self, data: Data, size: int, steps: Any = None, name: str = "steps") -> None:
        super().__init__(steps, name)
        self.data, self.batch_size = data, size
        whole = -(-len(data.x) // size)
        self.length = self.steps or whole
        self.samples = min(len(data.x), self.length * size)

    def _all(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        return ((self.data, index) for index in batches(len(self.data.x), self.batch_size, rng))


class BatchSource(Source):
    """What yields batches: an iterator such as a generator, which is read once; an object with
    `__getitem__` and `__len__` such as a `keras.utils.PyDataset`; or what is iterated anew.

    `name`: the argument, for errors. Its first batch is read at once, and not lost.
    """

    def __init__(self, given: Any, name: str, steps: Any, steps_name: str) -> None:
        super().__init__(steps, steps_name)
        self.given, self.name = given, name
        self._check: Check = Data
        try:
            found = given.num_batches if hasattr(given, "num_batches") else len(given)
        except TypeError:  # it has no length, or does not know it
            found = None
        self._count = None if found is None else integer(found, f"{name}: number of batches")
        self.length = self.steps or self._count
        self._once = self._read() if isinstance(given, Iterator) else None
        self._ahead: list[Any] = []  # batches that were read already
        first = next(self._all(None), END)
        if first is END:
            raise ValueError(f"{name}: yields no batch, expected one or more")
        if self._once is not None:
            self._ahead.append(first)
        self.first = self._parts(first, f"{name}: ")

    def prepare(self, check: Check) -> "BatchSource":
        """Check the first batch now and the others when they are used; returns the source."""
        self._check = check
        self.data, _ = self._checked(self.first, f"{self.name}: batch 1: ")
        return self

    def epoch(self, rng: np.random.Generator | None = None, where: str = "") -> Iterator[Batch]:
        self._tell("on_epoch_begin")
        yield from super().epoch(rng, where)
        self._tell("on_epoch_end")

    def has_more(self) -> bool:
        if self._once is None:
            return True
        more = bool(self._ahead) or self._fetch()
        if not more:
            self._ran_out()
        return more

    def _read(self) -> Iterator[Any]:
        """The batches of an iterator, those that were read ahead first."""
        while self._ahead or self._fetch():
            yield self._ahead.pop()

    def _fetch(self) -> bool:
        """Read a batch of an iterator ahead; whether there was one."""
        self._ahead.extend(islice(self.given, 1))
        return bool(self._ahead)

    def _all(self, rng: np.random.Generator | None) -> Iterator[Any]:
        if self._once is not None:
            return self._once
        if not hasattr(self.given, "__getitem__"):
            return iter(self.given)
        if self._count is None:
            return map(self.given.__getitem__, count())
        order = range(self._count) if rng is None else rng.permutation(self._count).tolist()
        return map(self.given.__getitem__, order)

    def _checked(self, batch: Any, where: str) -> Batch:
        parts = self._parts(batch, where)
        try:
            data = self._check(*parts)
        except ValueError as error:
            kind = type(error) if isinstance(error, (NonFiniteError, ShapeError)) else ValueError
            raise kind(f"{where}{error}") from error
        return data, slice(0, len(data.x))

    def _parts(self, batch: Any, where: str) -> tuple[Any, Any, Any]:
        """x, y and sample_weight; y and sample_weight may be None."""
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        if len(parts) not in (1, 2, 3) or isinstance(batch, (Mapping, str)):
            raise ValueError(
                f"{where}{type(batch).__name__} {batch!r:.80}, expected a tuple (x, y) or "
                "(x, y, sample_weight)"
            )
        x, y, weight = (*parts, None, None)[:3]
        return x, y, weight

    def _tell(self, event: str) -> None:
        if method := getattr(self.given, event, None):
            method()


def yields_batches(x: Any) -> bool:
    """Whether `x` is no array, nor what NumPy makes one of, but can be a `BatchSource`."""
    if isinstance(x, (Sequence, Set, Mapping, type)) or hasattr(x, "shape"):
        return False
    indexed = hasattr(x, "__getitem__") and (hasattr(x, "__len__") or hasattr(x, "num_batches"))
    return not hasattr(x, "__array__") and (indexed or hasattr(x, "__iter__"))


def batch_source(
    x: Any, y: Any, sample_weight: Any, steps: Any, steps_name: str, name: str = "x"
) -> BatchSource | None:
    """`x` as a source if it yields batches; ValueError if y or weights are given beside it."""
    if not yields_batches(x):
        return None
    for other, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None:
            raise ValueError(
                f"{name}: a {type(x).__name__}, which yields batches (x, y) or (x, y, "
                f"sample_weight), expected no {other} beside it"
            )
    return BatchSource(x, name, steps, steps_name)
