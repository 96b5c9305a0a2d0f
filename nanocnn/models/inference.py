"""The pass that predicts, for batches of one size."""

from math import inf

import numpy as np

from ..common.arrays import Array, quietly
from ..kernels.memory import Memory
from .passes import Guard, Run, can_capture, captured, read_of, remembered
from .plan import Plan


def inference(plan: Plan, samples: int, memory: Memory) -> "Inference":
    """The pass with this memory, made or remembered."""
    found: Inference = remembered(memory, samples, plan, lambda: Inference(plan, samples, memory))
    return found


class Inference:
    """The output for any `x` of one batch size: set x, call `run`, and read `y`.

    `run` overwrites y. `largest`: the largest absolute values of x and of y, or NaN.
    """

    def __init__(self, plan: Plan, samples: int, memory: Memory) -> None:
        self.plan = plan
        self.memory = memory
        layers = plan.layers
        self.x = np.zeros((samples, *layers[0].input_shape), plan.dtype)
        self.largest = np.zeros(2)
        self.y: Array
        self.run: Run = self._run_quietly
        self.guard = Guard(read_of(layers, plan.kernels, False))
        self.is_captured = False
        if can_capture(memory, plan.kernels, layers):
            (self.run,) = captured([self._run_quietly], memory, keeps=True)
            self.is_captured = self.run != self._run_quietly

    def is_finite(self) -> bool:
        """Whether x and y hold neither NaN nor infinity."""
        x, y = self.largest.tolist()
        return x < inf and y < inf

    def release(self) -> None:
        """Nothing: x and y are its own."""

    def _run_quietly(self) -> None:
        quietly(self._run)

    def _run(self) -> None:
        kernels, plan = self.plan.kernels, self.plan
        kernels.largest(self.x, out=self.largest[:1])
        y = plan.forward(self.x, False, self.memory)
        self.y = y if plan.final is None else plan.final._forward(y, False, self.memory)
        kernels.largest(self.y, out=self.largest[1:])
