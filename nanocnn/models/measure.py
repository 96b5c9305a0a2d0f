"""What the metrics say of a batch."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..metrics import COUNTED, AnyMetric, Metric, accuracy, custom_metrics


def measure(
    metrics: Mapping[str, AnyMetric], threshold: float, target: Array, prediction: Array,
    correct: float | None = None,
) -> list[float]:  # fmt: skip
    """The sums of all metrics over a batch, one after the other: of a function and of the samples.

    `correct`, if it is not None: how many are right, the sum of `accuracy`. ValueError for a metric
    with an invalid result.
    """
    sums: list[float] = []
    for name, metric in metrics.items():
        if correct is not None and id(metric) in COUNTED:
            sums += correct, len(target)
            continue
        # The next batch overwrites these arrays, and a custom function may keep them.
        own = not custom_metrics({name: metric})
        arrays = [a if own else a.copy() for a in (target, prediction)]
        if isinstance(metric, Metric):
            found = np.asarray(metric.sums(*arrays), np.float64).reshape(-1)
            if len(found) != metric.size or not np.isfinite(found).all():
                raise NonFiniteError(f"metric {name!r}: {found}, expected {metric.size} numbers")
            sums += found.tolist()
        else:
            options = {"threshold": threshold} if metric is accuracy else {}
            sums += _sum(name, metric(*arrays, **options), len(target)), len(target)
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
