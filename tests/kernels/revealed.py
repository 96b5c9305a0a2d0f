"""Reveals in which order a function adds, from its results alone (FPRev, arXiv:2411.00442).

`reveal(run, n)` returns the tree of additions of run(values) = the sum of n values, as nested
frozensets of the numbers from 1 to n. If value i is huge, value j the same with the other sign, and
all others are 1, those ones vanish that are added before the two cancel: what is left is the number
of summands outside of the smallest subtree that holds i and j. A node with more than two children
is a sum that is rounded once.

`order(rule, sizes)` is the tree that a rule of kernels/README.md means.
"""

import re
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

HUGE = 2.0**100


def sizes_by_cancelling(run: Callable[[Any], float], n: int) -> Callable[[int, int], int]:
    """(i, j) -> how many summands the smallest subtree has that holds both."""

    def size(i: int, j: int) -> int:
        values = np.ones(n)
        values[i], values[j] = HUGE, -HUGE
        return n - round(float(run(values)))

    return size


def sizes_by_vanishing(
    run: Callable[[Any], float], n: int, large: float, small: float
) -> Callable[[int, int], int]:
    """The same for summands that cannot be negative.

    `small` is added to `large` in vain, but not twice `small`; all other values are 0. So the sum
    of three values is more than `large` if the two small ones are added to each other first.
    """

    def first(i: int, j: int, k: int) -> bool:
        values = np.zeros(n)
        values[k] = large
        only = run(values)
        values[[i, j]] = small
        return bool(run(values) > only)

    def size(i: int, j: int) -> int:
        return n - sum(first(i, j, k) for k in range(n) if k not in (i, j))

    return size


def reveal(size: Callable[[int, int], int], leaves: list[int]) -> Any:
    """The tree over `leaves`, whose subtrees have these sizes, counted among all summands."""
    tree, first = leaves[0] + 1, leaves[0]
    by_size: dict[int, list[int]] = {}
    for leaf in leaves[1:]:
        by_size.setdefault(size(first, leaf), []).append(leaf)
    for count, others in sorted(by_size.items()):  # up from the first leaf to the root
        children = [tree]
        while others:
            near = [leaf for leaf in others[1:] if size(others[0], leaf) < count]
            children.append(reveal(size, [others[0], *near]))
            others = [leaf for leaf in others[1:] if leaf not in near]
        tree = frozenset(children)
    return tree


# ------------------------------------------------------------------------------ what the page says


def add(*trees: Any) -> Any:
    return reduce(lambda a, b: frozenset((a, b)), trees)


def _halves(sums: list[Any]) -> Any:
    while len(sums) > 1:
        middle = len(sums) // 2
        sums = [b if a is None else a if b is None else add(a, b)
                for a, b in zip(sums[:middle], sums[middle:], strict=True)]  # fmt: skip
    return sums[0]


def _step(rule: str, trees: list[Any]) -> list[Any]:
    """One step of a rule: the sums that it makes of these; None is a sum of nothing."""
    number = int(found[0]) if (found := re.findall(r"\d+", rule)) else 0
    if rule == "in order":
        return [add(*(tree for tree in trees if tree is not None))]
    if rule == "by halves":
        return [_halves(trees)]
    if rule == "in pairs":
        return [_halves([trees[0], trees[2], trees[1], trees[3]])]
    if rule == f"in blocks of {number}":
        return [add(*trees[i : i + number]) for i in range(0, len(trees), number)]
    if rule == f"in {number} turns":
        turns = [trees[i::number] for i in range(number)]
    elif rule == f"in {number} turns, the rest to the first":
        whole = len(trees) // number * number
        turns = [trees[i:whole:number] for i in range(number)]
        turns[0] += trees[whole:]
    else:
        raise ValueError(f"unknown rule {rule!r}")
    return [add(*turn) if turn else None for turn in turns]


def order(rule: str, samples: int, each: int, begins_with: bool = False) -> Any:
    """The tree of `samples` times `each` summands, the first of which `begins_with` something."""
    leaves = list(range(1 + begins_with, samples * each + 1 + begins_with))
    groups = [leaves[i : i + each] for i in range(0, len(leaves), each)]
    inner, _, outer = rule.rpartition("; then ")
    for step in inner.split("; ") if inner else []:
        groups = [_step(step, group) for group in groups]
    sums = [tree for group in groups for tree in group]
    for step in outer.split("; "):
        sums = _step(step, [1, *sums] if begins_with and step == "in order" else sums)
    assert len(sums) == 1, rule
    return sums[0]


def spell(tree: Any) -> str:
    """A tree as a sum with parentheses; of summands, the one with the lowest number comes first."""
    return _spell(tree)[1]


def _spell(tree: Any) -> tuple[int, str]:
    """(the lowest number, the sum)."""
    if isinstance(tree, int):
        return tree, str(tree)
    children = sorted(_spell(child) for child in tree)
    return children[0][0], " + ".join(f"({c})" if "+" in c else c for _, c in children)
