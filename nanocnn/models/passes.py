"""Captured passes: what runs of a model, as a program for batches of one size.

For few images the kernels of a small network take less time than the Python code that chooses them,
checks shapes and prepares their arguments. The result of all that is the same every time, so it is
done once: the calls are captured with their arguments, and later passes replay them
(jit/program.py). This file says which passes may be captured, and when they must be again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import is_, itemgetter
from types import ModuleType
from typing import Any

from ..jit.capture import capture
from ..jit.threads import get_num_threads
from ..kernels import ability
from ..kernels.memory import Arena, Memory
from ..layers import LAYERS, Input, Layer
from ..layers.linear import Linear

PACKAGE = __name__.partition(".models.")[0]
METHODS = (  # of a layer
    "forward", "backward", "_forward", "_backward", "transform", "transform_backward",
)  # fmt: skip
CHANGING = {"grads", "memory"}  # attributes of a layer that each pass sets
# Those that an inference reads.
READ = {"params", "state", "geometry", "window", "epsilon", "constants", "vectors"}
MOST = 8  # passes that a memory keeps


def _methods(kind: type) -> list[Any]:
    return [getattr(kind, name, None) for name in METHODS]


# The layers that leave all work on numbers to kernels.
CAPTURABLE: dict[type[Layer], list[Any]] = {
    kind: _methods(kind) for kind in LAYERS.values() if kind is not Input
}


def is_known(layer: Layer) -> bool:
    """Whether this layer runs as its class does here: it is of no subclass and not patched."""
    known = CAPTURABLE.get(type(layer)) == _methods(type(layer))
    return known and not layer.is_custom and vars(layer).keys().isdisjoint(METHODS)


def _with_activation(layer: Layer) -> list[Layer]:
    return [layer, layer.activation] if isinstance(layer, Linear) else [layer]


def can_capture(memory: Memory, kernels: ModuleType, layers: Sequence[Layer]) -> bool:
    """Whether passes of these layers with this memory may be captured.

    Their kernels are the set's, and read weights in place.
    """
    parts = [each for layer in layers for each in _with_activation(layer)]
    return (
        isinstance(memory, Arena)
        and are_capturable(kernels)
        and all(is_known(each) and each.kernels is kernels for each in parts)
        # Of others the kernels get a copy.
        and all(array.flags.c_contiguous for layer in layers for array in layer.weights.values())
    )


def are_capturable(kernels: ModuleType) -> bool:
    """Whether calls of these kernels may be captured: their module says so, and is as it was."""
    functions: Mapping[str, Any] = ability(kernels, "CAPTURABLE")
    own = vars(kernels)
    return bool(functions) and all(own.get(name) is each for name, each in functions.items())


class Guard:
    """Tells whether what a pass was captured from is still the same: by identity.

    `places`: (dict, names in it). If these are all its names, new ones are noticed too.
    """

    def __init__(self, places: Iterable[tuple[Mapping[str, Any], Iterable[str]]]) -> None:
        self.seen = []
        self.sizes = []
        for where, some in places:
            names = tuple(some)
            if len(names) == len(where):
                self.sizes.append((where, len(names)))
            if names:
                get = itemgetter(*names, names[0])  # of two names or more: it returns a tuple
                self.seen.append((get, where, get(where)))
        self.threads = get_num_threads()

    def holds(self) -> bool:
        """Whether the same would be captured again."""
        if self.threads != get_num_threads():
            return False
        for where, size in self.sizes:
            if len(where) != size:
                return False
        try:
            for get, where, seen in self.seen:
                if not all(map(is_, get(where), seen)):
                    return False
        except KeyError:
            return False
        return True


def read_of(
    layers: Iterable[Layer], kernels: ModuleType, training: bool
) -> Iterator[tuple[Mapping[str, Any], Iterable[str]]]:
    """The dicts, and the names in them, that these layers read in a pass with these kernels.

    Of the kernels: the functions that the layers call; in training maybe any.
    """
    functions: Iterable[str] = ability(kernels, "CAPTURABLE")
    if not training:
        operations = {each.operation for layer in layers for each in _with_activation(layer)}
        prefixes = tuple(operations - {""})
        functions = {name for name in functions if name.startswith(prefixes)}
    yield vars(kernels), functions
    for layer in layers:
        own, weights = vars(layer), (layer.params, layer.state)
        names = own.keys() - CHANGING if training else own.keys() & READ
        if training or any(weights):
            yield own, names
            for each in weights:
                yield each, each.keys()
        else:
            yield own, names - {"params", "state"}
        for activation in _with_activation(layer)[1:] if training else ():
            yield vars(activation), vars(activation).keys() - CHANGING


Run = Callable[[], object]


def captured(functions: Sequence[Run], memory: Memory, keeps: bool = False) -> Sequence[Run]:
    """The functions, passes with this `memory`, an `Arena`, as programs, to be run at any time.

    The functions as they are if one of them does what cannot be captured. `keeps`: they leave the
    weights as they are.
    """
    from ..jit.program import programs

    assert isinstance(memory, Arena)
    captures = []
    for function in functions:
        with capture(PACKAGE, keeps, memory.buffers) as calls:
            function()
        if calls.aborted:
            return functions
        captures.append(calls)
    return [program.replay for program in programs(captures)]


def remembered(memory: Memory, key: object, plan: object, make: Callable[[], Any]) -> Any:
    """The pass of `plan` that `memory` keeps as `key` if it still fits, or a new one."""
    found = memory.passes.get(key)
    if found is None or found.plan is not plan or not found.guard.holds():
        memory.passes.pop(key, None)
        found = memory.passes[key] = make()
        while len(memory.passes) > MOST:
            del memory.passes[next(iter(memory.passes))]
    return found
