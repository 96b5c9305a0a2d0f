"""Captured passes: what runs of a model, as a program for batches of one size.

For few images the kernels of a small network take less time than the Python code that chooses them,
checks shapes and prepares their arguments. The result of all that is the same every time, so it is
done once: the calls are captured with their arguments, and later passes replay them (jit/program.py).
This file says which passes may be captured, and when they must be captured again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from operator import is_, itemgetter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.arrays import Array, quietly
from ..jit.capture import capture
from ..jit.threads import get_num_threads
from ..kernels import ability
from ..kernels.memory import Arena, Memory
from ..layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
)
from ..layers.linear import Linear

if TYPE_CHECKING:
    from .plan import Plan

PACKAGE = __name__.partition(".models.")[0]
METHODS = (  # of a layer
    "forward", "backward", "_forward", "_backward", "transform", "transform_backward",
)  # fmt: skip
CHANGING = {"grads", "memory"}  # attributes of a layer that each pass sets
READ = {"params", "state", "geometry", "window", "epsilon"}  # those that an inference reads
MOST = 8  # passes that a memory keeps


def _methods(kind: type) -> list[Any]:
    return [getattr(kind, name, None) for name in METHODS]


# The layers that leave all work on numbers to kernels.
CAPTURABLE: dict[type[Layer], list[Any]] = {
    kind: _methods(kind)
    for kind in (Activation, AveragePooling2D, BatchNormalization, Conv2D, Dense, Dropout,
                 Flatten, MaxPooling2D)
}  # fmt: skip


def is_known(layer: Layer) -> bool:
    """Whether this layer runs as its class does here: it is of no subclass and not patched."""
    known = CAPTURABLE.get(type(layer)) == _methods(type(layer))
    return known and not layer.is_custom and vars(layer).keys().isdisjoint(METHODS)


def is_capturable(layer: Layer, kernels: ModuleType) -> bool:
    """Whether its passes may be captured: its kernels are the set's, and read weights in place."""
    return (
        is_known(layer)
        and layer.kernels is kernels
        and all(weight.flags.c_contiguous for weight in layer.weights.values())  # else a copy is
    )


def are_capturable(kernels: ModuleType) -> bool:
    """Whether the calls of these kernels may be captured: their module says so, and is as it was."""
    functions: Mapping[str, Any] = ability(kernels, "CAPTURABLE")
    own = vars(kernels)
    return bool(functions) and all(own.get(name) is each for name, each in functions.items())


class Guard:
    """Tells whether what a pass was captured from is still the same: by identity.

    `places`: (dict, names in it).
    """

    def __init__(self, places: Iterable[tuple[Mapping[str, Any], Iterable[str]]]) -> None:
        self.seen = []
        for where, some in places:
            names = tuple(some)
            if names:
                get = itemgetter(*names, names[0])  # of two names or more: it returns a tuple
                self.seen.append((get, where, get(where)))
        self.threads = get_num_threads()

    def holds(self) -> bool:
        """Whether the same would be captured again."""
        if self.threads != get_num_threads():
            return False
        try:
            return all(all(map(is_, get(where), seen)) for get, where, seen in self.seen)
        except KeyError:
            return False


def read_of(
    layers: Iterable[Layer], training: bool
) -> Iterator[tuple[Mapping[str, Any], Iterable[str]]]:
    """The dicts, and the names in them, that these layers read in a pass."""
    for layer in layers:
        own = vars(layer)
        yield own, own.keys() - CHANGING if training else own.keys() & READ
        for weights in (layer.params, layer.state):
            yield weights, weights.keys()
        if training and isinstance(layer, Linear):
            yield vars(layer.activation), vars(layer.activation).keys() - CHANGING


def read_of_kernels(
    kernels: ModuleType, layers: Iterable[Layer], training: bool
) -> tuple[Mapping[str, Any], Iterable[str]]:
    """The functions of `kernels` that these layers call; in training maybe any."""
    functions = ability(kernels, "CAPTURABLE")
    if not training:
        prefixes = {layer.operation for layer in layers}
        prefixes |= {each.activation.operation for each in layers if isinstance(each, Linear)}
        functions = {name for name in functions if name.startswith(tuple(prefixes - {""}))}
    return vars(kernels), functions


Run = Callable[[], object]


def captured(functions: Sequence[Run], memory: Arena, keeps: bool = False) -> Sequence[Run]:
    """The functions, passes with this `memory`, as programs, to be run any number of times.

    They are run without NumPy's warnings if one of them does what cannot be captured. `keeps`: they
    leave the weights as they are.
    """
    from ..jit.program import programs

    captures = []
    for function in functions:
        with capture(PACKAGE, keeps, memory.buffers) as calls:
            function()
        if calls.aborted:
            return functions
        captures.append(calls)
    return [program.replay for program in programs(captures)]


def remembered(memory: Memory, key: object, make: Callable[[], Any]) -> Any:
    """The pass that `memory` keeps as `key` if it still fits, or a new one."""
    found = memory.passes.get(key)
    if found is None or not found.fits():
        memory.passes.pop(key, None)
        found = memory.passes[key] = make()
        while len(memory.passes) > MOST:
            del memory.passes[next(iter(memory.passes))]
    return found


class Inference:
    """The output for any `x` of one batch size: set x, call `run`, and read `y`.

    `run` overwrites y. `largest`: the largest absolute values of x and of y, or NaN.
    """

    def __init__(self, plan: "Plan", samples: int, memory: Memory) -> None:
        self.plan = plan
        self.memory = memory
        layers = plan.layers
        self.x = np.zeros((samples, *layers[0].input_shape), plan.dtype)
        self.largest = np.zeros(2)
        self.y: Array
        self.run: Run = self._run_quietly
        self.guard = Guard(
            [*read_of(layers, False), read_of_kernels(plan.kernels, layers, False)]
        )
        self.is_captured = False
        if (
            isinstance(memory, Arena)
            and are_capturable(plan.kernels)
            and all(is_capturable(layer, plan.kernels) for layer in layers)
        ):
            (self.run,) = captured([self._run_quietly], memory, keeps=True)
            self.is_captured = self.run != self._run_quietly

    def fits(self) -> bool:
        """Whether the model is still as it was; of the plan, see `Plan.fits`."""
        return self.guard.holds()

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
