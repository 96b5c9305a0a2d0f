"""Inference of few images, captured and replayed: its kernels are called again by themselves.

For one image the kernels of a small network take less time than the Python code that chooses them,
checks shapes and prepares their arguments. The result of all that is the same every time, so it is
done once: the calls are captured as a program, with their arguments, and later passes replay it.
This file says which passes may be captured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..jit.capture import Program, capture
from ..jit.threads import get_num_threads
from ..kernels import ability
from ..layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
)
from ..layers.linear import Linear

PACKAGE = __name__.partition(".models.")[0]
MAX_REPLAY_BATCH = 16  # images; with more of them the kernels take most of the time
METHODS = (  # of a layer
    "forward", "backward", "_forward", "_backward", "transform", "transform_backward",
)  # fmt: skip
READ = "params", "geometry", "window"


def _methods(kind: type) -> list[Any]:
    return [getattr(kind, name, None) for name in METHODS]


# The layers that leave all work on numbers to kernels in inference.
CAPTURABLE: dict[type[Layer], list[Any]] = {
    kind: _methods(kind)
    for kind in (Activation, AveragePooling2D, Conv2D, Dense, Dropout, Flatten, MaxPooling2D)
}


class Replay:
    """The program of `forward(x)`, for other inputs of the same shape and the same `plan`.

    Its kernels read the layers' weights in place: changed numbers are seen, and `fits` tells when
    an array or a kernel was replaced; `Plan.fits` tells when methods were. The arrays between the
    layers belong to one memory, as those of any pass. The program is empty where a pass must not be
    replayed.
    """

    def __init__(
        self, plan: object, forward: Callable[[Array], Array], x: Array, layers: list[Layer]
    ) -> None:
        self.plan = plan
        layers = [*layers, *(each.activation for each in layers if isinstance(each, Linear))]
        self.threads = get_num_threads()
        self.seen = [(where, name, where.get(name)) for where, name in _decisive(layers)]
        self.x = x.copy()
        self.program = Program()
        if all(map(is_capturable, layers)):
            with capture(PACKAGE) as self.program:
                self.y = forward(self.x)
        else:
            self.y = forward(x)

    def fits(self) -> bool:
        """Whether the same would be captured again."""
        for where, name, what in self.seen:
            if where.get(name) is not what:
                return False
        return self.threads == get_num_threads()

    def replay(self, x: Array) -> Array:
        """The pass for another `x`; the result is overwritten by the next one."""
        np.copyto(self.x, x)
        self.program.replay()
        return self.y


def is_known(layer: Layer) -> bool:
    """Whether this layer runs as its class does here: it is of no subclass and not patched."""
    known = CAPTURABLE.get(type(layer)) == _methods(type(layer))
    return known and not layer.is_custom and vars(layer).keys().isdisjoint(METHODS)


def is_capturable(layer: Layer) -> bool:
    """Whether its inference may be captured: its kernels say so, and read its weights in place."""
    capturable = ability(layer.kernels, "CAPTURABLE")
    functions = [vars(layer.kernels).get(name) for name in _kernel_names(layer)]
    return (
        is_known(layer)
        and all(each is None or each in capturable for each in functions)
        and all(weight.flags.c_contiguous for weight in layer.params.values())  # else a copy is
    )


def _kernel_names(layer: Layer) -> Sequence[str]:
    if isinstance(layer, Conv2D):
        return "conv2d_forward", "conv2d_relu_pool_forward"
    return () if layer.random else (f"{layer.operation}_forward",)


def _decisive(layers: list[Layer]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The dicts, and the names in them, that these layers read when they are called."""
    for kernels, name in {(layer.kernels, n) for layer in layers for n in _kernel_names(layer)}:
        yield vars(kernels), name
    for layer in layers:
        own = vars(layer)
        yield from ((own, name) for name in own.keys() & READ)
        if isinstance(layer, Linear):
            yield from ((layer.params, name) for name in ("kernel", "bias"))
