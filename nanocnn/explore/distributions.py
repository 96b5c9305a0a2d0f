"""Histograms of weights and gradients, taken often and compared over a whole training."""

from collections.abc import Iterable, Iterator, Sequence
from math import gcd
from typing import NamedTuple

import numpy as np

from ..common.arrays import Array
from ..layers import Layer

BINS = 128
SMALLEST = -100  # exponent of a range of bins
SAMPLE = 2048  # numbers of an array that are counted


class Distribution(NamedTuple):
    """Histograms of all arrays at one step: `counts[i, bin]` of `names[i]`.

    The bins of row i divide -2**exponents[i] to 2**exponents[i] evenly.
    """

    names: tuple[str, ...]
    exponents: Array
    counts: Array


def distribution(layers: Sequence[Layer]) -> Distribution:
    """The `Distribution` of the weights and gradients of these layers.

    Of long arrays every so many-th number is counted, and stands for all of them.
    """
    arrays = dict(_arrays(layers))
    parts, sizes = [], []
    for array in arrays.values():
        part = array.reshape(-1)[:: _stride(array.size)]
        parts.append(part)
        sizes.append(len(part))
    if not parts:
        return Distribution((), np.zeros(0, np.int64), np.zeros((0, BINS), np.float32))
    values = np.concatenate(parts)
    good = np.isfinite(values)
    values[~good] = 0
    largest = np.maximum.reduceat(np.abs(values), np.cumsum([0, *sizes[:-1]]))
    exponents = np.where(largest > 0, np.frexp(largest)[1], SMALLEST).clip(SMALLEST)
    rows = np.repeat(np.arange(len(parts)), sizes)
    places = values * np.ldexp(BINS / 2, -exponents)[rows] + BINS / 2
    places = np.minimum(places.astype(np.int64), BINS - 1)
    counts = np.bincount((rows * BINS + places)[good], minlength=len(parts) * BINS)
    stands_for = [array.size / size for array, size in zip(arrays.values(), sizes, strict=True)]
    counts = counts.reshape(-1, BINS) * np.array(stands_for)[:, None]
    return Distribution(tuple(arrays), exponents, counts.astype(np.float32))


def _arrays(layers: Sequence[Layer]) -> Iterator[tuple[str, Array]]:
    for layer in layers:
        for name, array in layer.params.items():
            yield f"weights:{layer.name}/{name}", array
            if name in layer.grads:
                yield f"gradients:{layer.name}/{name}", layer.grads[name]


def _stride(size: int) -> int:
    """Which takes `SAMPLE` numbers at most, and not always the same columns."""
    stride = -(-size // SAMPLE)
    while gcd(stride, size) > 1:
        stride += 1
    return stride


def over_time(
    entries: Iterable[tuple[int, Distribution]], name: str
) -> tuple[Array, Array, Array] | None:
    """(steps (n,), edges (BINS+1,), counts (n, BINS)) of one array; None if it is in none."""
    steps, rows = [], []
    for step, each in entries:
        if name in each.names:
            place = each.names.index(name)
            steps.append(step)
            rows.append((int(each.exponents[place]), each.counts[place]))
    if not rows:
        return None
    top = max(exponent for exponent, _ in rows)
    counts = np.array([_coarser(counts, top - exponent) for exponent, counts in rows])
    return np.array(steps), np.linspace(-(2.0**top), 2.0**top, BINS + 1), counts


def _coarser(counts: Array, doublings: int) -> Array:
    """The counts in as many bins of a range that is 2**doublings as wide."""
    counts = counts.astype(np.float32)
    for _ in range(min(doublings, BINS.bit_length() + 1)):
        middle = counts.reshape(-1, 2).sum(axis=1)
        quarter = np.zeros(BINS // 4, np.float32)
        counts = np.concatenate([quarter, middle, quarter])
    return counts
