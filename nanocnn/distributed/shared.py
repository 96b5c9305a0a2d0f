"""All-reduce among processes of one machine, which read each other's vectors in shared memory.

A message is copied twice, by the sender and by the receiver. Here each process adds its segment of
all vectors where they are, and then copies the others' sums: a third of the time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from weakref import ref

import numpy as np
from mpi4py import MPI

from ..common.arrays import Array
from .communicator import AllReduce
from .tree import Node, Stack, push


class Window:
    """A vector of each process, of the same size, that all can read. Made by all at once."""

    def __init__(self, mpi: Any, size: int, dtype: np.dtype[Any]) -> None:
        self.size, self.dtype = size, dtype
        self._window = MPI.Win.Allocate_shared(size * dtype.itemsize, dtype.itemsize, comm=mpi)
        self._window.Lock_all(MPI.MODE_NOCHECK)
        self._own: Any = lambda: None
        self._rank = mpi.rank

    def is_free(self, size: int, dtype: np.dtype[Any]) -> bool:
        """Whether it has this size, and this process has no arrays there."""
        return (self.size, self.dtype) == (size, dtype) and self._own() is None

    def take(self) -> Array:
        """This process's vector."""
        own = self.vector(self._rank)
        self._own = ref(own)
        return own

    def holds(self, vector: Array) -> bool:
        """Whether this is the vector that was taken."""
        return self._own() is vector

    def vector(self, rank: int) -> Array:
        """The vector of a process."""
        memory: Any = self._window.Shared_query(rank)[0]
        return np.frombuffer(memory, self.dtype)

    def sync(self) -> None:
        """Make what was written visible, before and after a barrier."""
        self._window.Sync()


class SharedAllReduce(AllReduce):
    """Bucket by bucket: when all have theirs, add a segment; when all have added, copy the rest.

    Every process has one node: the sum of its shards.
    """

    is_shared = True

    def __init__(
        self, communicator: Any, vector: Array, shards: int, bounds: Sequence[int],
        window: Window, nodes: list[Node],
    ) -> None:  # fmt: skip
        super().__init__(vector, bounds)
        self.communicator, self.shards, self.window, self.nodes = (
            communicator, shards, window, nodes,
        )  # fmt: skip
        size = communicator.size
        vectors = [window.vector(rank) for rank in range(size)]
        vectors[communicator.rank] = vector
        self.all_parts = [AllReduce(each, bounds).parts for each in vectors]
        self.cuts = [[len(part) * i // size for i in range(size + 1)] for part in self.parts]
        self.running: list[int] = []  # buckets, of which the first `added` are added
        self.requests: list[Any] = []  # complete when all processes have the bucket
        self.added = 0

    def start(self, bucket: int, nodes: Sequence[tuple[Node, Array]]) -> None:
        ((_, array),) = nodes
        if array is not self.parts[bucket]:
            self.parts[bucket][...] = array
        self.window.sync()
        self.running.append(bucket)
        self.requests.append(self.communicator.mpi_ready.Ibarrier())
        self.communicator.unfinished = True

    def poke(self) -> None:
        while self.added < len(self.running) and self.requests[self.added].Test():
            self._add()

    def finish(self) -> None:
        self.add_up()
        take = []
        for rank, parts in enumerate(self.all_parts):
            for bucket, (to, part) in enumerate(zip(self.parts, parts, strict=True)):
                if rank != self.communicator.rank:
                    segment = self._segment(bucket, rank)
                    take.append((to[segment], part[segment]))
        self.exchange([], take)

    def add_up(self) -> None:
        for request in self.requests[self.added :]:
            self.communicator.wait([request])
            self._add()
        self.running, self.requests, self.added = [], [], 0
        self.communicator.unfinished = False

    def exchange(
        self, give: Iterable[tuple[Array, Array]], take: Iterable[tuple[Array, Array]]
    ) -> None:
        self.communicator.unfinished = True
        for to, array in give:
            to[...] = array
        self._meet()
        for to, array in take:
            to[...] = array
        self._meet()  # from here on nobody reads this process's vector
        self.communicator.unfinished = False

    def _meet(self) -> None:
        self.window.sync()
        self.communicator.wait([self.communicator.mpi_added.Ibarrier()])
        self.window.sync()

    def segments(self, rank: int) -> Iterator[tuple[int, int, Array]]:
        for bucket, start in enumerate(self.bounds[:-1]):
            segment = self._segment(bucket, rank)
            yield start + segment.start, start + segment.stop, self.all_parts[rank][bucket][segment]

    def _segment(self, bucket: int, rank: int) -> slice:
        return slice(*self.cuts[bucket][rank : rank + 2])

    def _add(self) -> None:
        """Add this process's segment of the next bucket, in the order of the tree."""
        bucket = self.running[self.added]
        own = self._segment(bucket, self.communicator.rank)
        self.window.sync()
        left_to_add = iter(range(self.communicator.size - 2, -1, -1))

        def add(left: Array, right: Array) -> Array:
            """Into a new array or that of a sum; the sum of all replaces the own summand."""
            if next(left_to_add) == 0:
                return np.add(left, right, out=self.parts[bucket][own])
            sums = [each for each in (left, right) if each.base is None]
            return np.add(left, right, out=sums[0] if sums else None)

        stack: Stack[Array] = []
        for node, parts in zip(self.nodes, self.all_parts, strict=True):
            push(stack, node, parts[bucket][own], self.shards, add)
        self.added += 1
