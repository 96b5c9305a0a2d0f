"""Operations on single lanes of vectors (simd.py): masks as numbers, and every second lane."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import INT32


@intrinsic
def bits(typingctx, mask):
    """A vector of booleans as a whole number: bit i is lane i."""

    def emit(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(mask.count)), ir.IntType(64))

    return (types.uint64(mask), emit) if mask.dtype is types.boolean else None


@intrinsic
def lowest_bit(typingctx, number):
    """The position of the lowest bit that is set in a number other than 0."""

    def emit(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return (types.intp(number), emit) if number == types.uint64 else None


@intrinsic
def every_second(typingctx, a, b, first):
    """Lanes first, first + 2, ... of a and b, one after the other; `first` is a literal."""

    def emit(context, builder, sig, args):
        order = list(range(first.literal_value, 2 * a.count, 2))
        return builder.shuffle_vector(
            args[0], args[1], ir.Constant(ir.VectorType(INT32, a.count), order)
        )

    if a == b and isinstance(first, types.IntegerLiteral):
        return a(a, b, first), emit
