"""One pool of threads for all kernels, which run in compiled code without the GIL.

A kernel is called as `kernel(part, parts, *args)` for every part from 0 to parts-1. Which thread
runs which part does not change the result. The caller chooses the number of parts; it may depend
on the number of threads only where each number of the result is computed within one part. The
calling thread works too and idle threads of the pool help it, so any number of Python threads may
call kernels at once without a deadlock.
"""

import atexit
import ctypes
import os
import threading
import time
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import executor, threads
from .arguments import Arguments
from .capture import KernelCall, capturing
from .compile import Kernel

NAME = __name__.partition(".")[0]  # of the threads, before their number
IDLE = 0.002  # seconds that a helper watches for work before it sleeps
LOOK = 0.1  # seconds between two looks at how many cores there are
GRAIN = 1 << 20  # bytes: work memory grows in these steps


class Pool:
    """`size` daemon threads, the helpers; they are started by the first call that can use them."""

    def __init__(self, size: int, cores: int | None = None) -> None:
        self.size, self.cores = size, cores or threads.allowed_cores()
        self.state = aligned(executor.HELPERS + 8 * size)
        self.address = self.state.ctypes.data
        self.free = list(range(executor.SLOTS))[::-1]  # slots
        self.memory = 0  # bytes that each helper has
        self.kept: list[NDArray[Any]] = []  # old memory too: a helper may still use it
        self.starting = threading.RLock()
        self.threads: dict[int, threading.Thread] = {}
        self.sleeping: dict[int, threading.Lock] = {}
        self.started = self.stopped = False
        self.helpers, self.next_look = size, 0.0

    def start(self) -> None:
        """Start the threads; with fewer, or none, the callers do the work that is left to them."""
        with self.starting:
            for i in () if self.started else range(self.size):
                if i not in self.threads:
                    thread = threading.Thread(
                        target=self.serve, args=(i,), name=f"{NAME}-{i}", daemon=True
                    )
                    try:
                        thread.start()
                    except RuntimeError:  # a limit of the system, or the interpreter is ending
                        break
                    self.threads[i] = thread
            self.started = True
            self.look()

    def look(self) -> None:
        """See how many helpers have cores to run on: the process may have been pinned to fewer."""
        self.next_look = time.monotonic() + LOOK
        most, cores = len(self.threads) if self.started else self.size, threads.allowed_cores()
        self.helpers = most if cores >= self.cores else min(most, cores - 1)
        self._set(executor.LIMIT, 0 if self.stopped else self.helpers)

    def serve(self, i: int) -> None:
        while not self.stopped:
            executor.help_others(self.address, i, polls())
            asleep = threading.Lock()
            asleep.acquire()
            self.sleeping[i] = asleep
            if not self.stopped:
                asleep.acquire()  # until `wake` releases it

    def wake(self, count: int) -> None:
        """Wake the first `count` helpers."""
        for i in range(count):
            asleep = self.sleeping.pop(i, None)
            if asleep is not None:
                asleep.release()

    def ready(self, memory: int) -> None:
        """Before helpers are needed: let there be threads, awake, with `memory` bytes each."""
        if not self.started:
            self.start()
        if time.monotonic() > self.next_look:
            self.look()
        if memory > self.memory:
            with self.starting:
                for i in range(self.size):
                    self.kept.append(aligned(memory + GRAIN))
                    self._set(executor.HELPERS + 8 * i, self.kept[-1].ctypes.data)
                self.memory = memory + GRAIN
        if self.sleeping:
            self.wake(self.helpers)

    def stop(self) -> list[threading.Thread]:
        """Let the threads end when they have finished what they are doing, and start no more."""
        with self.starting:
            self.started = self.stopped = True
            self._set(executor.LIMIT, 0)
            self.wake(self.size)
            return list(self.threads.values())

    def _set(self, at: int, value: int) -> None:
        self.state[at // 8] = value


class Slot:
    """Where one calling thread publishes its work, and its own work memory."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.memory = pool, 0
        self.kept: NDArray[Any] | None = None
        try:
            self.index = pool.free.pop()
        except IndexError:  # more threads than slots: nobody looks here
            self.index, self.state = -1, aligned(executor.LINE)
            self.address = self.state.ctypes.data
        else:
            self.address = pool.address + executor.FIRST_SLOT + executor.LINE * self.index
            pool._set(executor.USED, max(pool.state[executor.USED // 8], self.index + 1))

    def grow(self, memory: int) -> None:
        """Give this thread `memory` bytes."""
        self.kept = aligned(memory)
        ctypes.c_int64.from_address(self.address + executor.MEMORY).value = self.kept.ctypes.data
        self.memory = memory

    def __del__(self) -> None:
        if self.index >= 0:
            self.pool.free.append(self.index)


def aligned(size: int) -> NDArray[np.int64]:
    """At least `size` bytes, zero, from the beginning of a cache line on."""
    raw = np.zeros(size // 8 + 16, np.int64)
    first = -raw.ctypes.data % executor.LINE // 8
    return raw[first:]


@cache
def polls() -> int:
    """How often a helper looks for work within IDLE."""
    state, count, best = aligned(executor.HELPERS), 2000, 1.0
    state[executor.LIMIT // 8] = state[executor.USED // 8] = 1
    for _ in range(4):
        start = time.perf_counter()
        executor.help_others(state.ctypes.data, 0, count)
        best = min(best, time.perf_counter() - start)
    return int(IDLE * count / best)


_lock = threading.RLock()  # reentrant: a signal handler may take it again
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
        calls.aborted |= not arguments.contiguous  # a replay would not copy them again
        calls.calls.append(KernelCall(kernel, parts, arguments.captured(calls.buffers)))
        return
    entry = kernel.address(arguments.types, arguments.buffers)
    record = np.array([entry, arguments.address, parts], np.int64)
    execute(record.ctypes.data, 0, 1, parts, arguments.memory)


def execute(records: int, first: int, count: int, parts: int, memory: int) -> int:
    """`executor.execute` on as many threads as are useful for at most `parts` parts.

    `memory`: bytes of work memory that each thread needs.
    """
    pool = _pool if _pool.size == threads.get_num_threads() - 1 else _resized()
    slot = getattr(_mine, "slot", None)
    if slot is None or slot.pool is not pool:
        slot = _mine.slot = Slot(pool)
    if memory > slot.memory:
        slot.grow(memory)
    if parts > 1 and pool.size:
        pool.ready(memory)
    done: int = executor.execute(records, first, count, pool.address, slot.address)
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
