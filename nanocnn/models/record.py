"""One forward and backward pass with every number kept: `model.trace(x, y)`.

Nothing is fused and nothing is overwritten, so that each number can be looked at. The model's own
kernels compute them; beside each formula the printed trace names the line of `kernels/reference.py`
that defines it. That line runs, and a breakpoint there stops, in a model of `kernels="reference"`;
the fast kernels give the same numbers up to rounding.
This file stands below `sequential.py`, whose method `trace` calls `record`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import unknown
from ..common.validate import flag
from ..data.batches import take
from ..kernels import reference
from ..kernels.memory import Memory
from ..layers import Activation, Dropout, Input, Layer
from ..layers.linear import Linear
from . import worked_example
from .inputs import checked

if TYPE_CHECKING:
    from .sequential import Sequential


KEPT = ("x", "y", "z", "dx", "dy", "dz", "params", "grads", "saved")


@dataclass
class LayerTrace:
    """What one layer saw, computed and handed back; every gradient has its array's shape.

    x, y, dx, dy  input, output and their gradients; dy is None where activation and loss are one
                  operation, which goes straight to dz
    z, dz         the result before the activation of a Conv2D or Dense and its gradient (for other
                  layers y and dy)
    params, grads the parameters by Keras's names and their gradients, also as `.kernel`, `.bias`,
                  `.gamma`, `.beta`, and `.dweight` (or `.dkernel`), `.dbias`, `.dgamma`, `.dbeta`;
                  the terms of an L2 penalty are in the gradients
    saved         what the forward pass kept for the backward pass, by name
    formula       the layer in one line; `activation` its activation function or ""
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
    grads: dict[str, Array] = field(default_factory=dict)
    dy: Array | None = None
    dz: Array | None = None
    dx: Array = field(default_factory=lambda: np.empty(0))

    def __getattr__(self, name: str) -> Array:
        have = self.__dict__  # nothing is in it yet while an object is copied
        grads = have.get("grads", {})
        named = {**have.get("params", {}), **{f"d{param}": grads[param] for param in grads}}
        if "kernel" in grads:
            named["dweight"] = grads["kernel"]  # the kernels' name for it
        if name not in named:
            what = f"attribute of layer {have.get('name')!r}"
            raise AttributeError(str(unknown(what, name, [*KEPT, *named])))
        return named[name]

    def __str__(self) -> str:
        return worked_example.of_layer(self)

    def __repr__(self) -> str:
        return f"LayerTrace({self.name}: {self.x.shape} -> {self.y.shape})"


@dataclass(frozen=True, repr=False)
class Trace:
    """A whole pass: `trace["conv2d"]` is a `LayerTrace`, `print(trace)` a worked example.

    `trace[0]` is the first layer's, `trace[-1]` the last's; an `Input` is not among them. Names and
    places that are not there raise a ValueError that lists those that are.

    x, target   the input (N, ...) as the first layer got it and the dense target (N,K)
    losses      each sample's loss (N,); loss is their mean, plus `penalty`, the L2 terms
    prediction  the model's output: probabilities behind a softmax
    dlogits     what the loss hands down: dL/dlogits where the last activation is one with it, else
                dL/dprediction
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
        """The number that is made smaller: the mean of `losses` plus `penalty`."""
        return float(self.losses.mean()) + self.penalty

    @property
    def dx(self) -> Array:
        """dL/dinput, of the input's shape."""
        return self.layers[0].dx

    def __getitem__(self, which: str | int) -> LayerTrace:
        names = [layer.name for layer in self.layers]
        if isinstance(which, str):
            if which not in names:
                raise unknown("layer", which, names)
            return self.layers[names.index(which)]
        count = len(self)
        place = isinstance(which, (int, np.integer)) and not isinstance(which, bool)
        if not place or not -count <= which < count:
            raise ValueError(
                f"trace[{which!r:.80}], expected a layer's name ({', '.join(names)}) "
                f"or its place, from 0 to {count - 1} or from -{count} to -1"
            )
        return self.layers[which]

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Trace({', '.join(layer.name for layer in self.layers)}; loss {self.loss:.6g})"

    def __str__(self) -> str:
        return worked_example.whole(self)


def record(model: "Sequential", x: Any, y: Any, training: bool = True) -> Trace:
    """The `Trace` of one pass of x (N, ...) with labels y; the model is left as it was.

    `training`: with dropout and the batch's own statistics. Raises what `fit` raises for bad data.
    """
    from .sequential import Sequential

    training = flag(training, "training")
    if not isinstance(model, Sequential):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    model._ready(x)
    data = checked(model, x, y)
    x = take(data.x, slice(None), model.dtype).copy()
    target = model.loss.target(data.labels, model.output_shape, model.dtype)
    final, kernels, memory = model.execution_plan.final, model.kernels, Memory()
    layers = [layer for layer in model.layers if not isinstance(layer, Input)]
    found: list[LayerTrace] = []
    with unchanged(model.layers):
        a = x
        for layer in layers:
            found.append(_forward(layer, a, training, memory, final))
            a = found[-1].z if final in (layer, _activation(layer)) else found[-1].y
        losses, prediction = model.loss.forward(a, target, kernels, memory, final is not None)
        if final is not None:
            found[-1].y = prediction
            found[-1].saved["y"] = prediction
        weight = np.full(len(x), 1 / len(x), model.dtype)
        dlogits = d = model.loss.backward(weight, kernels, memory)
        for layer, step in zip(reversed(layers), reversed(found), strict=True):
            d = _backward(layer, step, d, memory, final)
    about = (
        f"{len(x)} sample{'s' * (len(x) > 1)}, {model.dtype}, {model.kernel_set} kernels, "
        f"{'training' if training else 'inference (no dropout, moving averages)'}."
    )
    return Trace(
        tuple(found), x, target, losses, model.penalty(), prediction, dlogits, about,
        type(model.loss).__name__, final is not None,
    )  # fmt: skip


def _forward(
    layer: Layer, x: Array, training: bool, memory: Memory, final: Activation | None
) -> LayerTrace:
    inner = _activation(layer)
    formula, activation, operation = layer.formula(), "", layer.operation
    own = f"y = {type(layer).__name__}.forward(x)"
    if layer.is_custom:  # what its base class says need not be true of it
        operation, formula = "", formula if "formula" in vars(type(layer)) else own
        z = y = layer.run_forward(x, training, memory)
    elif isinstance(layer, Linear):
        z = layer.transform(x, memory)
        y = z if inner is final else layer.activation._forward(z, training, memory)
        activation = "" if layer.activation.activation == "linear" else layer.activation.activation
        formula = "z" + formula[1:] if activation else formula
    elif layer is final:
        z = y = x
    else:
        z = y = layer._forward(x, training, memory)
    if operation == "batch_norm" and not (training and layer.trainable):
        operation += "_inference"
    saved: dict[str, Any] = {}
    for each in (layer, inner):
        if each is not None and memory.holds(each):
            saved.update(zip(each.saves, memory.saved(each), strict=False))
    if saved.get("key") is not None and isinstance(layer, Dropout):
        saved["mask"] = reference.dropout_mask(x.size, layer.rate, int(saved["key"])).reshape(
            x.shape
        )
    saved = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in saved.items()}
    params = {name: array.copy() for name, array in layer.params.items()}
    return LayerTrace(
        layer.name, type(layer).__name__, formula or own, operation, activation, x, z, y, params,
        saved,
    )  # fmt: skip


def _backward(
    layer: Layer, step: LayerTrace, d: Array, memory: Memory, final: Activation | None
) -> Array:
    """Fill in the gradients, for d = dL/dy (dL/dz where the activation is left to the loss)."""
    dx: Array | None = d
    if final is not None and layer is final:
        step.dz = d
    elif isinstance(layer, Linear) and not layer.is_custom:
        if layer.activation is final:
            step.dz = d
        else:
            step.dy, step.dz = d, layer.activation._backward(d, True, memory)
        assert step.dz is not None
        dx = layer.transform_backward(step.dz, True, memory)
    else:
        step.dy = step.dz = d
        dx = layer.run_backward(d, True, memory)
    assert dx is not None
    step.dx = dx
    for name, gradient in layer.grads.items():
        factor = layer.penalties.get(name, 0.0) * layer.trainable
        step.grads[name] = gradient + gradient.dtype.type(2 * factor) * layer.params[name]
    return dx


def _activation(layer: Layer) -> Activation | None:
    return layer.activation if isinstance(layer, Linear) and not layer.is_custom else None


@contextmanager
def unchanged(layers: Iterable[Layer]) -> Iterator[None]:
    """Puts back what a training pass leaves behind: random state, moving averages, gradients."""
    before = [
        (layer, layer.rng.bit_generator.state, layer.grads, deepcopy(layer.state))
        for layer in layers
    ]
    try:
        yield
    finally:
        for layer, random, grads, state in before:
            layer.grads = grads
            layer.rng.bit_generator.state = random
            for name, value in state.items():
                layer.state[name][...] = value
