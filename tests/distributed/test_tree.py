"""The order of sums over shards: against a definition of the tree that is easy to check."""

from itertools import chain

import numpy as np
import pytest

from nanocnn.distributed.tree import Node, nodes_of, own_shards, push, total

COUNTS = [*range(1, 21), 31, 32, 33, 48, 100, 1023]


def naive(values):
    """Neighbours are added, level by level; the last of an odd number is passed on."""
    while len(values) > 1:
        pairs = [values[i] + values[i + 1] for i in range(0, len(values) - 1, 2)]
        values = pairs + values[len(values) - len(values) % 2 :]
    return values[0]


class Term(str):
    """A sum as it is written: "((0+1)+(2+3))"."""

    def __add__(self, other):
        return Term("(" + "+".join([self, other]) + ")")


def shared_out(values, size):
    """The sum, by `size` processes: each adds its own, then all nodes are pushed in their order."""
    shards, stack = len(values), []

    def add(left, right):
        return left + right

    for rank in range(size):
        own = []
        for shard in own_shards(rank, size, shards):
            push(own, Node(0, shard), values[shard], shards, add)
        assert [node for node, _ in own] == nodes_of(own_shards(rank, size, shards), shards)
        for node, value in own:
            push(stack, node, value, shards, add)
    ((_, found),) = stack
    return found


@pytest.mark.parametrize("shards", COUNTS)
def test_any_number_of_processes_adds_in_the_order_of_the_definition(shards):
    terms = [Term(shard) for shard in range(shards)]
    expected = naive(terms)
    for size in (size for size in range(1, shards + 1) if shards % size == 0):
        assert shared_out(terms, size) == expected


def test_the_picture_of_the_docstring():
    assert naive([Term(i) for i in range(5)]) == "(((0+1)+(2+3))+4)"
    assert shared_out([Term(i) for i in range(12)], 3) == (
        "((((0+1)+(2+3))+((4+5)+(6+7)))+((8+9)+(10+11)))"
    )


@pytest.mark.parametrize("shards", [2, 3, 5, 7, 12, 13, 32])
def test_numbers_that_round_reveal_the_same_tree(shards):
    """As FPRev does: 1 is lost beside M, unless M and -M have met before.

    With M at shard i, -M at j and 1 elsewhere, the sum counts the shards outside the smallest node
    that holds both.
    """
    for i in range(shards):
        for j in range(i + 1, shards):
            rows = np.ones((shards, 3), np.float32)
            rows[i], rows[j] = 2.0**40, -(2.0**40)
            level = next(n for n in range(shards) if i >> n == j >> n)
            within = min(shards, ((i >> level) + 1) << level) - ((i >> level) << level)
            assert total(rows.copy()).tolist() == [shards - within] * 3
            for size in (size for size in range(1, shards + 1) if shards % size == 0):
                values = [row.copy() for row in rows]
                assert shared_out(values, size).tolist() == [shards - within] * 3


@pytest.mark.parametrize("shards", COUNTS)
def test_total_is_the_sum_in_this_order(shards, rng):
    rows = rng.standard_normal((shards, 4)) * 10.0 ** rng.integers(-8, 8, (shards, 4))
    expected = naive(list(rows.copy()))
    assert total(rows).tobytes() == expected.tobytes()
    assert np.allclose(expected, rows.sum(0), rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize(("size", "shards"), [(1, 1), (1, 12), (3, 12), (4, 12), (12, 12)])
def test_shards_are_shared_out_in_order_and_equally(size, shards):
    own = [list(own_shards(rank, size, shards)) for rank in range(size)]
    assert list(chain(*own)) == list(range(shards))
    assert {len(each) for each in own} == {shards // size}


@pytest.mark.parametrize("shards", COUNTS)
def test_a_process_keeps_few_sums(shards):
    """At most two for each level: what it has to keep and to send grows with the logarithm."""
    for size in (size for size in range(1, shards + 1) if shards % size == 0):
        for rank in range(size):
            found = nodes_of(own_shards(rank, size, shards), shards)
            assert len(found) <= 2 * max(1, (shards // size).bit_length())
