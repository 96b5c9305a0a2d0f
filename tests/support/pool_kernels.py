"""Kernels that show which threads run them, and waiting for what threads do."""

import threading
import time

import numpy as np

from nanocnn.jit import pool as pools
from nanocnn.jit.atomics import add, read, sleep
from nanocnn.jit.compile import kernel


@kernel
def count(part, parts, done):
    done[part] += 1


@kernel
def meet(part, parts, place, met):
    """Wait, up to a minute, until all parts are being run: a thread can only be in one of them."""
    add(place, 1)
    for _ in range(600_000):
        if read(place) == parts:
            met[part] = 1
            break
        sleep()


@kernel
def slowly(part, parts, times, done):
    for _ in range(times):
        sleep()
        done[part] += 1


@kernel
def own(part, parts, buffers, mark, wrong, x):
    """Write the work memory; if another thread writes it too, that is seen. x: of its dtype."""
    for buffer in buffers:
        buffer[:] = mark + part
    sleep()
    for buffer in buffers:
        for number in buffer:
            wrong[part] += number != mark + part


def all_meet(number):
    """Whether that many threads run parts at the same time."""
    place, met = np.zeros(1, np.int64), np.zeros(number, np.int64)
    pools.run(meet, number, place.ctypes.data, met)
    return met.all()


def within(seconds, condition):
    """Whether `condition` becomes true; how long that takes is not what is tested."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return held


def together(function, times):
    """function(i) on that many threads; they must end."""
    callers = [threading.Thread(target=function, args=(i,)) for i in range(times)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert not any(thread.is_alive() for thread in callers)
