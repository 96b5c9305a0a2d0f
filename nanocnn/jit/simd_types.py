"""The numba types behind `simd`: vector, pointer and tile, and their operators.

A numba type defines how its values are represented in LLVM (the data model). An operator needs a
typer, which maps argument types to a result type, and an emitter of LLVM instructions. All of this
is numba's documented extension API.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, models, register_model, type_callable

from .cpu import cpu


class Vector(types.Type):
    """`count` items of one number type (or booleans), in a register."""

    def __init__(self, dtype: Any, count: int):
        self.dtype, self.count = dtype, count
        super().__init__(name=f"{dtype}x{count}")


class Pointer(types.Type):
    """The address of an item of an array."""

    def __init__(self, dtype: Any):
        self.dtype = dtype
        super().__init__(name=f"pointer({dtype})")


class Tile(types.Type):
    """A table of vectors (or, from `indices`, of integers) that LLVM keeps in registers."""

    def __init__(self, item: Any, rows: int, columns: int):
        self.item, self.rows, self.columns = item, rows, columns
        super().__init__(name=f"tile({rows}x{columns}, {item})")


def llvm_type(kind: Any) -> Any:
    """The LLVM type of a number or of one of the types above."""
    if isinstance(kind, Vector):
        return ir.VectorType(llvm_type(kind.dtype), kind.count)
    if isinstance(kind, Pointer):
        return llvm_type(kind.dtype).as_pointer()
    if isinstance(kind, Tile):
        return ir.ArrayType(llvm_type(kind.item), kind.rows * kind.columns).as_pointer()
    if isinstance(kind, types.Float):
        return ir.FloatType() if kind.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(1 if kind is types.boolean else kind.bitwidth)


@register_model(Vector)
@register_model(Pointer)
@register_model(Tile)
class Model(models.PrimitiveModel):
    """All three are single LLVM values."""

    def __init__(self, dmm, kind):
        super().__init__(dmm, kind, llvm_type(kind))


def lane_count(dtype: Any) -> int:
    """How many items of a numba number type a register holds."""
    return max(cpu.bytes * 8 // int(dtype.bitwidth), 1)


def item_of(kind: Any) -> Any:
    """The number type of a vector's items, or of a number."""
    return kind.dtype if isinstance(kind, Vector) else kind


def vector_of(p: Any, like: Any = None) -> Vector:
    """The vector type meant by a pointer and, maybe, a literal count or another vector."""
    if isinstance(like, types.IntegerLiteral):
        return Vector(p.dtype, like.literal_value)
    return Vector(p.dtype, like.count if isinstance(like, Vector) else lane_count(p.dtype))


def teach(symbol: Any, accepts: Callable[..., Any], emit: Callable[..., Any]) -> None:
    """An operator for numba: `accepts(*types)` is its result or None, `emit` its LLVM code."""

    @type_callable(symbol)
    def typer(context):
        def result(*args):
            found = accepts(*args)
            if found is not None:
                lower_builtin(symbol, *args)(emit)
            return found

        return result


def intp(context, builder, sig, args, n):
    """Argument n as an integer of the size of a pointer."""
    return context.cast(builder, args[n], sig.args[n], types.intp)


# ----------------------------------------------------------------- pointers: p + n, p[i], p[i] = v


def moved(context, builder, sig, args):
    return builder.gep(args[0], [intp(context, builder, sig, args, 1)])


def _item_read(context, builder, sig, args):
    return builder.load(moved(context, builder, sig, args))


def _item_write(context, builder, sig, args):
    value = context.cast(builder, args[2], sig.args[2], sig.args[0].dtype)
    builder.store(value, moved(context, builder, sig, args))
    return context.get_dummy_value()


def _at_pointer(result):
    def accepts(p, i, *value):
        if isinstance(p, Pointer) and isinstance(i, types.Integer):
            return result(p)

    return accepts


teach(operator.add, _at_pointer(lambda p: p), moved)
teach(operator.getitem, _at_pointer(lambda p: p.dtype), _item_read)
teach(operator.setitem, _at_pointer(lambda p: types.void), _item_write)


# ------------------------------------------------------------------ tiles: t[i, j] and t[i, j] = v


def _cell(context, builder, sig, args):
    kind, place = sig.args[0], args[1]
    if isinstance(sig.args[1], types.BaseTuple):
        i, j = (
            context.cast(builder, builder.extract_value(place, n), sig.args[1][n], types.intp)
            for n in (0, 1)
        )
        place = builder.add(builder.mul(i, context.get_constant(types.intp, kind.columns)), j)
    else:
        place = intp(context, builder, sig, args, 1)
    return builder.gep(args[0], [context.get_constant(types.intp, 0), place])


def _cell_read(context, builder, sig, args):
    return builder.load(_cell(context, builder, sig, args))


def _cell_write(context, builder, sig, args):
    value = context.cast(builder, args[2], sig.args[2], sig.args[0].item)
    builder.store(value, _cell(context, builder, sig, args))
    return context.get_dummy_value()


def _at_tile(result):
    def accepts(table, place, *value):
        pair = isinstance(place, types.BaseTuple) and len(place) == 2
        if isinstance(table, Tile) and (pair or isinstance(place, types.Integer)):
            return result(table)

    return accepts


teach(operator.getitem, _at_tile(lambda t: t.item), _cell_read)
teach(operator.setitem, _at_tile(lambda t: types.void), _cell_write)


# ------------------------------------------------------------------------------ vectors: + < & ...


def _pair(result):
    def accepts(a, b):
        if isinstance(a, Vector) and a == b:
            return result(a)

    return accepts


def _calculate(on_float, on_int):
    def emit(context, builder, sig, args):
        chosen = on_float if isinstance(sig.args[0].dtype, types.Float) else on_int
        return getattr(builder, chosen)(*args)

    return emit


def _vector_of_fractions(a):
    return a if isinstance(a, Vector) and isinstance(a.dtype, types.Float) else None


def _negate(context, builder, sig, args):
    return builder.fneg(args[0])


def _compare(symbol):
    def emit(context, builder, sig, args):
        if not isinstance(sig.args[0].dtype, types.Float):
            return builder.icmp_signed(symbol, *args)
        compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        return compare(symbol, *args)

    return emit


for _symbol, _float, _int in (
    (operator.add, "fadd", "add"), (operator.sub, "fsub", "sub"), (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", ""),
    (operator.and_, "", "and_"), (operator.or_, "", "or_"), (operator.xor, "", "xor"),
):  # fmt: skip
    teach(_symbol, _pair(lambda a: a), _calculate(_float, _int))
teach(operator.neg, _vector_of_fractions, _negate)
for _symbol, _name in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="),
    (operator.eq, "=="), (operator.ne, "!="),
):  # fmt: skip
    teach(_symbol, _pair(lambda a: Vector(types.boolean, a.count)), _compare(_name))
