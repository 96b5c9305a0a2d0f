"""Waiting without sleeping: what makes a hand-over from thread to thread cost microseconds.

A thread that sleeps until it is woken loses 5 microseconds on a quiet machine and 50 in a virtual
one, twice for every operation. So our threads first watch a number in memory for a while, in
compiled code that has released the GIL; `threads` uses this when it is loaded.
"""

import time
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from . import threads
from .compile import kernel


@intrinsic
def _watch(typingctx, flags, i):
    """flags[i] as it is in memory now (an ordinary read may be moved out of a loop)."""

    def emit(context, builder, sig, args):
        array = context.make_array(flags)(context, builder, args[0])
        return builder.load_atomic(builder.gep(array.data, [args[1]]), "acquire", 8)

    return types.int64(flags, types.intp), emit


@intrinsic
def _bump(typingctx, flags, i):
    """flags[i] += 1, seen by all threads as one step."""

    def emit(context, builder, sig, args):
        array = context.make_array(flags)(context, builder, args[0])
        one = ir.IntType(64)(1)
        builder.atomic_rmw("add", builder.gep(array.data, [args[1]]), one, "seq_cst")
        return context.get_dummy_value()

    return types.void(flags, types.intp), emit


@intrinsic
def _pause(typingctx):
    """Tell the processor that this is a waiting loop."""
    machine = binding.get_process_triple().partition("-")[0]

    def emit(context, builder, sig, args):
        name, hint = None, []
        if machine == "x86_64":
            name = "llvm.x86.sse2.pause"
        elif machine in ("aarch64", "arm64"):
            name, hint = "llvm.aarch64.hint", [ir.IntType(32)(1)]
        if name:
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in hint])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), hint)
        return context.get_dummy_value()

    return types.void(), emit


@kernel
def _spin(flags, i, seen, polls, rest, bump):
    if bump >= 0:
        _bump(flags, bump)
    for _ in range(polls):
        if _watch(flags, i) != seen:
            for _ in range(rest):
                _pause()
            return True
        _pause()
    return False


@cache
def _pace() -> float:
    """Polls in a microsecond, at best."""
    flags, polls, best = np.zeros(1, np.int64), 1000, 1.0
    for _ in range(4):
        start = time.perf_counter()
        _spin(flags, 0, 0, polls, 0, -1)
        best = min(best, time.perf_counter() - start)
    return polls / best / 1e6


def spin(flags: Any, i: int, seen: int, wait: float, rest: float = 0.0, bump: int = -1) -> bool:
    """Wait up to `wait` microseconds for flags[i] to differ from `seen`, then `rest` more.

    Returns whether it did. Who then asks for the GIL a moment before it is free has to
    sleep after all. So the one who changes the number does it here, by `bump`, where it has given
    up the lock; or the one who waits lets it some microseconds of `rest` to come to that point.
    """
    pace = _pace()
    return bool(_spin(flags, i, seen, int(wait * pace), int(rest * pace), bump))


if not numba.config.DISABLE_JIT:
    # Once before any pool thread does it: what numba and NumPy load at their first call must not be
    # half loaded when the program forks.
    _pace()
    threads.spin = spin
