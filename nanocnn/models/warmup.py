"""A training step gone through without running a kernel, to compile what it needs before its time.

This is the second process of `jit/precompile.py`.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..jit import threads
from ..jit.program import Call
from ..layers import layer_from_config
from .sequential import Sequential


def main(step: str) -> None:
    """Compile what `step` needs, the last first, but nothing that is being compiled elsewhere."""
    from ..jit.compile import compile_ahead

    for kernel, types in reversed(dict.fromkeys(signatures(calls(**json.loads(step))))):
        compile_ahead(kernel, types)


def calls(config: Any, compile: Any, batch: int) -> list[Call]:
    """The calls of kernels in a training step of the model with these configs, none of them made.

    The numbers in between are whatever was in memory: only shapes and types are right.
    """
    layers = [layer_from_config(each["class_name"], each["config"]) for each in config["layers"]]
    model = Sequential(layers, dtype=config["dtype"])
    model.compile(**compile)
    x, target = (
        np.zeros((batch, *shape), model.dtype) for shape in (model.input_shape, model.output_shape)
    )
    plan, loss, kernels = model.execution_plan, model.loss, model.kernels
    memory = plan.memory()  # not the model's own, whose first use tells what a helper is to compile
    with threads.capture(dry=True) as found, np.errstate(all="ignore"):
        y = plan.forward(x, True, memory)
        loss.forward(y, target, kernels, memory, plan.final is not None)
        share = np.zeros(batch, model.dtype)
        plan.backward(loss.backward(share, kernels, memory), memory)
        model.optimizer.apply(*model.parameters(), kernels)
    return found


def signatures(calls: list[Call]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The kernel of each call, and numba's types of its arguments."""
    from ..jit.compile import argument_types, is_kernel
    from ..jit.scratch import Buffered

    for called, parts, args in calls:
        kernel: Any = called
        if isinstance(called, Buffered):
            kernel, args = called.kernel, tuple(called.arguments())
        if is_kernel(kernel):  # else it is Python code that calls kernels itself
            yield kernel, argument_types((0, parts, *args))
