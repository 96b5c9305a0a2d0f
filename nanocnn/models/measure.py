"""What the metrics say of a batch."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..metrics import METRICS, Metric, accuracy


def measure(
    metrics: Mapping[str, Metric], threshold: float, target: Array, prediction: Array,
    correct: float | None = None,
) -> dict[str, float]:  # fmt: skip
    """Each metric's sum over the samples of a batch.

    `correct`, if it is not None: how many are right, the sum of `accuracy`. ValueError for a metric
    with an invalid result.
    """
    sums = {}
    for name, metric in metrics.items():
        if metric is accuracy and correct is not None:
            sums[name] = correct
            continue
        # The next batch overwrites these arrays, and a custom function may keep them.
        own = METRICS.get(name) is metric
        arrays = [a if own else a.copy() for a in (target, prediction)]
        options = {"threshold": threshold} if metric is accuracy else {}
        sums[name] = _sum(name, metric(*arrays, **options), len(target))
    return sums


def _sum(name: str, values: Any, n: int) -> float:
    """Sum a metric's result over the n samples of a batch; a sample's values are averaged."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"metric {name!r}: expected numbers: {error}") from error
    if array.dtype.kind not in "buif":
        raise ValueError(f"metric {name!r} returned {values!r:.80}, expected numbers")
    if array.ndim and (len(array) != n or array.size == 0):
        raise ShapeError(
            f"metric {name!r} returned shape {array.shape} for {n} samples, "
            "expected one number, or one or more per sample: (N,) or (N, ...)"
        )
    total = float(array.sum(dtype=np.float64)) * (n / array.size)
    if not math.isfinite(total):
        raise NonFiniteError(f"metric {name!r} returned NaN or infinity for a batch of {n} samples")
    return total
