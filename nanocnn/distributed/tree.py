"""The order of the sum over the shards of a batch: neighbours are added, then sums of neighbours.

    shards      0   1   2   3   4
    level 1     0 + 1   2 + 3   4        the last one of an odd number is passed on as it is
    level 2     01  +  23       4
    level 3     0123     +      4

The tree depends on the number of shards alone. A process that has shards next to each other adds
what it can; whoever gets the sums of all processes completes the tree.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np

from ..common.arrays import Array

Value = TypeVar("Value")


class Node(NamedTuple):
    """The sum of the shards from place * 2**level to (place + 1) * 2**level, without the end."""

    level: int
    place: int


Stack = list[tuple[Node, Value]]


def push(
    stack: Stack[Value], node: Node, value: Value, shards: int,
    add: Callable[[Value, Value], Value],
) -> None:  # fmt: skip
    """Put the next node on a stack of nodes, in their order, and add those that are complete.

    `add(left, right)` returns left + right.
    """
    while True:
        level, place = node
        if place % 2 == 0:
            last = -(-shards >> level) - 1  # of the nodes of this level
            if place == 0 or place < last:
                break  # the root, or the left one of two
        elif stack and stack[-1][0] == (level, place - 1):
            value = add(stack.pop()[1], value)
        else:
            break  # another process has the left one
        node = Node(level + 1, place // 2)
    stack.append((node, value))


def total(rows: Array) -> Array:
    """The sum of the rows, one for each shard."""
    stack: Stack[Array] = []
    for shard, row in enumerate(rows):
        push(stack, Node(0, shard), row, len(rows), np.add)
    ((_, found),) = stack
    return found


def nodes_of(own: Iterable[int], shards: int) -> list[Node]:
    """The nodes that are left when these shards, which are neighbours, are added."""
    stack: Stack[None] = []
    for shard in own:
        push(stack, Node(0, shard), None, shards, lambda left, right: None)
    return [node for node, _ in stack]


def own_shards(rank: int, size: int, shards: int) -> range:
    """The shards of process `rank` of `size`, which divides their number."""
    each = shards // size
    return range(rank * each, (rank + 1) * each)
