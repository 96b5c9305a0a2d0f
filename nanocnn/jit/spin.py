"""Waiting without sleeping: handing work to another thread then costs microseconds.

A thread that sleeps until it is woken loses 5 microseconds on an idle machine and 50 in a virtual
one, twice for every operation. So the threads of the pool first watch a number in memory for a
while, in compiled code that has released the GIL.
"""

import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from .compile import kernel


@intrinsic
def _read(typingctx, flags, i):
    """flags[i] as it is in memory now (LLVM may move an ordinary read out of a loop)."""

    def emit(context, builder, sig, args):
        array = context.make_array(flags)(context, builder, args[0])
        return builder.load_atomic(builder.gep(array.data, [args[1]]), "acquire", 8)

    return types.int64(flags, types.intp), emit


@intrinsic
def _bump(typingctx, flags, i):
    """flags[i] += 1, atomically."""

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
            builder.call(builder.module.declare_intrinsic(name, fnty=kind), hint)
        return context.get_dummy_value()

    return types.void(), emit


def _spin(flags, i, seen, polls, rest, bump):
    if bump >= 0:
        _bump(flags, bump)
    for _ in range(polls):
        if _read(flags, i) != seen:
            for _ in range(rest):
                _pause()
            return True
        _pause()
    return False


def _compiled() -> Callable[..., bool] | None:
    """`_spin` as machine code; None where that cannot be had."""
    if numba.config.DISABLE_JIT:
        return None
    try:
        loop: Callable[..., bool] = kernel(_spin)
        loop(np.zeros(1, np.int64), 0, 0, 1, 0, -1)
    except Exception as error:  # of a numba or llvmlite that does these things in another way
        warnings.warn(f"threads sleep where they could spin: {error!r:.300}", stacklevel=2)
        return None
    return loop


# Compiled and called while this is imported: what numba and NumPy load at their first call must not
# be half loaded in another thread when the process forks.
_loop = _compiled()


@cache
def _pace() -> float:
    """Polls in a microsecond, at best."""
    assert _loop is not None
    flags, polls, best = np.zeros(1, np.int64), 1000, 1.0
    for _ in range(4):
        start = time.perf_counter()
        _loop(flags, 0, 0, polls, 0, -1)
        best = min(best, time.perf_counter() - start)
    return polls / best / 1e6


def spin(flags: Any, i: int, seen: int, wait: float, rest: float = 0.0, bump: int = -1) -> bool:
    """Wait up to `wait` microseconds for flags[i] to differ from `seen`, then `rest` more.

    Returns whether it did; where nothing can be compiled, False at once: the caller then sleeps.
    A thread that asks for the GIL just before it is released has to sleep after all. So the one
    that changes a number does it here, by `bump`, where it has released the GIL; or the one that
    waits gives it `rest` microseconds to come to that point.
    """
    if _loop is None:
        return False
    pace = _pace()
    return bool(_loop(flags, i, seen, int(wait * pace), int(rest * pace), bump))


if _loop is not None:
    _pace()
