"""A dry run of a training step, which compiles its kernels ahead of their first use.

The training process describes the step (`offered`). The second process (jit/precompile.py) rebuilds
the model, captures the kernel calls of a step without running them, and compiles the kernels.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ..common.arrays import quiet
from ..common.config import serialize
from ..jit import precompile
from ..jit.capture import Call, capture
from ..layers import layers_from_config
from ..losses import LOSSES, Loss, get_loss
from ..optimizers import OPTIMIZERS, Optimizer, get_optimizer
from ..schedules import SCHEDULES, Schedule
from .plan import make_plan
from .structure import Structure

# --- In the training process ---


def offered(
    model: Structure, loss: Loss, optimizer: Optimizer, batch: int
) -> AbstractContextManager[None]:
    """A context in which the first kernel that has to be compiled starts the second process."""
    step = describe(model, loss, optimizer, batch)
    return nullcontext() if step is None else precompile.offered(main, step)


def describe(model: Structure, loss: Loss, optimizer: Optimizer, batch: int) -> str | None:
    """A training step of `batch` samples, as JSON; None if a part is of a custom class."""
    parts: list[tuple[object, Mapping[str, type]]] = [(loss, LOSSES), (optimizer, OPTIMIZERS)]
    if isinstance(optimizer.learning_rate, Schedule):
        parts.append((optimizer.learning_rate, SCHEDULES))
    if model.custom_layers() or any(type(part) not in known.values() for part, known in parts):
        return None
    final = model.execution_plan.final
    try:
        return json.dumps({
            "model": model.get_config(), "kernels": model.kernel_set, "batch": batch,
            "final": "" if final is None else final.activation,
            "loss": serialize(loss), "optimizer": serialize(optimizer),
        })  # fmt: skip
    except TypeError:  # an attribute was deleted, or set to a value that JSON cannot represent
        return None


# --- In the second process ---


def main(step: str) -> None:
    """Compile the kernels of `step`, last first, except those that are being compiled elsewhere."""
    from ..jit.compile import compile_ahead

    for kernel, types in reversed(dict.fromkeys(signatures(calls(**json.loads(step))))):
        compile_ahead(kernel, types)


@quiet  # the numbers are whatever was in memory: only shapes and types are right
def calls(
    model: dict[str, Any], kernels: str, batch: int, final: str, loss: Any, optimizer: Any
) -> list[Call]:
    """The kernel calls of the training step that `describe` returned; none is executed."""
    network = Structure(layers_from_config(model["layers"], {}), 0, model["dtype"], kernels)
    plan = make_plan(network.layers, network.kernels, network.dtype, final)
    memory, loss, optimizer = plan.memory(), get_loss(loss), get_optimizer(optimizer)
    x, target, share = (
        np.zeros((batch, *shape), network.dtype)
        for shape in (network.input_shape, network.output_shape, ())
    )
    with capture(dry=True) as program:
        y = plan.forward(x, True, memory)
        loss.forward(y, target, plan.kernels, memory, plan.final is not None)
        network.penalty()
        plan.backward(loss.backward(share, plan.kernels, memory), memory)
        optimizer.apply(*network.parameters(), plan.kernels)
    return program.calls


def signatures(calls: Iterable[Call]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The kernel of each call, and numba's types of its arguments."""
    from ..jit.compile import argument_types, is_kernel
    from ..jit.pool import run
    from ..jit.scratch import Buffered

    kernel: Any
    for kernel, args in calls:
        if kernel is run:
            kernel, parts, *more = args
            args = (0, parts, *more)
        if isinstance(kernel, Buffered):
            args = (*args, *kernel.arguments())
            kernel = kernel.kernel
        if is_kernel(kernel):  # else it is Python code that calls kernels itself
            yield kernel, argument_types(args)
