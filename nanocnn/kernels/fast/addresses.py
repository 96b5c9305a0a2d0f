"""Tables of addresses: one kernel call for any number of arrays of the same dtype.

A table has a row for each parameter, with the addresses of the parameter, its gradient and so on.
The items of all rows are numbered one after the other in units of UNIT items, and each row begins
with a new unit. The parts of a call are ranges of units; a kernel loops over them by

    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, grad, m, v, vmax = row_pointers(p, table, row)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(param)): ...
"""

from collections.abc import Sequence

import numpy as np

from ...common.errors import ShapeError
from ...jit.capture import keep
from ...jit.compile import part_range
from ...jit.inline import inline
from ...jit.simd import pointer_at
from .outputs import Array, check_arrays, count_parts

UNIT = 16  # items: whole cache lines of both dtypes
COLUMNS = 7  # of a table: the first unit, the items, and five addresses


def address_table(
    columns: dict[str, Sequence[Array]], written: Sequence[str] = ()
) -> tuple[Array, int]:
    """The table (rows, COLUMNS), int64, and the number of parts for one pass over all items.

    `columns` are at most five lists of arrays, by name; the arrays of a row have the same shape. A
    list may be empty: its addresses are 0. The arrays are kept alive while a program is captured,
    otherwise the caller has to hold them. Raises ShapeError unless all have the same dtype, are
    C-contiguous and, in the lists that are `written`, writable.
    """
    models = next(iter(columns.values()))
    start, rows = 0, []
    for name, arrays in columns.items():
        if len(arrays) not in (0, len(models)):
            raise ShapeError(f"{name}: {len(arrays)} arrays, expected {len(models)}")
    for i, model in enumerate(models):
        row = [start, model.size, 0, 0, 0, 0, 0]
        for column, (name, arrays) in enumerate(columns.items(), 2):
            if len(arrays):
                x = arrays[i]
                if x.shape != model.shape or x.dtype != models[0].dtype:
                    check_arrays(model.shape, models[0].dtype, **{name: x})
                if not (x.flags.c_contiguous and (x.flags.writeable or name not in written)):
                    kind = "writable " * (name in written) + "C-contiguous"
                    raise ShapeError(f"{name}: expected a {kind} array")
                row[column] = x.__array_interface__["data"][0]
        rows.append(row)
        start += (model.size + UNIT - 1) // UNIT
    keep(*columns.values())
    return np.array(rows, np.int64), count_parts(start * UNIT)


@inline
def row_pointers(p, table, row):
    """The five addresses of a row, as pointers like `p`."""
    return (
        pointer_at(p, table[row, 2]),
        pointer_at(p, table[row, 3]),
        pointer_at(p, table[row, 4]),
        pointer_at(p, table[row, 5]),
        pointer_at(p, table[row, 6]),
    )


@inline
def _units(table):
    """The number of units of all rows."""
    last = len(table) - 1
    return table[last, 0] + (table[last, 1] + UNIT - 1) // UNIT


@inline
def _row_of(table, unit):
    """The last row that begins at `unit` or before it."""
    low, high = 0, len(table)
    while high - low > 1:
        middle = (low + high) // 2
        if table[middle, 0] <= unit:
            low = middle
        else:
            high = middle
    return low


@inline
def row_range(part, parts, table):
    """(first, last): this part has items of the rows in range(first, last)."""
    start, stop = part_range(part, parts, _units(table))
    return (_row_of(table, start), _row_of(table, stop - 1) + 1) if start < stop else (0, 0)


@inline
def item_range(part, parts, table, row):
    """(start, stop) of this part's items of a row."""
    start, stop = part_range(part, parts, _units(table))
    first, size = table[row, 0], table[row, 1]
    return max((start - first) * UNIT, 0), min((stop - first) * UNIT, size)
