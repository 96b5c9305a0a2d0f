"""A model in words and numbers, for a page: layers, shapes, formulas and where they are defined."""

import re
from typing import Any

import numpy as np

from ..common.config import serialize
from ..layers import Dropout, Layer
from ..layers.activation import ACTIVATIONS
from ..models.formulas import FUSED, where
from ..models.plan import last_activation
from ..models.reach import reach
from ..models.sequential import Sequential
from ..models.worked_example import LayerTrace, Trace, backward_formulas, forward_of
from ..optimizers.schedules import Schedule
from .parts import saved

OPTIONS = (
    "kernel_size", "pool_size", "strides", "padding", "dilation_rate", "filters", "units", "rate",
    "momentum", "epsilon", "use_bias", "negative_slope", "threshold", "max_value", "scale",
    "offset", "target_shape", "keepdims", "factor", "height_factor", "width_factor",
)  # fmt: skip


def describe(
    model: Sequential, trace: Trace, training: bool = False, given_loss: str = ""
) -> dict[str, Any]:
    """The description; `trace` is one of the model, in the mode `training`, whose formulas it has.

    given_loss  the loss that the model got for the page, because it had none
    """
    optimizer = model.optimizer
    rate = optimizer.learning_rate
    return {
        "name": model.name, "dtype": str(model.dtype), "kernels": model.kernel_set,
        "parameters": model.count_params(), "input": {"shape": list(model.input_shape)},
        "layers": [
            _layer(layer, step, reach(layer, training).as_dict())
            for layer, step in zip(model.layers, trace.layers, strict=True)
        ],
        "output": {
            "shape": list(model.output_shape), "activation": last_activation(model.layers),
            "logits": bool(getattr(model.loss, "from_logits", False)),
        },
        "loss": _loss(model, trace, given_loss),
        "optimizer": {
            **{k: _plain(v) for k, v in serialize(optimizer)["config"].items()},
            "name": type(optimizer).__name__, "learning_rate": optimizer.rate(),
            "schedule": type(rate).__name__ if isinstance(rate, Schedule) else None,
        },
    }  # fmt: skip


def _layer(layer: Layer, step: LayerTrace, reached: dict[str, Any]) -> dict[str, Any]:
    operation = step.operation
    backward = {
        _keras(result, layer): {"formula": formula, **_place(*_backward_of(step, result))}
        for result, formula in backward_formulas(step).items()
    }
    activation = re.sub(r"\bx", "z", ACTIVATIONS[step.activation]) if step.activation else ""
    return {
        "name": layer.name, "kind": type(layer).__name__, "formula": step.formula,
        "operation": operation, "activation": step.activation,
        "input_shape": list(layer.input_shape), "output_shape": list(layer.output_shape),
        "params": {name: list(array.shape) for name, array in layer.weights.items()},
        "trained": list(layer.params), "count": layer.count_params(),
        "trainable": layer.trainable, "rate": layer.rate if isinstance(layer, Dropout) else None,
        "options": _options(layer), "random": layer.random, "custom": layer.is_custom,
        "reach": reached,
        "saved": list(saved(step)),
        "forward": {"formula": step.formula, **_place(forward_of(operation, step))},
        "activation_formula": activation,
        "activation_forward": _place(forward_of(step.activation, step)) if activation else None,
        "backward": backward,
    }  # fmt: skip


def _backward_of(step: LayerTrace, result: str) -> tuple[str, str]:
    """The function of the reference kernels that computes a gradient, and the name there."""
    operation = step.activation if result == "dz" else step.operation
    own = operation.endswith("_inference") and result == "dx"  # the layer's, not a kernel's
    name = "" if own else f"{operation.removesuffix('_inference')}_backward"
    return name, "dx" if result == "dz" else result


def _keras(result: str, layer: Layer) -> str:
    """A gradient by the weight's name: the kernels call that of the kernel dweight."""
    return "dkernel" if result == "dweight" and "kernel" in layer.params else result


def _place(function: str, result: str = "") -> dict[str, Any]:
    """Where the reference kernels define it: {"function", "file", "line"}; empty if nowhere."""
    found = where(function, result)
    if not found:
        return {"function": "", "file": "", "line": 0}
    name, _, place = found.partition(", ")
    file, _, line = place.rpartition(":")
    return {"function": name, "file": file, "line": int(line)}


def _loss(model: Sequential, trace: Trace, given_loss: str) -> dict[str, Any]:
    loss, last = model.loss, trace.layers[-1].activation or trace.layers[-1].operation
    (formula, function), back = (("L[n]", ""), ("dL/dprediction", ""))
    if trace.fused:
        (formula, function), back = FUSED[last]
    else:
        logits = getattr(loss, "from_logits", False)
        operation = getattr(loss, "fused_operation", "") if logits else loss.operation
        function, back = f"{operation}_forward", (back[0], f"{operation}_backward")
    return {
        "name": type(loss).__name__, "formula": formula, **_place(function),
        "backward": {"formula": back[0], **_place(back[1])}, "fused": trace.fused,
        "added": bool(given_loss),
        "note": f"The model has no loss: {given_loss} was chosen for this page, by its output."
        * bool(given_loss),
    }  # fmt: skip


def _options(layer: Layer) -> dict[str, Any]:
    """The arguments of a layer that change what it computes, as JSON can hold them."""
    found = {name: getattr(layer, name) for name in OPTIONS if hasattr(layer, name)}
    return {name: plain for name, value in found.items() if (plain := _plain(value)) is not None}


def _plain(value: Any) -> Any:
    """Numbers, texts and lists of them; None for anything else."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (bool, int, float, str)) else None
