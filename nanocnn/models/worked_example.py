"""A trace in words: `print(model.trace(x, y))` as a worked example, down the network and back up.

Beside each formula stands the function of `kernels/reference.py` that defines it, and its line. It
runs in a model of `kernels="reference"`; the fast kernels have functions of the same names.
"""

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..common.arrays import Array
from ..kernels import reference
from ..layers.activation import ACTIVATIONS

if TYPE_CHECKING:
    from .record import LayerTrace, Trace


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
    "max_pool": {"dx": "dx = {d} in the cell that won its window, 0 elsewhere"},
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
    "Flatten": {"dx": "dx = dy, reshaped"},
    "linear": {"dx": "{dx} = {d}"},
    "relu": {"dx": "{dx} = {d} where y > 0, else 0"},
    "sigmoid": {"dx": "{dx} = {d} * y * (1 - y)"},
    "tanh": {"dx": "{dx} = {d} * (1 - y^2)"},
    "softmax": {"dx": "{dx} = y * ({d} - sum over k of {d} * y)"},
}
# What a loss computes together with the last activation, forward and backward: formula, function.
FUSED = {
    "softmax": (
        ("L[n] = -sum_k target[n,k] * log softmax(z)[n,k]", "softmax_cross_entropy_forward"),
        ("dz = (softmax(z) * sum(target) - target) / N", "softmax_cross_entropy_backward"),
    ),
    "sigmoid": (
        ("L[n] = mean over k of log(1 + exp(z)) - target * z", "sigmoid_forward"),
        ("dz = (sigmoid(z) - target) / (N * K)", "sigmoid_forward"),
    ),
}
DEFINED = [
    "Each formula is defined by the function beside it, in nanocnn/kernels/reference.py at that",
    'line. In a model of kernels="reference" these lines run, and a breakpoint there stops; the',
    "fast kernels compute the same up to rounding.",
]
NOTES = {"argmax": ", the cell kh*KW+kw,", "mask": ", made from the key,"}


def whole(trace: "Trace") -> str:
    """The whole pass: forward, loss, backward."""
    lines = [
        trace.about,
        "dA is dL/dA and has the shape of A. A small array is printed whole, images and kernels",
        "channel by channel; of a large one the range, the zeros, and some numbers, from the",
        "largest (+ or -) on.",
        *DEFINED,
        "",
        "FORWARD",
        *_value("x", trace.x),
    ]
    for layer in trace.layers:
        lines += ["", *_forward_lines(layer)]
    lines += ["", *_loss_lines(trace), "", "BACKWARD"]
    if trace.fused:
        formula, function = FUSED[_last(trace)][1]
        lines.append(_headline(f"  {formula}", where(function)))
    else:
        lines.append(_headline("  dy of the last layer = dL/dprediction", f"{trace.loss_name}"))
    lines += _value("dz" if trace.fused else "dy", trace.dlogits)
    for layer in reversed(trace.layers):
        lines += ["", *_backward_lines(layer)]
    return "\n".join(lines)


def of_layer(layer: "LayerTrace") -> str:
    """One layer, there and back."""
    return "\n".join([*_forward_lines(layer), *_backward_lines(layer), "", *DEFINED])


def _loss_lines(trace: "Trace") -> list[str]:
    formula, function = "L[n]", ""
    if trace.fused:
        formula, function = FUSED[_last(trace)][0]
    penalty = f" + L2 penalty {trace.penalty:.6g}" if trace.penalty else ""
    return [
        f"LOSS  {trace.loss_name}",
        *_value("target", trace.target),
        _headline(f"  {formula}", where(function)),
        *_value("losses", trace.losses),
        f"  L = mean of losses{penalty} = {trace.loss:.6g}",
    ]


def _last(trace: "Trace") -> str:
    return trace.layers[-1].activation or trace.layers[-1].operation


@cache
def where(operation: str, result: str = "") -> str:
    """ "conv2d_backward, reference.py:108": the line that assigns `result`, or the function's."""
    function = getattr(reference, operation, None)
    if function is None:
        return ""
    lines, start = inspect.getsourcelines(function)
    assigns = re.compile(rf'^ +[^=#"]*\b{result}\b[^=:]*=[^=]')
    offset = next((i for i, line in enumerate(lines) if result and assigns.match(line)), 0)
    return f"{operation}, reference.py:{start + offset}"


def _forward_lines(layer: "LayerTrace") -> list[str]:
    lines = [f"{layer.name} ({layer.kind})  {layer.x.shape} -> {layer.y.shape}"]
    for name, array in layer.params.items():
        lines += _value(name, array)
    lines.append(_headline(f"  {layer.formula}", where(_forward_of(layer.operation, layer))))
    if layer.activation:
        lines += _value("z", layer.z)
        formula = re.sub(r"\bx", "z", ACTIVATIONS[layer.activation])
        lines.append(_headline(f"  {formula}", where(_forward_of(layer.activation, layer))))
    lines += _value("y", layer.y)
    for name, value in layer.saved.items():
        if name not in ("x", "y") and isinstance(value, np.ndarray):
            lines += _value(f"{name}{NOTES.get(name, '')}", value)
    names = ", ".join(name for name in layer.saved if name != "mask")
    return [*lines, f"  kept for the backward pass: {names}"] if names else lines


def _forward_of(operation: str, layer: "LayerTrace") -> str:
    """The name of the kernel that computes an operation of the layer."""
    if operation == "softmax" and layer.dy is None:  # the loss does it, too
        return "softmax_cross_entropy_forward"
    return operation if operation.endswith("_inference") else f"{operation}_forward"


def backward_formulas(layer: "LayerTrace") -> dict[str, str]:
    """What the layer's backward computes, by its name: {"dz": "dz = ...", "dweight": ...}."""
    found = {}
    if layer.activation and layer.dy is not None:
        found["dz"] = BACKWARD[layer.activation]["dx"].format(d="dy", dx="dz")
    elif layer.dy is None and layer.kind == "Activation":
        return found
    results = (*(f"d{name}" for name in layer.grads), "dx")
    own = {result: f"{result} = {layer.kind}.backward(dy)" for result in results}
    for result, formula in BACKWARD.get(layer.operation or layer.kind, own).items():
        if result == "dx" or hasattr(layer, result):
            found[result] = formula.format(d="dz" if layer.activation else "dy", dx="dx")
    return found


def _backward_lines(layer: "LayerTrace") -> list[str]:
    lines = [f"{layer.name} ({layer.kind})  {layer.y.shape} -> {layer.x.shape}"]
    if layer.dy is None:
        last = layer.activation or layer.operation
        lines.append(f"  dz comes from the loss, which does the {last} too: dy is never formed")
    for result, formula in backward_formulas(layer).items():
        operation = layer.activation if result == "dz" else layer.operation
        function = f"{operation.removesuffix('_inference')}_backward"
        own = operation.endswith("_inference") and result == "dx"  # the layer's, not a kernel's
        lines.append(_headline(f"  {formula}", "" if own else where(function, result)))
        lines += _value(result, getattr(layer, result))
    return lines


def _headline(text: str, place: str) -> str:
    line = f"{text:<58}  {place}".rstrip()
    return line if len(line) <= 100 else f"{text}\n{place:>100}"


def _value(name: str, array: Array) -> list[str]:
    """An array whole when it is small, otherwise its range and a few of its values."""
    title = f"  {name} {array.shape}"
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.size <= 64:
        table = np.array2string(
            _as_table(name, array),
            precision=4,
            suppress_small=True,
            max_line_width=92,
            separator=" ",
        )
        if "\n" not in table:
            return [f"{title} = {table}"]
        return [f"{title} =", *(f"      {line}" for line in table.splitlines() if line.strip())]
    top = int(np.abs(array).argmax())
    few = ", ".join(f"{value:.4g}" for value in array.reshape(-1)[top : top + 4])
    index = ", ".join(str(i) for i in np.unravel_index(top, array.shape))
    zeros = 100 * float(np.mean(array == 0))
    return [
        f"{title}: {array.min():.4g} to {array.max():.4g}, {zeros:.0f}% zeros; "
        f"from [{index}] on: {few}, ..."
    ]


def _as_table(name: str, array: Array) -> Array:
    """Without axes of length 1, and rows and columns last, so that images read as images."""
    if array.ndim == 4:
        array = array.transpose((3, 2, 0, 1) if name in ("kernel", "dweight") else (0, 3, 1, 2))
    return array.squeeze() if array.size > 1 else array.reshape(-1)
