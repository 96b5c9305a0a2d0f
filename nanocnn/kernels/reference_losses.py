"""The reference kernels of losses. Notation as in `reference.py`, which has these names too."""

import numpy as np

from ..common.arrays import Array


def softmax_cross_entropy_forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """L_n = -sum over k of target[n,k] * log softmax(logits)[n,k].

    logits, target (N,K) -> losses (N,), probabilities (N,K). log softmax is computed as
    x - max - log(sum(exp(x - max))), which stays finite where log(softmax(x)) would be log(0).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    losses = -np.where(target != 0, target * (shifted - np.log(total)), 0).sum(axis=1)
    return losses.astype(logits.dtype, copy=False), e / total


# L = -sum_k t_k * (x_k - log sum_j exp(x_j)), and d log-sum-exp / dx_k = p_k, so
#     dx_k = p_k * sum(t) - t_k          (p - t when the target sums to one)
# As two operations it would be -t/p times p, which fails where p is 0.
def softmax_cross_entropy_backward(probabilities: Array, target: Array, weight: Array) -> Array:
    """dlogits (N,K) = (p * sum(t) - t) * weight. weight (N,): each sample's weight / N."""
    return (probabilities * target.sum(axis=1, keepdims=True) - target) * weight[:, None]
