"""One pool of threads for all kernels: compiled loops release the GIL and run side by side.

A kernel is called as `kernel(part, parts, *args)` for every part from 0 to parts-1. Which thread
takes which part does not matter to the result. The caller cuts the parts: by the number of threads
only where each result is computed within one part. The calling thread works too and idle pool
threads help it, so any number of Python threads may call `run` at once and nothing can wait in a
circle.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from .cores import allowed_cores, usable_cores
from .program import abort_capture, capture, note, recorder

__all__ = [
    "get_num_threads", "abort_capture", "capture", "run", "set_num_threads",
    "single_threaded_blas",
]  # fmt: skip


# Set by the fast kernels (jit/spin.py): spin(flags, i, seen, wait, rest, bump) waits
# for flags[i] to change without sleeping. Without it threads sleep until they are woken.
spin: Callable[..., bool] | None = None
POSTED, LEFT = 0, 1  # flags: how often a job was posted, how often a helper has left one
IDLE, FINISH = 2000, 1000  # microseconds without sleep: for the next job, for the last helper
BRIEF, DOUBT = 200, 0.5  # after a wait of IDLE in vain: microseconds instead, for so many seconds
LOOK = 0.1  # seconds between two looks at how many cores there are
ENTER = 8  # microseconds from posting a job to being in compiled code
WATCHERS = 7  # threads of a pool that wait without sleep


class _Job:
    """One call of `run`: its parts are claimed one by one by whoever is free."""

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
        """What a pool thread does with a job; one that comes too late does nothing."""
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
        """Claim the parts nobody has begun, so that nobody does."""
        for _ in self.todo:
            pass

    def close(self) -> None:
        """Let no more helpers in and wait for those inside; may be interrupted and called again."""
        seen = self.flags[LEFT]
        with self.lock:
            self.closed = True
            waiting = self.helpers > 0
        while self.helpers and spin is not None and spin(self.flags, LEFT, seen, FINISH):
            seen = self.flags[LEFT]
        if waiting:
            self.left.acquire()
        self.done = True


class _Pool:
    """`size` daemon threads that wait for jobs; they are started with the first job."""

    def __init__(self, size: int, cores: int | None = None) -> None:
        self.size, self.cores = size, cores or allowed_cores()
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.flags = np.zeros(2, np.int64)
        self.starting = threading.RLock()
        self.threads: dict[int, threading.Thread] = {}
        self.started = False
        self.helpers, self.next_look, self.doubt_until = size, 0.0, 0.0

    def post(self, job: _Job) -> None:
        """Ask idle threads to help; no more often than there are threads to hear it."""
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
                        target=self.serve, args=(i,), name=f"nanocnn-{i}", daemon=True
                    )
                    try:
                        thread.start()
                    except RuntimeError:  # a limit of the system, or the interpreter ends
                        break
                    self.threads[i] = thread
            self.started = True
            self.look()

    def look(self) -> None:
        """See how many helpers have cores to run on: the process may have been pinned to fewer."""
        self.next_look = time.monotonic() + LOOK
        most, cores = len(self.threads) if self.started else self.size, allowed_cores()
        self.helpers = most if cores >= self.cores else min(most, cores - 1)

    def serve(self, i: int) -> None:
        job = self.jobs.get()
        while job is not None:
            job.help()
            del job  # while waiting, keep no one's arrays alive
            job = self.next_job(watch=i < WATCHERS)

    def next_job(self, watch: bool) -> _Job | None:
        while watch and spin is not None:
            seen, now = self.flags[POSTED], time.monotonic()
            if not self.jobs.empty():
                break
            wait = IDLE if now > self.doubt_until else BRIEF
            watch = spin(self.flags, POSTED, seen, wait, ENTER, LEFT)
            if not watch and wait == IDLE:
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


_lock = threading.RLock()  # which a signal handler may take again
_pool = _Pool(usable_cores() - 1)


def get_num_threads() -> int:
    """How many threads one call of a kernel may use, the calling one included."""
    return _pool.size + 1


def set_num_threads(n: int) -> None:
    """Let kernels use `n` threads from now on, and BLAS (for the reference kernels) too.

    Results do not depend on it. Raises ValueError unless `n` is an integer from 1 to 1024.
    """
    global _pool
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: expected an integer from 1 to 1024, got {n!r:.80}")
    with _lock:
        old, _pool = _pool, _Pool(int(n) - 1)
        old.stop()
        _blas_limit(int(n))


def run(kernel: Callable[..., object], parts: int, *args: Any) -> None:
    """Call `kernel(part, parts, *args)` for every part in range(parts); return when all are done.

    The first error is raised again here, after every thread has left the kernel (parts that nobody
    had begun are dropped); so is a KeyboardInterrupt: no thread writes to `args` after the return.
    """
    if recorder.calls is not None and not note((kernel, parts, args)):
        return
    pool = _pool
    if parts > 1 and time.monotonic() > pool.next_look:
        pool.look()
    if parts == 1 or pool.helpers == 0:
        for part in range(parts):
            kernel(part, parts, *args)
        return
    job = _Job(kernel, parts, args, pool.flags)
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
        job.kernel, job.args = _nothing, ()  # it may still lie in the queue: let go of the arrays
    if job.error is not None:
        try:
            raise job.error
        finally:
            job.error = None  # no circle of traceback and job


def _nothing(part: int, parts: int) -> None:
    pass


# BLAS has threads of its own. While ours run, one BLAS call may use one thread only.

_blas_users: dict[object, int] = {}  # calls of single_threaded_blas and their threads
_blas_threads: list[int] = []  # what each BLAS had before the first of them came


@cache
def _blas() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set(blas: Any, n: int) -> None:
    if real := getattr(blas, "_real_set_num_threads", None):
        real(n)  # without the lock that a signal handler would wait for, for ever
        return
    release = getattr(blas, "clear_controlling_thread", None)
    if release:  # newer versions of threadpoolctl listen to one thread only; here we are many
        release(force=True)
    blas.set_num_threads(n)
    if release:
        release()


def _blas_limit(n: int) -> None:
    if _blas_users:
        _blas_threads[:] = [n] * len(_blas())
    else:
        for blas in _blas():
            _set(blas, n)


Result = TypeVar("Result")


def single_threaded_blas(function: Callable[..., Result], *args: Any) -> Result:
    """function(*args), in which each BLAS call runs on the calling thread alone.

    May be called by many threads at once, and by a signal handler in between. It is left twice:
    wherever an interruption may come, one of the two is complete.
    """
    user = object()
    try:
        try:
            _enter(user)
            return function(*args)
        finally:
            _leave(user)
    finally:
        _leave(user)


# A signal handler may come between any two lines of these and enter and leave itself. It leaves
# BLAS as the users that it finds have it, so each line must be right after that too.


def _enter(user: object) -> None:
    with _lock:
        _blas_users[user] = threading.get_ident()
        if not _blas_threads:
            counts = [blas.get_num_threads() for blas in _blas()]
            _blas_threads[:] = _blas_threads or counts
        _adjust([1] * len(_blas()))


def _leave(user: object) -> None:
    with _lock:
        _blas_users.pop(user, None)
        if not _blas_users:
            _adjust(list(_blas_threads))
            _blas_threads.clear()


def _adjust(counts: list[int]) -> None:
    for blas, n in zip(_blas(), counts, strict=False):
        if blas.get_num_threads() != n:
            _set(blas, n)


def _at_exit() -> None:
    """No thread of ours is inside compiled code when the interpreter takes that down."""
    for thread in _pool.stop():
        thread.join(1)


def _after_fork() -> None:
    """In a forked child only the forking thread lives on: new locks, a new pool."""
    global _lock, _pool
    _lock, _pool = threading.RLock(), _Pool(_pool.size, _pool.cores)
    me = threading.get_ident()
    for user in [user for user, thread in _blas_users.items() if thread != me]:
        del _blas_users[user]


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
