"""Memory that threads share, read and written by its address: atomic operations, calls, waiting.

All addresses are integers. `read` and `write` order what is around them as acquire and release do
in C11, so what a thread wrote before its `write` is seen by a thread whose `read` got that value.
"""

import sys

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

INT64 = ir.IntType(64)
WORD = 8  # bytes


def _word(builder, address):
    return builder.inttoptr(address, INT64.as_pointer())


@intrinsic
def read(typingctx, address):
    """The integer at `address`, as it is in memory now."""

    def emit(context, builder, sig, args):
        return builder.load_atomic(_word(builder, args[0]), "acquire", WORD)

    return types.int64(types.int64), emit


@intrinsic
def write(typingctx, address, value):
    """Set the integer at `address`."""

    def emit(context, builder, sig, args):
        builder.store_atomic(args[1], _word(builder, args[0]), "release", WORD)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def add(typingctx, address, value):
    """Add `value` to the integer at `address`; returns what it was before."""

    def emit(context, builder, sig, args):
        return builder.atomic_rmw("add", _word(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def exchange_if(typingctx, address, expected, value):
    """Set the integer at `address` if it is `expected`; returns whether it was."""

    def emit(context, builder, sig, args):
        place = _word(builder, args[0])
        pair = builder.cmpxchg(place, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), emit


@intrinsic
def call_entry(typingctx, entry, part, parts, block, memory):
    """Call the C function void(int64, int64, int64, int64) at the address `entry`."""
    integers = [types.int64] * 4

    def emit(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [INT64] * 4)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *integers), emit


def _call_system(builder, name, result, *args):
    kind = ir.FunctionType(result, [arg.type for arg in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def pause(typingctx):
    """Tell the processor that this is a waiting loop."""
    machine = binding.get_process_triple().partition("-")[0]

    def emit(context, builder, sig, args):
        if machine == "x86_64":
            _call_system(builder, "llvm.x86.sse2.pause", ir.VoidType())
        elif machine in ("aarch64", "arm64"):
            _call_system(builder, "llvm.aarch64.hint", ir.VoidType(), ir.IntType(32)(1))
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def sleep(typingctx):
    """Let other threads run for 50 microseconds or so; where the system has no usleep, `pause`."""

    def emit(context, builder, sig, args):
        if sys.platform != "win32":
            _call_system(builder, "usleep", ir.IntType(32), ir.IntType(32)(50))
        return context.get_dummy_value()

    return types.void(), emit
