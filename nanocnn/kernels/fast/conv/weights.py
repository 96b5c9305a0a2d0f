"""Work on weights that need not be repeated while they stay the same, as in inference."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ....common.arrays import Array
from ....jit import pool, threads
from ....jit.capture import keeps_weights, when
from ....jit.compile import kernel, part_range
from ....jit.scratch import lasting
from ....jit.simd import lanes, load_row, pointer, select, splat, store_row, total

GRAIN = 16384  # items that are worth a part of their own


def if_changed(weight: Array, function: Callable[..., object], *args: Any) -> None:
    """function(weight, *args), which computes a result from the weights alone.

    Where a program is captured that keeps its weights, it will do so only when they differ from
    those of the time before. Its buffers are zeros at first: for weights of zeros, results must be
    zeros. A NaN is never the same.
    """
    if not keeps_weights():
        function(weight, *args)
        return
    copy = lasting("copy", weight.size, weight.dtype)
    parts = min(max(weight.size // GRAIN, 1), threads.get_num_threads())
    changed = lasting("changed", parts, np.intp)[:parts]
    pool.run(_compare, parts, weight.reshape(-1), copy, changed)
    when(changed, _renew, weight, copy, function, args)


def _renew(
    weight: Array, copy: Array, function: Callable[..., object], args: tuple[Any, ...]
) -> None:
    pool.run(_copy, 1, weight.reshape(-1), copy)
    function(weight, *args)


@kernel
def _compare(part, parts, weight, copy, changed):
    """changed[part]: whether any of this part's weights differs from its copy."""
    a, b = pointer(weight), pointer(copy)
    begin, end = part_range(part, parts, weight.size)
    zero, one = splat(a, 0), splat(a, 1)
    different = zero
    for i in range(begin, end, lanes(a)):
        same = load_row(a, i, end - i) == load_row(b, i, end - i)
        different = different + select(same, zero, one)
    changed[part] = total(different) != 0


@kernel
def _copy(part, parts, weight, copy):
    a, b = pointer(weight), pointer(copy)
    begin, end = part_range(part, parts, weight.size)
    for i in range(begin, end, lanes(a)):
        store_row(b, i, load_row(a, i, end - i), end - i)
