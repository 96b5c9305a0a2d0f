"""One pool of threads for all kernels, which release the GIL and so run in parallel.

A kernel is called as `kernel(part, parts, *args)` for every part from 0 to parts-1. Which thread
runs which part does not change the result. The caller chooses the number of parts; it may depend
on the number of threads only where each number of the result is computed within one part. The
calling thread works too and idle threads of the pool help it, so any number of Python threads may
call `run` at once without a deadlock.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np

from . import threads
from .capture import current, note
from .spin import spin

NAME = __name__.partition(".")[0]  # of the threads, before their number
POSTED, LEFT = 0, 1  # flags: how often a job was posted, how often a helper has left one
# How long a thread spins before it sleeps, in microseconds: waiting for the next job (after an IDLE
# in vain only BRIEF, for DOUBT seconds), or for the last helper to leave
IDLE, FINISH = 2000, 1000
BRIEF, DOUBT = 200, 0.5
LOOK = 0.1  # seconds between two looks at how many cores there are
ENTER = 8  # microseconds from posting a job to being in compiled code
SPINNERS = 7  # threads of a pool that spin; the others sleep at once


class Job:
    """One call of `run`: its parts are claimed one by one by whichever thread is free."""

    def __init__(
        self, kernel: Callable[..., object], parts: int, args: tuple[Any, ...], flags: Any
    ) -> None:
        self.kernel, self.parts, self.args, self.flags = kernel, parts, args, flags
        self.todo = iter(range(parts))  # shared by all threads: each `next` is atomic
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.closed = self.done = False
        self.helpers = 0
        self.left = threading.Lock()  # released by the last helper to leave a closed job
        self.left.acquire()

    def work(self) -> None:
        for part in self.todo:
            self.kernel(part, self.parts, *self.args)

    def help(self) -> None:
        """What a pool thread does with a job; nothing if the job is closed already."""
        with self.lock:
            if self.closed:
                return
            self.helpers += 1
        try:
            self.work()
        except BaseException as error:
            self.error = self.error or error
            self.drop()
        finally:
            with self.lock:
                self.helpers -= 1
                last = self.closed and self.helpers == 0
            if last:
                self.left.release()

    def drop(self) -> None:
        """Claim the parts that have not begun, so that nobody runs them."""
        for _ in self.todo:
            pass

    def close(self) -> None:
        """Let no more helpers in and wait for those inside; may be interrupted and called again."""
        seen = self.flags[LEFT]
        with self.lock:
            self.closed = True
            waiting = self.helpers > 0
        while self.helpers and spin(self.flags, LEFT, seen, FINISH):
            seen = self.flags[LEFT]
        if waiting:
            self.left.acquire()
        self.done = True


class Pool:
    """`size` daemon threads that wait for jobs; they are started with the first job."""

    def __init__(self, size: int, cores: int | None = None) -> None:
        self.size, self.cores = size, cores or threads.allowed_cores()
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.flags = np.zeros(2, np.int64)
        self.starting = threading.RLock()
        self.threads: dict[int, threading.Thread] = {}
        self.started = False
        self.helpers, self.next_look, self.doubt_until = size, 0.0, 0.0

    def post(self, job: Job) -> None:
        """Ask idle threads to help; no more often than there are threads to take it."""
        if not self.started:
            self.start()
        for _ in range(min(job.parts - 1, self.helpers - self.jobs.qsize())):
            self.jobs.put(job)
        self.flags[POSTED] += 1

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

    def serve(self, i: int) -> None:
        job = self.jobs.get()
        while job is not None:
            job.help()
            del job  # it would keep the arrays of its caller alive
            job = self.next_job(spins=i < SPINNERS)

    def next_job(self, spins: bool) -> Job | None:
        while spins:
            seen, now = self.flags[POSTED], time.monotonic()
            if not self.jobs.empty():
                break
            wait = IDLE if now > self.doubt_until else BRIEF
            spins = spin(self.flags, POSTED, seen, wait, ENTER, LEFT)
            if not spins and wait == IDLE:
                self.doubt_until = now + DOUBT
        self.flags[LEFT] += 1
        return self.jobs.get()

    def stop(self) -> list[threading.Thread]:
        """Let the threads end when they have finished what they are doing, and start no more."""
        with self.starting:
            self.started, self.helpers, self.next_look = True, 0, float("inf")
            for _ in range(self.size):
                self.jobs.put(None)
            self.flags[POSTED] += 1
            return list(self.threads.values())


_lock = threading.RLock()  # reentrant: a signal handler may take it again
_pool = Pool(threads.get_num_threads() - 1)


def run(kernel: Callable[..., object], parts: int, *args: Any) -> None:
    """Call `kernel(part, parts, *args)` for every part in range(parts); return when all are done.

    The first error is raised again here, after every thread has left the kernel (parts that had not
    begun are dropped); so is a KeyboardInterrupt: no thread writes to `args` after the return. What
    this thread captures is noted (`program`).
    """
    if current.program is not None:
        call = (kernel, 0, 1) if parts == 1 else (run, kernel, parts)
        if not note(*call, *args):
            return
    if parts == 1:
        kernel(0, 1, *args)
        return
    pool = _pool if _pool.size == threads.get_num_threads() - 1 else _resized()
    if time.monotonic() > pool.next_look:
        pool.look()
    if pool.helpers == 0:
        for part in range(parts):
            kernel(part, parts, *args)
        return
    job = Job(kernel, parts, args, pool.flags)
    try:
        pool.post(job)
        job.work()
        job.close()
    finally:
        while not job.done:  # after an error; and Ctrl-C may be pressed again and again
            try:
                job.drop()
                job.close()
            except BaseException:
                pass
        job.kernel, job.args = _nothing, ()  # it may still be in the queue: release the arrays
    if job.error is not None:
        try:
            raise job.error
        finally:
            job.error = None  # break the reference cycle of traceback and job


def _nothing(part: int, parts: int) -> None:
    pass


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


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
