"""The reference kernels of a batch that is computed in shards: see models/shards.py.

`reference.py` has these names too.
"""

import numpy as np

from ..common.arrays import Array


def add(x: Array, y: Array) -> Array:
    """y += x, in place."""
    y += x
    return y


# --- Batch normalization over all shards, in two halves -------------------------------------------
def batch_norm_statistics(x: Array, out: Array | None = None) -> Array:
    """x (..., C) -> (2, C), float64: mean and biased variance over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    moments = x.mean(axis=axes, dtype=np.float64), x.var(axis=axes, dtype=np.float64)
    return np.stack(moments, out=out)


def batch_norm_sums(dy: Array, x: Array, mean: Array, out: Array | None = None) -> Array:
    """dy, x (..., C), mean (C,) -> (2, C), float64: the sums of dy and of dy * (x - mean)."""
    axes = tuple(range(x.ndim - 1))
    products = np.multiply(dy, x - mean, dtype=np.float64)
    return np.stack([dy.sum(axis=axes, dtype=np.float64), products.sum(axis=axes)], out=out)


def batch_norm_gradient(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, epsilon: float, sums: Array,
    means: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """dy (..., C) -> dx (..., C), dgamma (C,), dbeta (C,): see `batch_norm_backward`.

    `sums` (2, C) are `batch_norm_sums` of this shard, `means` those of all shards, divided by the
    number of their values per channel.
    """
    s = 1 / np.sqrt(variance + epsilon, dtype=np.float64)
    slope = (means[1] * s * s).astype(x.dtype)
    dx = (gamma * s).astype(x.dtype) * (dy - means[0].astype(x.dtype) - (x - mean) * slope)
    return dx, (sums[1] * s).astype(x.dtype), sums[0].astype(x.dtype)
