"""The formulas that a trace prints, and where `kernels/reference.py` defines them."""

import inspect
import re
from functools import cache

from ..kernels import reference

# What the backward of each operation computes; {d} is the gradient of its result, {dx} what leaves.
BACKWARD = {
    "conv2d": {
        "dweight": "dweight = im2col(x)^T @ {d}",
        "dbias": "dbias = sum over n,h,w of {d}",
        "dx": "dx = col2im({d} @ kernel^T)",
    },
    "dense": {
        "dweight": "dweight = x^T @ {d}",
        "dbias": "dbias = sum over n of {d}",
        "dx": "dx = {d} @ kernel^T",
    },
    "max_pool": {"dx": "dx = {d} at the argmax of its window, 0 elsewhere"},
    "average_pool": {"dx": "dx = {d} / cells of the window, to each of them"},
    "batch_norm": {
        "dgamma": "dgamma = sum of {d} * xhat",
        "dbeta": "dbeta = sum of {d}",
        "dx": "dx = gamma / sqrt(variance + epsilon) * ({d} - mean({d}) - xhat * mean({d} * xhat))",
    },
    "batch_norm_inference": {
        "dgamma": "dgamma = sum of {d} * xhat",
        "dbeta": "dbeta = sum of {d}",
        "dx": "dx = {d} * gamma / sqrt(variance + epsilon)",
    },
    "dropout": {"dx": "dx = {d} * mask / (1 - rate)"},
    "morphology": {"dx": "dx = {d} * (1 - |a|), and {d} * |a| at the pixel that it moved to"},
    "global_max": {"dx": "dx = {d} at the maximum, shared by equal ones, 0 elsewhere"},
    "zero_pad": {"dx": "dx = {d} without the padding"},
    "Flatten": {"dx": "dx = dy, reshaped"},
    "Reshape": {"dx": "dx = dy, reshaped"},
    "Rescaling": {"dx": "dx = {d} * scale"},
    "Normalization": {"dx": "dx = {d} / sqrt(variance), with invert {d} * sqrt(variance)"},
    "linear": {"dx": "{dx} = {d}"},
    "relu": {"dx": "{dx} = {d} where y > 0, else 0"},
    "leaky_relu": {
        "dx": "{dx} = {d} * slope where x <= threshold, 0 where x >= max_value, else {d}"
    },
    "elu": {"dx": "{dx} = {d} where y > 0, else {d} * (y + 1)"},
    "sigmoid": {"dx": "{dx} = {d} * y * (1 - y)"},
    "tanh": {"dx": "{dx} = {d} * (1 - y^2)"},
    "gelu": {"dx": "{dx} = {d} * (P(X <= x) + x * density(x))"},
    "softmax": {"dx": "{dx} = y * ({d} - sum over k of {d} * y)"},
}
# What a loss computes together with the last activation, forward and backward: formula, function.
FUSED = {
    "softmax": (
        ("L[n] = -sum_k target[n,k] * log softmax(z)[n,k]", "softmax_cross_entropy_forward"),
        ("dz = (softmax(z) * sum(target) - target) / N", "softmax_cross_entropy_backward"),
    ),
    "sigmoid": (
        ("L[n] = mean over k of log(1 + exp(z)) - target * z", "sigmoid_cross_entropy_forward"),
        ("dz = (sigmoid(z) - target) / (N * K)", "sigmoid_cross_entropy_backward"),
    ),
}


@cache
def where(operation: str, result: str = "") -> str:
    """ "conv2d_backward, reference.py:108": the line that assigns `result`, or the function's."""
    function = getattr(reference, operation, None)
    if function is None:
        return ""
    lines, start = inspect.getsourcelines(function)
    assigns = re.compile(rf'^ +[^=#"]*\b{result}\b[^=:]*=[^=]')
    offset = next((i for i, line in enumerate(lines) if result and assigns.match(line)), 0)
    file = function.__module__.rpartition(".")[2]
    return f"{operation}, {file}.py:{start + offset}"
