"""A trace: every number of one pass. `print(trace)` is a worked example, down the network and back.

Each formula names the function of the reference kernels that defines it, and its line. It
runs in a model of `kernels="reference"`; the fast kernels have functions of the same names.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import unknown
from ..layers.activation import ACTIVATIONS
from .formulas import BACKWARD, FUSED, where
from .reach import Field, Link, Reach, fields, position

DEFINED = [
    "Each formula is defined by the function beside it, in that file of nanocnn/kernels at that",
    'line. In a model of kernels="reference" these lines run, and a breakpoint there stops; the',
    "fast kernels compute the same up to rounding.",
]
NOTES = {"argmax": ", the cell kh*KW+kw,", "mask": ", made from the key,"}
KEPT = ("x", "y", "z", "dx", "dy", "dz", "params", "grads", "saved")


@dataclass
class LayerTrace:
    """The numbers of one layer in a pass; every gradient has the shape of its array.

    x, y, dx, dy  input, output and their gradients; dy is None where activation and loss are one
                  operation, which goes straight to dz
    z, dz         the result before the activation of a Conv2D or Dense and its gradient (for other
                  layers y and dy)
    params, grads the parameters by Keras's names and their gradients, also as `.kernel`, `.bias`,
                  `.gamma`, `.beta`, and `.dweight` (or `.dkernel`), `.dbias`, `.dgamma`, `.dbeta`;
                  the terms of an L2 penalty are in the gradients
    saved         what the forward pass kept for the backward pass, by name
    formula       the layer in one line; `activation` its activation function or ""
    reach         which cells of x a cell of y is computed from: a `Reach`
    """

    name: str
    kind: str
    formula: str
    operation: str
    activation: str
    x: Array
    z: Array
    y: Array
    params: dict[str, Array]
    saved: dict[str, Any]
    reach: Reach
    grads: dict[str, Array] = field(default_factory=dict)
    dy: Array | None = None
    dz: Array | None = None
    dx: Array = field(default_factory=lambda: np.empty(0))

    def __getattr__(self, name: str) -> Array:
        have = self.__dict__  # still empty while an object is copied
        grads = have.get("grads", {})
        named = {**have.get("params", {}), **{f"d{param}": grads[param] for param in grads}}
        if "kernel" in grads:
            named["dweight"] = grads["kernel"]  # the kernels' name for it
        if name not in named:
            what = f"attribute of layer {have.get('name')!r}"
            raise AttributeError(str(unknown(what, name, [*KEPT, *named])))
        return named[name]

    def __str__(self) -> str:
        return "\n".join([*_forward_lines(self), *_backward_lines(self), "", *DEFINED])

    def __repr__(self) -> str:
        return f"LayerTrace({self.name}: {self.x.shape} -> {self.y.shape})"


@dataclass(frozen=True, repr=False)
class Trace:
    """A whole pass: `trace["conv2d"]` is a `LayerTrace`, `print(trace)` a worked example.

    `trace[0]` is the first layer's, `trace[-1]` the last's; an `Input` is not among them. A name or
    position that does not exist raises a ValueError that lists those that do.

    x, target   the input (N, ...) as the first layer got it and the dense target (N,K)
    losses      each sample's loss (N,); loss is their mean, plus `penalty`, the L2 terms
    prediction  the model's output: probabilities behind a softmax
    dlogits     the gradient that the loss returns: dL/dlogits if it computes the last activation
                too, else dL/dprediction
    dx          dL/dinput, which training never needs
    layers      the `LayerTrace`s in order; iterating gives them too
    """

    layers: tuple[LayerTrace, ...]
    x: Array
    target: Array
    losses: Array
    penalty: float
    prediction: Array
    dlogits: Array
    about: str
    loss_name: str
    fused: bool

    @property
    def loss(self) -> float:
        """The value that training minimises: the mean of `losses` plus `penalty`."""
        return float(self.losses.mean()) + self.penalty

    @property
    def dx(self) -> Array:
        """dL/dinput, of the input's shape."""
        return self.layers[0].dx

    def receptive_field(self, layer: str | int, cell: Any) -> dict[str, Field]:
        """The cells that `cell` of the layer's y is computed from, in each layer before.

        As `nanocnn.trace.receptive_field`, but of this pass: in training, behind a random map of
        the image it may be any cell. `layer` is a name or a position, as in `trace[layer]`.
        """
        last = position(layer, [each.name for each in self.layers], "layer={}")
        links = [
            Link(each.name, each.reach, each.x.shape[1:], each.y.shape[1:])
            for each in self.layers[: last + 1]
        ]
        return fields(links, cell)

    def __getitem__(self, which: str | int) -> LayerTrace:
        names = [layer.name for layer in self.layers]
        return self.layers[position(which, names, "trace[{}]")]

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Trace({', '.join(layer.name for layer in self.layers)}; loss {self.loss:.6g})"

    def __str__(self) -> str:
        return words(self)


# --- In words ---


def words(trace: Trace) -> str:
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


def _loss_lines(trace: Trace) -> list[str]:
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


def _last(trace: Trace) -> str:
    return trace.layers[-1].activation or trace.layers[-1].operation


def _forward_lines(layer: LayerTrace) -> list[str]:
    lines = [f"{layer.name} ({layer.kind})  {layer.x.shape} -> {layer.y.shape}"]
    for name, array in layer.params.items():
        lines += _value(name, array)
    lines.append(_headline(f"  {layer.formula}", where(forward_of(layer.operation, layer))))
    if layer.activation:
        lines += _value("z", layer.z)
        formula = re.sub(r"\bx", "z", ACTIVATIONS[layer.activation])
        lines.append(_headline(f"  {formula}", where(forward_of(layer.activation, layer))))
    lines += _value("y", layer.y)
    for name, value in layer.saved.items():
        if name not in ("x", "y") and isinstance(value, np.ndarray):
            lines += _value(f"{name}{NOTES.get(name, '')}", value)
    names = ", ".join(name for name in layer.saved if name != "mask")
    return [*lines, f"  kept for the backward pass: {names}"] if names else lines


def forward_of(operation: str, layer: LayerTrace) -> str:
    """The name of the kernel that computes an operation of the layer."""
    if operation == "softmax" and layer.dy is None:  # the loss does it, too
        return "softmax_cross_entropy_forward"
    return operation if operation.endswith("_inference") else f"{operation}_forward"


def backward_formulas(layer: LayerTrace) -> dict[str, str]:
    """What the layer's backward computes, by its name: {"dz": "dz = ...", "dweight": ...}."""
    found = {}
    if layer.activation and layer.dy is not None:
        found["dz"] = BACKWARD[layer.activation]["dx"].format(d="dy", dx="dz")
    elif layer.dy is None and layer.kind in ("Activation", "Softmax"):
        return found
    results = (*(f"d{name}" for name in layer.grads), "dx")
    own = {result: f"{result} = {layer.kind}.backward(dy)" for result in results}
    for result, formula in BACKWARD.get(layer.kind, BACKWARD.get(layer.operation, own)).items():
        if result == "dx" or hasattr(layer, result):
            found[result] = formula.format(d="dz" if layer.activation else "dy", dx="dx")
    return found


def _backward_lines(layer: LayerTrace) -> list[str]:
    lines = [f"{layer.name} ({layer.kind})  {layer.y.shape} -> {layer.x.shape}"]
    if layer.dy is None:
        last = layer.activation or layer.operation
        lines.append(f"  dz comes from the loss, which includes the {last}: dy is not computed")
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
