"""Explicit SIMD vectors in numba functions, in Python syntax.

numba leaves vectorization to LLVM, which works for `y[i] += a * x[i]` but not for the loops that
matter most: a matrix product needs a block of sums that stays in registers while rows are read, and
no optimizer finds that by itself. With this module a compiled function states it:

    @numba.njit
    def axpy(a, x, y):  # y += a * x, one register at a time
        px, py = pointer(x), pointer(y)
        factor, n = splat(px, a), lanes(px)
        whole = x.size - x.size % n
        for i in range(0, whole, n):
            store(py, i, fma(factor, load(px, i), load(py, i)))
        rest = x.size - whole
        store_partial(py, whole, fma(factor, load_partial(px, whole, rest),
                                     load_partial(py, whole, rest)), rest)

How it works: a numba `@intrinsic` consists of two functions. The outer one runs during type
inference and returns a signature; the inner one (`emit`) runs during code generation and emits LLVM
instructions, here LLVM's vector instructions. Three new types are defined in simd_types.py:

`Vector`   `<8 x float>` in LLVM: a value in a register. Vectors of the same type support `+ - *`,
           `/` and `-a` (fractions) and `< <= > >= == !=`; a comparison returns a vector of
           booleans, which supports `& | ^` and is used with `select`.
`Pointer`  the address of an array's data: `p[i]` reads or writes one item, `p + n` is the address n
           items further. There is no bounds check, no wrap-around of negative indices and no
           reference count: use it only for arrays that are arguments of the function.
`Tile`     `tile(rows, columns, p)`: a small table of vectors, `acc[i, j]`. It is allocated on the
           stack, but if all indices come from loops of constant length
           (`for i in range(rows(acc))`), LLVM unrolls them and keeps the tile in registers. A tile
           with one register too many spills and halves the speed.

The same source serves float32 and float64, AVX-512, AVX2 and NEON: the vector type follows from
the pointer during type inference, and a register holds `lanes(p)` items. Kernels choose their tile
by `cpu.registers` (cpu.py); numba treats a global int as a compile-time constant. A function that
takes a tile must be inlined, or the tile goes through memory: decorate it with `inline`
(inline.py). This module works in plain numba functions too, and with `cache=True`.

Vectors of another power of two: `load(p, i, 4)` loads four items (LLVM splits vectors that are too
wide), `load(argmax, i, v)` as many as the vector `v` has.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .cpu import has_fma
from .inline import inline
from .simd_types import Pointer, Tile, Vector, intp, item_of, llvm_type, moved, vector_of

INT32 = ir.IntType(32)

# ------------------------------------------------------------------------ pointers, load and store


@intrinsic
def pointer(typingctx, array):
    """The address of the first item of a C-contiguous array (read-only ones too)."""

    def emit(context, builder, sig, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.bitcast(data, llvm_type(sig.return_type))

    if isinstance(array, types.Array) and array.layout == "C":
        return Pointer(array.dtype)(array), emit


@intrinsic
def pointer_at(typingctx, p, address):
    """The address `address`, an integer, as a pointer like `p`."""

    def emit(context, builder, sig, args):
        return builder.inttoptr(intp(context, builder, sig, args, 1), llvm_type(p))

    return p(p, address), emit


def _place(context, builder, sig, args, kind):
    return builder.bitcast(moved(context, builder, sig, args), llvm_type(kind).as_pointer())


@intrinsic
def load(typingctx, p, i, like=None):
    """The vector p[i], p[i+1], ...; no alignment is needed. `like`: a literal count or a vector."""
    kind = vector_of(p, like)

    def emit(context, builder, sig, args):
        place = _place(context, builder, sig, args, kind)
        return builder.load(place, align=kind.dtype.bitwidth // 8)

    if not isinstance(like, types.Integer) or isinstance(like, types.IntegerLiteral):
        return kind(p, i, types.none if like is None else like), emit


def _masked(context, builder, sig, args, kind, count):
    """The mask of the first lanes, the alignment, and a function that calls llvm.masked.*."""
    count = builder.trunc(intp(context, builder, sig, args, count), INT32)
    numbers = ir.VectorType(INT32, kind.count)
    limit = _splat(builder, numbers, count)
    mask = builder.icmp_signed("<", ir.Constant(numbers, list(range(kind.count))), limit)
    item = "f" if isinstance(kind.dtype, types.Float) else "i"

    def call(name, result, *values):
        name = f"llvm.masked.{name}.v{kind.count}{item}{kind.dtype.bitwidth}.p0"
        shape = ir.FunctionType(result, [v.type for v in values])
        return builder.call(cgutils.get_or_insert_function(builder.module, shape, name), values)

    return mask, INT32(kind.dtype.bitwidth // 8), call


@intrinsic
def load_partial(typingctx, p, i, count, like=None):
    """The first `count` lanes from p[i]; the rest are 0 and their memory isn't touched."""
    kind = vector_of(p, like)

    def emit(context, builder, sig, args):
        mask, align, call = _masked(context, builder, sig, args, kind, 2)
        place = _place(context, builder, sig, args, kind)
        return call("load", llvm_type(kind), place, align, mask, ir.Constant(llvm_type(kind), None))

    if not isinstance(like, types.Integer) or isinstance(like, types.IntegerLiteral):
        return kind(p, i, count, types.none if like is None else like), emit


@intrinsic
def store(typingctx, p, i, vector):
    """p[i], p[i+1], ... = the lanes of `vector`."""

    def emit(context, builder, sig, args):
        place = _place(context, builder, sig, args, vector)
        builder.store(args[2], place, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return (types.void(p, i, vector), emit) if p.dtype == vector.dtype else None


@intrinsic
def store_partial(typingctx, p, i, vector, count):
    """Write the first `count` lanes only."""

    def emit(context, builder, sig, args):
        mask, align, call = _masked(context, builder, sig, args, vector, 3)
        place = _place(context, builder, sig, args, vector)
        call("store", ir.VoidType(), args[2], place, align, mask)
        return context.get_dummy_value()

    return (types.void(p, i, vector, count), emit) if p.dtype == vector.dtype else None


@inline
def load_row(p, i, count):
    """The vector at p[i] near the end of a row: `count` items may be read, the others are 0."""
    return load(p, i) if count >= lanes(p) else load_partial(p, i, max(count, 0))


@inline
def store_row(p, i, vector, count):
    """Write the vector to p[i], at most `count` items of it."""
    if count >= lanes(vector):
        store(p, i, vector)
    elif count > 0:
        store_partial(p, i, vector, count)


# -------------------------------------------------------------------------------------- arithmetic


def _splat(builder, kind, value):
    none, zeros = ir.Constant(kind, ir.Undefined), ir.VectorType(INT32, kind.count)
    return builder.shuffle_vector(
        builder.insert_element(none, value, INT32(0)), none, ir.Constant(zeros, [0] * kind.count)
    )


@intrinsic
def splat(typingctx, like, value):
    """The number `value` in every lane of a vector like `like` (a vector or a pointer)."""
    kind = like if isinstance(like, Vector) else vector_of(like)

    def emit(context, builder, sig, args):
        value = context.cast(builder, args[1], sig.args[1], kind.dtype)
        return _splat(builder, llvm_type(kind), value)

    return kind(like, value), emit


def _call(name):
    """A call of LLVM's function `name` for fractions or vectors of them."""

    def emit(context, builder, sig, args):
        kind, result = llvm_type(sig.return_type), sig.return_type
        count = f"v{result.count}" if isinstance(result, Vector) else ""
        full = f"llvm.{name}.{count}f{item_of(result).bitwidth}"
        shape = ir.FunctionType(kind, [kind] * len(args))
        return builder.call(cgutils.get_or_insert_function(builder.module, shape, full), args)

    return emit


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c for vectors or fractions, rounded once; the compiler fuses nothing by itself.

    On a processor that has no such instruction it is rounded twice (`has_fma` in cpu.py).
    """

    def emit(context, builder, sig, args):
        if has_fma():
            return _call("fma")(context, builder, sig, args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return (a(a, a, a), emit) if a == b == c and isinstance(item_of(a), types.Float) else None


@intrinsic
def sqrt(typingctx, vector):
    """The square root of each lane; NaN of negative ones."""
    return vector(vector), _call("sqrt")


@intrinsic
def select(typingctx, mask, a, b):
    """The lanes of `a` where `mask` is true, else those of `b`."""

    def emit(context, builder, sig, args):
        return builder.select(*args)

    return (a(mask, a, a), emit) if a == b and mask.dtype is types.boolean else None


@intrinsic
def maximum(typingctx, a, b):
    """The larger lanes; `b` where either is NaN (as x86's instruction does)."""

    def emit(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return (a(a, a), emit) if a == b else None


def by_halves(builder, vector, count, combine):
    """The lanes combined to one number: each half with the other, always in the same order."""
    while count > 1:
        count //= 2
        halves = [list(range(i, i + count)) for i in (0, count)]
        orders = [ir.Constant(ir.VectorType(INT32, count), half) for half in halves]
        vector = combine(*[builder.shuffle_vector(vector, vector, order) for order in orders])
    return builder.extract_element(vector, INT32(0))


@intrinsic
def total(typingctx, vector):
    """The sum over the lanes, always by halves in the same order."""

    def emit(context, builder, sig, args):
        return by_halves(builder, args[0], vector.count, builder.fadd)

    return vector.dtype(vector), emit


# ------------------------------------------------------------------------------------------- tiles


def _new_table(context, builder, sig, args):
    return cgutils.alloca_once(builder, llvm_type(sig.return_type).pointee)


@intrinsic
def tile(typingctx, rows, columns, p):
    """A rows x columns table (literal ints) of full vectors of `p`'s items; not set to anything."""
    if isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral):
        kind = Tile(vector_of(p), rows.literal_value, columns.literal_value)
        return kind(rows, columns, p), _new_table


@intrinsic
def indices(typingctx, rows):
    """A table of `rows` integers in registers, at[i]; `rows` is a literal or a tile."""
    if isinstance(rows, Tile):
        return Tile(types.intp, rows.rows, 1)(rows), _new_table
    if isinstance(rows, types.IntegerLiteral):
        return Tile(types.intp, rows.literal_value, 1)(rows), _new_table


@intrinsic
def square(typingctx, p):
    """A tile of one column and as many rows as a full vector of `p`'s items has lanes."""
    kind = vector_of(p)
    return Tile(kind, kind.count, 1)(p), _new_table


@intrinsic
def transpose(typingctx, table):
    """Lane j of row i and lane i of row j of a `square` change places."""
    count = table.rows

    def emit(context, builder, sig, args):
        places = [builder.gep(args[0], [INT32(0), INT32(i)]) for i in range(count)]
        rows = [builder.load(place) for place in places]
        step = 1
        while step < count:  # blocks of step x step numbers change places
            for i in range(count):
                if not i & step:
                    a, b = rows[i], rows[i + step]
                    upper = [j if not j & step else count + j - step for j in range(count)]
                    lower = [j + step if not j & step else count + j for j in range(count)]
                    for row, order in ((i, upper), (i + step, lower)):
                        order = ir.Constant(ir.VectorType(INT32, count), order)
                        rows[row] = builder.shuffle_vector(a, b, order)
            step *= 2
        for row, place in zip(rows, places, strict=True):
            builder.store(row, place)
        return context.get_dummy_value()

    if table.columns == 1 and isinstance(table.item, Vector) and table.item.count == count:
        return types.void(table), emit


def _constant(value):
    return lambda context, builder, sig, args: context.get_constant(types.intp, value)


@intrinsic
def lanes(typingctx, p):
    """How many items of pointer `p` a register holds, known at compile time."""
    return types.intp(p), _constant(vector_of(p).count)


@intrinsic
def item_bits(typingctx, p):
    """How many bits an item of a pointer or vector has, known at compile time."""
    return types.intp(p), _constant(int(p.dtype.bitwidth))


@intrinsic
def rows(typingctx, table):
    """How many rows a tile has, known at compile time."""
    return types.intp(table), _constant(table.rows)


@intrinsic
def columns(typingctx, table):
    """How many columns a tile has, known at compile time."""
    return types.intp(table), _constant(table.columns)
