"""`Communicator`: what several processes that train one model say to each other.

This one is for a process that is alone; `mpi.MPICommunicator` has the same methods.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from ..common import processes
from ..common.arrays import Array
from ..common.errors import MissingExtraError
from ..jit.launcher import launch
from .tree import Node

Error = TypeVar("Error", bound=BaseException)


class Communicator:
    """This process is number `rank`, from 0, of `size` processes.

    All processes call the same methods in the same order.
    """

    rank, size = 0, 1
    unfinished = False  # whether messages are on their way
    shares_memory = False  # whether all run on one machine, and use its memory

    def all_gather(self, array: Array) -> Array:
        """(size, *shape): the array of each process; all have the same shape."""
        return array[np.newaxis]

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, any that can be pickled, on every process."""
        return [value]

    def vector(self, size: int, dtype: Any) -> Array:
        """A vector to be given to `all_reduce`."""
        return np.empty(size, dtype)

    def all_reduce(self, vector: Array, shards: int, bounds: Sequence[int]) -> "AllReduce":
        """A sum over all shards, into `vector`; it is taken bucket by bucket.

        Bucket i is vector[bounds[i] : bounds[i + 1]].
        """
        return AllReduce(vector, bounds)

    def agreed(self, error: Error, cause: BaseException | None = None) -> Error:
        """The error, which all processes raise: the first one shows it.

        With a `cause`, an error that this one replaces, only if all processes raise that.
        """
        return error

    def shows(self, error: BaseException) -> bool:
        """Whether this process shows an error that ends it.

        If the others have not failed too, they are ended.
        """
        return True

    @contextmanager
    def trains(self) -> Iterator[None]:
        """While this process trains, others wait for it: an error here ends all of them."""
        yield


class AllReduce:
    """The sum over the shards; alone, a part has it when the last shard has been added.

    `parts`: the vector, cut into buckets. `is_shared`: whether each process can read the others'
    vectors, so that it may update its `segments` of the weights alone and `exchange` them.
    """

    is_shared = False

    def __init__(self, vector: Array, bounds: Sequence[int]) -> None:
        self.bounds = list(bounds)
        self.parts = [vector[i:j] for i, j in pairwise(bounds)]

    def start(self, bucket: int, nodes: Sequence[tuple[Node, Array]]) -> None:
        """Begin with a bucket: `nodes` are this process's sums, arrays like `parts[bucket]`."""

    def poke(self) -> None:
        """Go on, without waiting."""

    def finish(self) -> None:
        """Wait until the vector has the sum."""

    def add_up(self) -> None:
        """Wait until this process's segments have the sum; the others have it in theirs."""

    def segments(self, rank: int) -> Iterator[tuple[int, int, Array]]:
        """Of each bucket where the segment of a process begins and ends, and it in its vector."""
        return iter(())

    def exchange(
        self, give: Iterable[tuple[Array, Array]], take: Iterable[tuple[Array, Array]]
    ) -> None:
        """Copy right to left: what the others take, then, when all have done so, what they gave.

        `give`: into own segments; `take`: from segments of the others.
        """


_given: Communicator | None = None


def get_communicator() -> Communicator:
    """That of the processes that an MPI launcher started, or of this process alone.

    MissingExtraError if mpi4py is not installed: each process would believe that it is alone.
    """
    return _launched() if _given is None else _given


def set_communicator(communicator: Communicator | None) -> None:
    """Use this one from now on; None is the launcher's.

    `Communicator()` makes a process that an MPI launcher started train a model of its own.
    """
    global _given
    if not isinstance(communicator, (Communicator, type(None))):
        raise ValueError(f"communicator={communicator!r:.80}, expected a Communicator or None")
    _given = communicator
    processes.first = get_communicator().rank == 0


@cache
def _launched() -> Communicator:
    launched = launch()
    if launched.size == 1:
        return Communicator()
    try:
        from .mpi import MPICommunicator
    except ImportError as error:
        missing = MissingExtraError(
            f"an MPI launcher started {launched.size} processes, but mpi4py cannot be imported "
            f'({error}): pip install "nanocnn[mpi]"; to train {launched.size} models instead, each '
            "process for itself, call nanocnn.distributed.set_communicator("
            "nanocnn.distributed.Communicator())"
        )
        raise _shown_once(missing) from None
    return MPICommunicator(launched.size)


def _shown_once(error: Error) -> Error:
    """The error, which each process raises: the first one shows it."""
    show = sys.excepthook

    def hook(kind: type[BaseException], given: BaseException, trace: Any) -> None:
        if given is not error:
            show(kind, given, trace)

    if not processes.first:
        sys.excepthook = hook
    return error


def join() -> None:
    """Join the other processes now; without mpi4py a training says what is missing."""
    with suppress(MissingExtraError, RuntimeError):
        get_communicator()
