"""Operations on the lanes of vectors (simd.py): the first, the largest, masks, other types."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import INT32, _call, _splat, by_halves
from .simd_types import Vector, intp, llvm_type


@intrinsic
def head(typingctx, vector, count, others):
    """The first `count` lanes of `vector`, then the lanes of `others`."""

    def emit(context, builder, sig, args):
        order = ir.VectorType(INT32, vector.count)
        limit = builder.trunc(intp(context, builder, sig, args, 1), INT32)
        first = builder.insert_element(ir.Constant(order, ir.Undefined), limit, INT32(0))
        limits = builder.shuffle_vector(first, first, ir.Constant(order, [0] * vector.count))
        mask = builder.icmp_signed("<", ir.Constant(order, list(range(vector.count))), limits)
        return builder.select(mask, args[0], args[2])

    return (vector(vector, count, others), emit) if vector == others else None


@intrinsic
def pair(typingctx, number):
    """A vector of two lanes, both `number`."""

    def emit(context, builder, sig, args):
        return _splat(builder, llvm_type(sig.return_type), args[0])

    return (Vector(number, 2)(number), emit) if isinstance(number, types.Float) else None


@intrinsic
def highest(typingctx, vector):
    """The largest lane, if none is NaN."""

    def emit(context, builder, sig, args):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return by_halves(builder, args[0], vector.count, larger)

    return vector.dtype(vector), emit


@intrinsic
def widen(typingctx, vector):
    """The lanes in float64."""
    kind = Vector(types.float64, vector.count)

    def emit(context, builder, sig, args):
        return args[0] if vector == kind else builder.fpext(args[0], llvm_type(kind))

    return (kind(vector), emit) if isinstance(vector.dtype, types.Float) else None


@intrinsic
def convert(typingctx, vector, p):
    """The lanes as items of pointer `p`'s type, of whole numbers; fractions are cut off."""
    kind = Vector(p.dtype, vector.count)

    def emit(context, builder, sig, args):
        value, whole = args[0], ir.VectorType(INT32, vector.count)
        if isinstance(vector.dtype, types.Float):
            value = builder.fptosi(value, whole)
        return builder.trunc(value, llvm_type(kind)) if p.dtype.bitwidth < 32 else value

    return kind(vector, p), emit


def _split(builder, vector, value):
    """(the bits of x minus those of sqrt(1/2), these, and the number of bits of a fraction)."""
    bits = vector.dtype.bitwidth
    fraction, root = (23, 0x3F3504F3) if bits == 32 else (52, 0x3FE6A09E667F3BCD)
    whole = ir.VectorType(ir.IntType(bits), vector.count)
    root = ir.Constant(whole, [root] * vector.count)
    return builder.sub(builder.bitcast(value, whole), root), root, fraction


@intrinsic
def exponent(typingctx, vector):
    """The whole numbers n for which x / 2**n is from sqrt(1/2) to sqrt(2); x > 0 and normal."""

    def emit(context, builder, sig, args):
        above, root, fraction = _split(builder, vector, args[0])
        shift = ir.Constant(root.type, [fraction] * vector.count)
        return builder.sitofp(builder.ashr(above, shift), llvm_type(vector))

    return (vector(vector), emit) if isinstance(vector.dtype, types.Float) else None


@intrinsic
def significand(typingctx, vector):
    """x / 2**n for the n of `exponent`."""

    def emit(context, builder, sig, args):
        above, root, fraction = _split(builder, vector, args[0])
        mask = ir.Constant(root.type, [2**fraction - 1] * vector.count)
        return builder.bitcast(builder.add(builder.and_(above, mask), root), llvm_type(vector))

    return (vector(vector), emit) if isinstance(vector.dtype, types.Float) else None


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


@intrinsic
def copysign(typingctx, a, b):
    """The absolute value of `a` with the sign of `b`."""
    return (a(a, a), _call("copysign")) if a == b else None


@intrinsic
def exp2(typingctx, vector):
    """2**n for lanes that are whole numbers n in the range of the exponents of normal numbers."""
    bits = vector.dtype.bitwidth
    fraction = 23 if bits == 32 else 52
    whole = ir.VectorType(ir.IntType(bits), vector.count)

    def emit(context, builder, sig, args):
        # The sum's unit in the last place is 1, so that its last bits are n plus the bias
        bias = 1.5 * 2**fraction + 2 ** (bits - fraction - 2) - 1
        moved = builder.fadd(args[0], ir.Constant(llvm_type(vector), [bias] * vector.count))
        shift = ir.Constant(whole, [fraction] * vector.count)
        return builder.bitcast(builder.shl(builder.bitcast(moved, whole), shift), args[0].type)

    return (vector(vector), emit) if isinstance(vector.dtype, types.Float) else None
