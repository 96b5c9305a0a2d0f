"""The plan: which layers run as one kernel, and where their results live.

A plan is made when a model is built or compiled. It turns the layers into stages: each layer is one
with the reference set; with the fast set, neighbours that one kernel can compute are fused. A final
softmax is left to the loss, which computes both as one, and the gradient of the input is never
computed. Only this file and stages.py know about fusion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from operator import attrgetter
from types import ModuleType
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.tables import table
from ..jit.threads import single_threaded_blas
from ..kernels import ability
from ..kernels.memory import Arena, Memory
from ..layers import Conv2D, Dropout, Flatten, Layer, MaxPooling2D, is_builtin
from ..layers.activation import BaseActivation
from ..layers.augmentation import Warp
from ..layers.linear import Linear
from .passes import is_known
from .stages import Augmentation, ConvReluPool, InPlaceDropout, LinearPart, LinearRelu, Stage

# What decides how a layer runs: the methods that a stage calls or bypasses, be they of its class or
# assigned to the layer, its activation, and what it fills with.
METHODS = "kernels", "forward", "backward", "_forward", "_backward"
DECIDES: dict[type[Layer], Callable[[Any], Any]] = {
    Linear: attrgetter(
        *METHODS, "transform", "transform_backward", "activation._forward", "activation._backward",
        "activation.activation", "activation.operation",
    ),
    BaseActivation: attrgetter(*METHODS, "activation", "operation"),
    Warp: attrgetter(*METHODS, "fill_mode", "fill_value"),
    Layer: attrgetter(*METHODS),
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The stages of a model, in order. `final` is the activation left to the loss, or None.

    `decides`: each layer with a function that reads what decides how it runs; `seen`: what these
    functions returned when the plan was made.
    """

    stages: tuple[Stage, ...]
    final: BaseActivation | None
    kernels: ModuleType
    dtype: np.dtype[Any]
    decides: list[tuple[Callable[[Any], Any], Layer]]
    seen: list[Any]

    def fits(self) -> bool:
        """Whether no method or activation of the layers was replaced since it was made."""
        return [how(layer) for how, layer in self.decides] == self.seen

    def memory(self) -> Memory:
        """A new memory for passes through this plan, with buffers if the kernels use them."""
        return Arena(self.dtype) if ability(self.kernels, "writes_into") else Memory()

    def forward(self, x: Array, training: bool, memory: Memory, span: slice = slice(None)) -> Array:
        """x (N, *input_shape) -> the last stage's output: logits, where `final` is left out.

        `span`: only through these stages.
        """
        return self._same_bits(self._forward, x, training, memory, span)

    def _forward(self, x: Array, training: bool, memory: Memory, span: slice) -> Array:
        for stage in self.stages[span]:
            x = stage.forward(x, training, memory)
        return x

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers of all stages; those that a stage computes together too."""
        return [layer for _, layer in self.decides]

    @cached_property
    def uses_blas(self) -> bool:
        """Whether the layers may call BLAS: reference kernels do, and custom layers might."""
        layers = (layer for stage in self.stages for layer in stage.layers)
        return ability(self.kernels, "calls_blas") or not all(map(is_builtin, layers))

    def _same_bits(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function`, with BLAS on one thread: its bits depend on the number of threads."""
        return single_threaded_blas(function, *args) if self.uses_blas else function(*args)

    def backward(self, dy: Array, memory: Memory, span: slice = slice(None)) -> Array | None:
        """From dL/d(output of `forward`) to the gradients of all parameters.

        Stops at the first stage that is trained: the gradient of its input is not needed. `span`:
        only through these stages, from dL/d(output of the last one) to dL/d(input of the first).
        """
        return self._same_bits(self._backward, dy, memory, span)

    def require_backward(self) -> None:
        """Raise ValueError if `backward` would reach a layer that has no backward pass."""
        for stage in self.stages[self.first_trained :]:
            for layer in stage.layers:
                layer.require_backward()

    @property
    def first_trained(self) -> int:
        """The number of the first stage in which anything is trained."""
        count = len(self.stages)
        return next((i for i, stage in enumerate(self.stages) if is_trained(stage)), count)

    def _backward(self, dy: Array, memory: Memory, span: slice) -> Array | None:
        first = self.first_trained
        d: Array | None = dy
        for i in reversed(range(len(self.stages))[span]):
            if i >= first:
                assert d is not None
                d = self.stages[i].backward(d, i > first, memory)
        return d


def is_trained(stage: Stage) -> bool:
    """Whether anything in this stage is trained."""
    return any(layer.params and layer.trainable for layer in stage.layers)


def make_plan(
    layers: Sequence[Layer],
    kernels: ModuleType,
    dtype: Any,
    leave: str = "",
) -> Plan:
    """Group built `layers` into stages.

    `leave`: a final activation of this name is left to the loss.
    """
    rest = list(layers)
    decides = [
        (next(how for kind, how in DECIDES.items() if isinstance(layer, kind)), layer)
        for layer in rest
    ]
    seen = [how(layer) for how, layer in decides]
    final: BaseActivation | None = None
    tail: list[Stage] = []
    last = rest[-1] if rest and leave else None
    if isinstance(last, Linear) and is_known(last) and does(last.activation, leave):
        final, tail = last.activation, [LinearPart(rest.pop())]
    elif isinstance(last, BaseActivation) and does(last, leave):
        final = last
        rest.pop()
    stages: list[Stage] = []
    while rest:
        stage = fused(rest)
        del rest[: len(stage.layers)]
        stages.append(stage)
    return Plan((*stages, *tail), final, kernels, np.dtype(dtype), decides, seen)


def last_activation(layers: Sequence[Layer]) -> str:
    """The activation of the model's output; "" if its last layer has none."""
    for layer in reversed(layers):
        if type(layer) not in (Dropout, Flatten):  # these change no number in inference
            last = layer.activation if isinstance(layer, Linear) else layer
            return (
                last.activation if isinstance(last, BaseActivation) and not layer.is_custom else ""
            )
    return ""


def does(layer: BaseActivation, name: str) -> bool:
    """Whether the layer is the activation `name`, and its methods are not patched."""
    return is_known(layer) and layer.activation == layer.operation == name


def fused(rest: Sequence[Layer]) -> Stage:
    """A stage that computes as many of the first layers of `rest` as one kernel can."""
    first, *others = rest
    if isinstance(first, Warp) and is_known(first):
        return Augmentation(*joined(rest))
    if not (
        isinstance(first, Linear) and is_known(first) and does(first.activation, "relu")
        and ability(first.kernels, "fuses")
    ):  # fmt: skip
        return Stage(first)
    pool = others[0] if others else None
    stage: Stage = LinearRelu(first)
    if isinstance(first, Conv2D) and isinstance(pool, MaxPooling2D) and poolable(first, pool):
        stage = ConvReluPool(first, pool)
    return with_dropout(stage, rest[len(stage.layers) :])


def joined(rest: Sequence[Layer]) -> list[Warp]:
    """The random transforms that `rest` begins with and that run as one."""
    found: list[Warp] = []
    for layer in rest:
        if not (isinstance(layer, Warp) and is_known(layer)):
            break
        if found and not layer.joins(found):
            break
        found.append(layer)
    return found


def with_dropout(stage: Stage, rest: Sequence[Layer]) -> Stage:
    """The stage and the dropout that follows, after a Flatten or not; or the stage as it is."""
    flatten = [layer for layer in rest[:1] if isinstance(layer, Flatten)]
    others = [*flatten, *rest[len(flatten) : len(flatten) + 1]]
    if others and isinstance(others[-1], Dropout) and all(map(is_known, others)):
        return InPlaceDropout(stage, *others)
    return stage


def poolable(conv: Conv2D, pool: MaxPooling2D) -> bool:
    """Whether the fused kernel covers these two: unit strides, then 2x2 windows side by side."""
    w, p = conv.window, pool.window
    return is_known(pool) and (w.SH, w.SW, w.DH, w.DW) == (1, 1, 1, 1) and (
        p.KH, p.KW, p.SH, p.SW, p.top + p.bottom + p.left + p.right
    ) == (2, 2, 2, 2, 0)  # fmt: skip


def describe(plan: Plan, memory: Memory | None, batch: int) -> str:
    """The plan as a table, for batches of `batch` samples; `memory`: the training's, if any."""
    rows = [("stage", "kernel", "output", "MFLOP", "MiB")]
    for stage in plan.stages:
        shape = (batch, *stage.layers[-1].output_shape)
        mflop, size = flops(stage) * batch / 1e6, prod(shape) * plan.dtype.itemsize / 2**20
        rows.append((stage.name, stage.kernel(), str(shape), f"{mflop:,.1f}", f"{size:.2f}"))
    if (final := plan.final) is not None:
        kernel = f"{final.activation}, with the loss"
        rows.append((final.name, kernel, rows[-1][2], "0.0", rows[-1][4]))
    lines = [
        table(rows, right=2),
        "MFLOP of one forward pass; MiB of the output; convolutions: the algorithms of",
        "forward / weight gradient / input gradient. The first stage's is not computed.",
    ]
    if isinstance(memory, Arena):
        lines.append(f"work memory of the training so far: {memory.nbytes / 2**20:.1f} MiB")
    return "\n".join(lines)


def flops(stage: Stage) -> int:
    """Additions and multiplications of the stage's products, for one sample."""
    return sum(
        2 * layer.params["kernel"].size * prod(layer.output_shape[:-1])
        for layer in stage.layers
        if isinstance(layer, Linear)
    )


__all__ = ["Plan", "describe", "last_activation", "make_plan"]
