"""One forward and backward pass with every number kept: `model.trace(x, y)`.

Nothing is fused and nothing is overwritten, so that each number can be looked at. The model's own
kernels compute them; beside each formula the printed trace names the line of `kernels/reference.py`
that defines it. That line runs, and a breakpoint there stops, in a model of `kernels="reference"`;
the fast kernels give the same numbers up to rounding.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.validate import flag
from ..data.batches import take
from ..kernels import reference
from ..kernels.memory import Memory
from ..layers import Dropout, Layer
from ..layers.activation import BaseActivation
from ..layers.linear import Linear
from .evaluator import Evaluator
from .reach import reach
from .stages import Augmentation
from .worked_example import LayerTrace, Trace


def record(model: Evaluator, x: Any, y: Any, training: bool = True) -> Trace:
    """The `Trace` of one pass of x (N, ...) with labels y; the model is left as it was.

    `training`: with dropout and the batch's own statistics. Raises what `fit` raises for bad data.
    """
    training = flag(training, "training")
    if not isinstance(model, Evaluator):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    data = model._checked_data(x, y)
    x = take(data.x, slice(None), model.dtype).copy()
    target = model.loss.target(data.labels, model.output_shape, model.dtype)
    with unchanged(model.layers):
        return one_pass(model, x, target, training, Memory())


def one_pass(model: Evaluator, x: Array, target: Array, training: bool, memory: Memory) -> Trace:
    """The `Trace` of a pass of x with dense targets; random state, averages and grads change."""
    plan, kernels = model.execution_plan, model.kernels
    final, layers = plan.final, model.layers
    stages = {
        id(layer): stage
        for stage in plan.stages
        if isinstance(stage, Augmentation)
        for layer in stage.layers
    }
    found: list[LayerTrace] = []
    a = x
    for layer in layers:
        stage = stages.get(id(layer))
        found.append(_forward(layer, a, training, memory, final, stage))
        a = found[-1].z if final in (layer, _activation(layer)) else found[-1].y
    losses, prediction = model.loss.forward(a, target, kernels, memory, final is not None)
    if final is not None:
        found[-1].y = prediction
        found[-1].saved["y"] = prediction
    weight = np.full(len(x), 1 / len(x), model.dtype)
    dlogits = d = model.loss.backward(weight, kernels, memory)
    for layer, step in zip(reversed(layers), reversed(found), strict=True):
        d = _backward(layer, step, d, memory, final, stages.get(id(layer)))
    about = (
        f"{len(x)} sample{'s' * (len(x) > 1)}, {model.dtype}, {model.kernel_set} kernels, "
        f"{'training' if training else 'inference (no dropout, moving averages)'}."
    )
    return Trace(
        tuple(found), x, target, losses, model.penalty(), prediction, dlogits, about,
        type(model.loss).__name__, final is not None,
    )  # fmt: skip


def _forward(
    layer: Layer, x: Array, training: bool, memory: Memory, final: BaseActivation | None,
    stage: Augmentation | None,
) -> LayerTrace:  # fmt: skip
    """`stage`: that of a random transform; the last of its layers stands for all of them."""
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
    elif stage is not None:
        is_last = layer is stage.layers[-1]
        formula = formula if is_last else "y = x; composed with the next transform"
        z = y = stage.forward(x, training, memory) if is_last else x
    else:
        z = y = layer._forward(x, training, memory)
    if operation == "batch_norm" and not (training and layer.trainable):
        operation += "_inference"
    saved: dict[str, Any] = {}
    for each in () if layer.is_custom else (layer, inner):
        if each is not None and memory.holds(each):
            saved.update(zip(each.saves, memory.saved(each), strict=False))
    if stage is not None and layer is stage.layers[-1]:
        saved["key"] = memory.saved(stage)[0]
    if saved.get("key") is not None and isinstance(layer, Dropout):
        key, first = map(int, saved["key"])
        saved["mask"] = reference.dropout_mask(x.size, layer.rate, key, first).reshape(x.shape)
    saved = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in saved.items()}
    params = {name: array.copy() for name, array in layer.params.items()}
    return LayerTrace(
        layer.name, type(layer).__name__, formula or own, operation, activation, x, z, y, params,
        saved, reach(layer, training),
    )  # fmt: skip


def _backward(
    layer: Layer, step: LayerTrace, d: Array, memory: Memory, final: BaseActivation | None,
    stage: Augmentation | None,
) -> Array:  # fmt: skip
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
    elif stage is not None:
        step.dy = step.dz = d
        dx = stage.backward(d, True, memory) if layer is stage.layers[-1] else d
    else:
        step.dy = step.dz = d
        dx = layer.run_backward(d, True, memory)
    assert dx is not None
    step.dx = dx
    for name, gradient in layer.grads.items():
        factor = layer.penalties.get(name, 0.0) * layer.trainable
        step.grads[name] = gradient + gradient.dtype.type(2 * factor) * layer.params[name]
    return dx


def _activation(layer: Layer) -> BaseActivation | None:
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
