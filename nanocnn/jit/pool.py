"""One pool of threads for all kernels, which run in compiled code without the GIL.

A kernel is called as `kernel(part, parts, *args)` for every part from 0 to parts-1. Which thread
runs which part does not change the result. The caller chooses the number of parts; it may depend
on the number of threads only where each number of the result is computed within one part. The
calling thread works too and idle threads of the pool help it, so any number of Python threads may
call kernels at once without a deadlock.
"""

import atexit
import itertools
import os
import threading
import time
from array import array
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import executor, threads
from .arguments import Arguments, address_of
from .capture import KernelCall, capturing
from .compile import Kernel

NAME = __name__.partition(".")[0]  # of the threads, before their number
SPIN = 50e-6  # seconds that a thread spins before it lets others run
SLEEPS = 20  # of 0.05 to 0.1 milliseconds, in which a helper looks for work before it sleeps longer
LOOK = 0.1  # seconds between two looks at how many cores there are
GRAIN = 1 << 16  # bytes: work memory grows in these steps


class Pool:
    """`size` daemon threads, the helpers; they are started by the first call that can use them."""

    def __init__(self, size: int, cores: int | None = None) -> None:
        self.size, self.cores = size, cores or threads.allowed_cores()
        self.quota = min(threads.cgroup_cores(), default=self.cores)
        state = aligned(executor.SIZE)
        self.address = address_of(state)
        self.state: Any = memoryview(state)  # type: ignore[arg-type]  # which is quicker to read
        self.free = list(range(executor.SLOTS))[::-1]  # slots
        self.lock = threading.RLock()  # reentrant: a signal handler may take it again
        self.threads: list[threading.Thread] = []
        self.numbers = itertools.count(1)  # of the helpers
        self.sleeping: dict[int, threading.Lock] = {}
        self.started = self.stopped = False
        self.next_look = 0.0

    def start(self) -> None:
        """Start the threads; with fewer, or none, the callers do the work that is left to them."""
        with self.lock:
            while not self.started and len(self.threads) < self.size:
                name = f"{NAME}-{len(self.threads)}"
                thread = threading.Thread(target=self.serve, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # a limit of the system, or the interpreter is ending
                    break
                self.threads.append(thread)
            self.started = True

    def look(self) -> None:
        """See how many helpers have cores to run on: the process may have been pinned to fewer."""
        self.next_look = time.monotonic() + LOOK
        most, cores = len(self.threads), threads.allowed_cores()
        wanted = most if cores >= self.cores else min(most, cores - 1)
        crowded = wanted >= min(cores, self.quota)  # who spins takes a core from another thread
        self._set(executor.POLLS, polls() // 10 if crowded else polls())
        self._set(executor.LIMIT, 0 if self.stopped else wanted)

    def serve(self) -> None:
        """What a helper does. One too many, after an interruption of `start`, ends at once."""
        number, asleep = next(self.numbers), threading.Lock()
        asleep.acquire()
        while not self.stopped and number <= self.size:
            executor.help_others(self.address, number, SLEEPS)
            self.sleeping[number] = asleep
            # whoever has looked for sleepers before this line may publish a moment later
            executor.help_others(self.address, number, 1)
            if not self.stopped:
                asleep.acquire()  # until `wake` releases it
            del self.sleeping[number]

    def wake(self, count: int) -> None:
        """Wake the first `count` helpers."""
        for number in range(1, count + 1):
            asleep = self.sleeping.get(number)
            if asleep is not None:
                with suppress(RuntimeError):  # somebody else has just done so
                    asleep.release()

    def ready(self) -> None:
        """Before helpers are needed: let there be threads that are awake."""
        if not self.started:
            self.start()
        if time.monotonic() > self.next_look:
            self.look()
        if self.sleeping and self.state[executor.RUNNING // 8] < self.helpers:
            self.wake(self.helpers)

    def stop(self) -> list[threading.Thread]:
        """Let the threads end when they have finished what they are doing, and start no more."""
        with self.lock:
            self.started = self.stopped = True
            self._set(executor.LIMIT, 0)
            self.wake(self.size)
            return self.threads

    def slot(self) -> int:
        """An unused slot; -1 if there is none."""
        with self.lock:
            if not self.free:
                return -1
            found = self.free.pop()
            self._set(executor.USED, max(self.state[executor.USED // 8], found + 1))
            return found

    @property
    def helpers(self) -> int:
        """How many threads help now."""
        return int(self.state[executor.LIMIT // 8])

    def _set(self, at: int, value: int) -> None:
        self.state[at // 8] = value


class Slot:
    """Where one calling thread publishes its work, and work memory for it and for each helper.

    A signal handler may run kernels between any two lines, and enlarge the memory: who uses it
    holds it by a variable of its own.
    """

    index = -1

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.grow(0)
        self.index = pool.slot()
        self.address = pool.address + executor.FIRST_SLOT + executor.LINE * self.index
        if self.index < 0:  # more threads than slots: nobody looks here
            self.own = aligned(executor.LINE)
            self.address = address_of(self.own)

    def grow(self, size: int) -> tuple[NDArray[Any], int, int]:
        """New memory, its address, and how far apart the threads' are: at least `size` bytes."""
        stride = -(-size // GRAIN) * GRAIN
        memory = aligned(stride * (self.pool.size + 1))
        self.memory = memory, address_of(memory), stride
        return self.memory

    def __del__(self) -> None:
        if self.index >= 0:
            self.pool.free.append(self.index)


def aligned(size: int) -> NDArray[np.int64]:
    """At least `size` bytes, zero, from the beginning of a cache line on."""
    raw = np.zeros(size // 8 + 16, np.int64)
    first = -address_of(raw) % executor.LINE // 8
    return raw[first:]


@cache
def polls() -> int:
    """How often a helper looks for work within SPIN."""
    state, times, best = aligned(executor.SIZE), 2000, 1.0
    state[executor.LIMIT // 8] = state[executor.USED // 8] = 1
    state[executor.POLLS // 8] = times
    for _ in range(4):
        start = time.perf_counter()
        executor.help_others(address_of(state), 1, 0)
        best = min(best, time.perf_counter() - start)
    return int(SPIN * times / best)


_lock = threading.RLock()
_pool = Pool(threads.get_num_threads() - 1)
_mine = threading.local()  # .slot


def run(kernel: Kernel, parts: int, *args: Any) -> None:
    """Call `kernel(part, parts, *args)` for every part in range(parts); return when all are done.

    An interruption (Ctrl-C) comes before or after, so no thread writes to `args` after the return.
    What this thread captures is noted instead (capture.py).
    """
    start(kernel, parts, Arguments(args), depth=2)


def start(kernel: Kernel, parts: int, arguments: Arguments, depth: int) -> None:
    """`run` of a kernel with these arguments, for a caller's caller `depth` frames above."""
    if (calls := capturing(depth)) is not None:
        calls.aborted |= arguments.is_copied  # a replay would not copy it again
        arguments.release(calls.buffers)
        calls.calls.append(KernelCall(kernel, parts, arguments))
        return
    entry = kernel.address(arguments.types, arguments.buffers)
    record = array("q", (entry, arguments.address, parts))
    execute(record.buffer_info()[0], 0, 1, parts, arguments.memory)


def execute(records: int, first: int, count: int, parts: int, memory: int) -> int:
    """`executor.execute` on as many threads as are useful for at most `parts` parts.

    `memory`: bytes of work memory that each thread needs.
    """
    pool = _pool if _pool.size == threads.get_num_threads() - 1 else _resized()
    slot = getattr(_mine, "slot", None)
    if slot is None or slot.pool is not pool:
        slot = _mine.slot = Slot(pool)
    own = slot.memory
    if memory > own[2]:
        own = slot.grow(memory)
    if parts > 1 and pool.size:
        pool.ready()
    done: int = executor.execute(records, first, count, pool.address, slot.address, own[1], own[2])
    return done


def _resized() -> Pool:
    """The pool, of as many threads as `set_num_threads` said last."""
    global _pool
    with _lock:
        size = threads.get_num_threads() - 1
        if _pool.size != size:
            new = Pool(size)
            old, _pool = _pool, new
            old.stop()
        return _pool


def _at_exit() -> None:
    """No pool thread is inside compiled code when the interpreter unloads that."""
    for thread in _pool.stop():
        thread.join(1)


def _after_fork() -> None:
    """In a forked child only the forking thread lives on: a new lock, a new pool."""
    global _lock, _pool
    _lock, _pool = threading.RLock(), Pool(_pool.size, _pool.cores)


# Called once while this is imported: what numba and NumPy load at a first call must not be half
# loaded in another thread when the process forks.
polls()
execute(0, 0, 0, 1, 0)
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
