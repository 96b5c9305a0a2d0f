"""The communicator of processes that an MPI launcher started, by mpi4py.

MPI moves bytes; every addition is done here, in the order of the tree, since MPI's own reductions
promise no order. All waiting is in `wait`: it notices a process that has ended, and lets Python
handle signals.
"""

import atexit
import os
import pickle
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from math import inf
from types import TracebackType
from typing import Any

import numpy as np
from mpi4py import MPI

from ..common.arrays import Array
from .communicator import AllReduce, Communicator, Error
from .shared import SharedAllReduce, Window
from .tree import Node, Stack, nodes_of, own_shards, push
from .watch import Watch

# Lets another process run where there are more of them than cores.
pause = getattr(os, "sched_yield", partial(time.sleep, 0))
ENDED, FAILED = 1, 2  # tags of the message that a process sends when it ends, or fails
NOBODY = -1
BUSY = 2000  # polls before a waiting process begins to sleep
NAP = 1e-4  # seconds
PATIENCE = 2.0  # seconds in which other processes may come to the same error


class MPICommunicator(Communicator):
    """All processes of MPI's COMM_WORLD; RuntimeError if they are not `launched`."""

    def __init__(self, launched: int) -> None:
        if MPI.COMM_WORLD.size != launched:
            raise RuntimeError(
                f"the launcher started {launched} processes, but mpi4py sees {MPI.COMM_WORLD.size}"
                f": its MPI library ({MPI.Get_library_version().split(chr(10))[0]:.60}) is not the "
                "launcher's; use that library's mpiexec (of the package mpich: beside python)"
            )
        self.mpi = MPI.COMM_WORLD.Dup()  # its messages are no other library's
        # Each has its own order of collective calls.
        self.buckets, self.mpi_ready, self.mpi_added = (self.mpi.Dup() for _ in range(3))
        self.rank, self.size = self.mpi.rank, self.mpi.size
        self._agreed: BaseException | None = None
        here = self.mpi.Split_type(MPI.COMM_TYPE_SHARED)
        self.shares_memory = here.size == self.size
        here.Free()
        self._windows: list[Window] = []
        self.watch: Watch | None = None
        self._culprit = self.rank  # whose end is the reason if this process ends, or NOBODY
        self._ended: dict[int, int] = {}  # the culprits of the processes that have ended
        self._show = sys.excepthook
        sys.excepthook = self._ended_by
        self._last_words: list[Any] = []
        atexit.register(self._say_that_it_ends)
        self.watch = Watch(self.gather, self.rank)

    def all_gather(self, array: Array) -> Array:
        found = np.empty((self.size, *array.shape), array.dtype)
        self.wait([self.mpi.Iallgather(np.ascontiguousarray(array), found)])
        return found

    def gather(self, value: Any) -> list[Any]:
        if self.unfinished:  # what comes next would be taken for what was lost
            raise self.agreed(
                RuntimeError(
                    "a training ended within a step, by an error or an interrupt: these processes "
                    "cannot train again; start the program anew"
                )
            )
        own = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self.all_gather(np.array([own.size]))[:, 0]
        found = np.empty(sizes.sum(), np.uint8)
        self.wait([self.mpi.Iallgatherv(own, [found, sizes])])
        return [pickle.loads(part.tobytes()) for part in np.split(found, sizes.cumsum()[:-1])]

    def vector(self, size: int, dtype: Any) -> Array:
        """As alone; in shared memory where all processes run on one machine."""
        if self.shares_memory and size:
            fits = self.gather([each.is_free(size, dtype) for each in self._windows])
            free = [all(states) for states in zip(*fits, strict=True)]
            window = self._windows[free.index(True)] if True in free else self._window(size, dtype)
            if window is not None:
                return window.take()
        return np.empty(size, dtype)

    def _window(self, size: int, dtype: Any) -> Window | None:
        """A new one; None, from now on, if there is no memory for it."""
        window: Window | None = None
        with suppress(MPI.Exception):
            window = Window(self.mpi, size, np.dtype(dtype))
        self.shares_memory = all(self.gather(window is not None))
        if window is None or not self.shares_memory:
            return None
        self._windows.append(window)
        return window

    def all_reduce(self, vector: Array, shards: int, bounds: Sequence[int]) -> AllReduce:
        each = [nodes_of(own_shards(rank, self.size, shards), shards) for rank in range(self.size)]
        window = next((window for window in self._windows if window.holds(vector)), None)
        if window is not None and all(len(nodes) == 1 for nodes in each):
            nodes = [node for (node,) in each]
            return SharedAllReduce(self, vector, shards, bounds, window, nodes)
        return MPIAllReduce(self, vector, shards, bounds, each)

    def agreed(self, error: Error, cause: BaseException | None = None) -> Error:
        if cause is None or cause is self._agreed:
            self._agreed = error
        return error

    def shows(self, error: BaseException) -> bool:
        if error is not self._agreed:
            self._settle(error)
        if self._culprit == self.rank:
            self._culprit = NOBODY
        return self.rank == min(set(range(self.size)) - set(self._ended.values()))

    @contextmanager
    def trains(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if error is not self._agreed:
                self._settle(error)
            raise

    def _settle(self, error: BaseException) -> None:
        """Return if all processes fail now, each with its error; otherwise end all of them."""
        others = {rank for rank in range(self.size) if rank != self.rank}
        for rank in others:
            self._tell(rank, FAILED)
        end = time.monotonic() + PATIENCE
        while others and time.monotonic() < end:
            others -= self._heard(FAILED).keys()
            self._ended |= self._heard(ENDED)
            others -= self._ended.keys()
            time.sleep(NAP)
        if others:
            trace = "".join(traceback.format_exception(error)).rstrip()
            if self.watch is not None:
                self.watch.end()
            what = f"process {self.rank} of {self.size} has failed: all are ended"
            print(f"{trace}\n{what}", file=sys.stderr, flush=True)
            self.mpi.Abort(1)
        self._agreed = error

    def wait(self, requests: list[Any]) -> None:
        """Until all requests are complete; RuntimeError if another process ends meanwhile."""
        polls, end = 0, inf
        before, self.unfinished = self.unfinished, True
        while not MPI.Request.Testall(requests):
            polls += 1
            if polls > BUSY:
                time.sleep(NAP)
                self._ended |= self._heard(ENDED)
                if self._ended:  # what they sent may be on its way
                    end = min(end, time.monotonic() + PATIENCE / 2)
                if time.monotonic() > end:
                    culprits = set(self._ended.values()) - {NOBODY} or self._ended.keys()
                    self._culprit = min(culprits)
                    raise self.agreed(
                        RuntimeError(
                            f"process {self._culprit} of {self.size} has ended, while others "
                            "wait for it: all have to run the same program"
                        )
                    )
            elif polls % 16 == 0:
                pause()
        self.unfinished = before

    def _tell(self, rank: int, tag: int) -> None:
        self._last_words.append(self.mpi.Isend(np.array([self._culprit]), rank, tag))

    def _heard(self, tag: int) -> dict[int, int]:
        """The processes from which such a message has arrived, and whom it names as the culprit."""
        found, status, culprit = {}, MPI.Status(), np.empty(1, np.int_)
        while self.mpi.Iprobe(MPI.ANY_SOURCE, tag, status):
            self.mpi.Recv(culprit, status.Get_source(), tag)
            found[status.Get_source()] = int(culprit[0])
        return found

    def _say_that_it_ends(self) -> None:
        if self.watch is not None and self.watch.process is not None:
            self.watch.end()  # no process is gone before all have called MPI's Finalize, after this
        for rank in range(self.size):
            if rank != self.rank:
                self._tell(rank, ENDED)

    def _ended_by(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """An exception that nobody handles ends all processes, and is shown once."""
        if self.shows(error):
            self._show(kind, error, trace)


class MPIAllReduce(AllReduce):
    """Bucket by bucket: each process adds a segment of it, and sends the sum to the others."""

    def __init__(
        self, communicator: MPICommunicator, vector: Array, shards: int, bounds: Sequence[int],
        nodes: list[list[Node]],
    ) -> None:  # fmt: skip
        super().__init__(vector, bounds)
        self.communicator, self.shards, self.nodes = communicator, shards, nodes
        self.buckets = [Bucket(self, part) for part in self.parts]
        self.running: list[Bucket] = []

    def start(self, bucket: int, nodes: Sequence[tuple[Node, Array]]) -> None:
        self.communicator.unfinished = True
        self.buckets[bucket].start([array for _, array in nodes])
        self.running.append(self.buckets[bucket])

    def poke(self) -> None:
        for bucket in self.running:
            if not bucket.poke():
                break  # all processes have to gather the sums of the buckets in the same order

    def finish(self) -> None:
        for bucket in self.running:
            bucket.finish()
        self.running.clear()
        self.communicator.unfinished = False


class Bucket:
    """A part of the vector: first segments of all processes' nodes travel, then sums."""

    def __init__(self, whole: MPIAllReduce, vector: Array) -> None:
        self.whole, self.communicator, self.vector = whole, whole.communicator, vector
        rank, size = self.communicator.rank, self.communicator.size
        cuts = [len(vector) * i // size for i in range(size + 1)]
        self.segments = [slice(*cut) for cut in pairwise(cuts)]
        self.sums = [vector, np.diff(cuts)]  # as Allgatherv takes them
        length = cuts[rank + 1] - cuts[rank]
        self.received = [np.empty((len(nodes), length), vector.dtype) for nodes in whole.nodes]
        self.requests: list[Any] = []
        self.adds = False

    def start(self, arrays: Sequence[Array]) -> None:
        mpi = self.communicator.mpi
        others = [r for r in range(self.communicator.size) if r != self.communicator.rank]
        self.requests = [mpi.Irecv(row, rank) for rank in others for row in self.received[rank]]
        for rank in others:
            self.requests += [mpi.Isend(array[self.segments[rank]], rank) for array in arrays]
        self.arrays = arrays
        self.adds = True

    def poke(self) -> bool:
        """Go on; whether this process's sum is on its way."""
        if MPI.Request.Testall(self.requests) and self.adds:
            self._add()
        return not self.adds

    def finish(self) -> None:
        self.communicator.wait(self.requests)
        if self.adds:
            self._add()
            self.communicator.wait(self.requests)

    def _add(self) -> None:
        """Complete the tree for this process's segment, and send the sum."""
        whole, own = self.whole, self.segments[self.communicator.rank]
        mine = self.vector[own]

        def add(left: Array, right: Array) -> Array:
            return np.add(left, right, out=left if left is mine else right)

        stack: Stack[Array] = []
        for rank, nodes in enumerate(whole.nodes):
            arrays = list(self.received[rank])
            if rank == self.communicator.rank:
                arrays = [mine if each is self.vector else each[own] for each in self.arrays]
            for node, array in zip(nodes, arrays, strict=True):
                push(stack, node, array, whole.shards, add)
        ((_, total),) = stack
        if total is not mine:
            mine[...] = total
        self.adds = False
        self.requests = [self.communicator.buckets.Iallgatherv(MPI.IN_PLACE, self.sums)]
