"""A pass of few images, recorded and repeated: the kernels are called again with the same arrays.

For one image the kernels of a small network take less time than the Python code that chooses them,
checks shapes and prepares their arguments. All of that comes out the same every time, so it is done
once: the calls are written down with their arguments, and the next pass makes them again.
"""

import threading
from collections.abc import Callable

import numpy as np

from . import threads
from .arrays import Array
from .layers import Layer

FEW = 16  # images; with more of them the kernels take most of the time


class Recorded:
    """The kernel calls of `forward(x)`, for other inputs of the same shape and the same layers.

    They read the layers' weights where they are: changed numbers are seen, and `fits` tells when an
    array was replaced by another one. The arrays between the layers belong to one memory and one
    thread, as those of any pass. There are no calls where a pass is not right to repeat.
    """

    def __init__(self, forward: Callable[[Array], Array], x: Array, layers: list[Layer]) -> None:
        self.made_for = threading.get_ident(), threads.get_num_threads()
        self.weights = [
            (where, name, array) for each in layers for where in (each.params, each.state)
            for name, array in where.items()
        ]  # fmt: skip
        self.x = x.copy()
        with threads.recording() as self.calls:
            self.y = forward(self.x)

    def fits(self) -> bool:
        """Whether this thread would record the same again."""
        return self.made_for == (threading.get_ident(), threads.get_num_threads()) and all(
            where.get(name) is array for where, name, array in self.weights
        )

    def repeat(self, x: Array) -> Array:
        """The pass for another `x`; the result is overwritten by the next one."""
        np.copyto(self.x, x)
        for kernel, parts, args in self.calls:
            threads.run(kernel, parts, *args)
        return self.y
