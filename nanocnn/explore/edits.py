"""Changes that a reader makes to a model, and how they are taken back, bit for bit."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError
from ..layers import Dropout, Layer
from ..layers.linear import Linear
from ..models.sequential import Sequential
from . import body

MOST = 200  # edits that can be taken back

Filter = dict[str, Array]  # the weights of a filter that is switched off, by name


class Edits:
    """The edits of one model, a stack.

    off  the filters that are switched off: {layer name: {filter: its weights}}
    """

    def __init__(self, model: Sequential) -> None:
        self.model = model
        self.off: dict[str, dict[int, Filter]] = {}
        self._undo: deque[Callable[[], None]] = deque(maxlen=MOST)

    def __len__(self) -> int:
        return len(self._undo)

    def undo(self) -> None:
        """Take back the last edit; ValueError if there is none."""
        if not self._undo:
            raise ValueError("undo: there is no edit to take back")
        self._undo.pop()()

    def make(self, given: dict[str, Any]) -> None:
        """Make the edit that a body describes; ValueError, before any change, if it cannot be."""
        kinds = {
            "weight": (self._weight, ("name", "index", "value")),
            "filter": (self._filter, ("filter", "on")),
            "freeze": (self._freeze, ("on",)),
            "rate": (self._rate, ("rate",)),
        }
        make, words = kinds[body.word(given, "kind", kinds)]
        body.mapping(given, "edit", ("kind", "layer", "arrays", *words))
        undo = make(body.layer(self.model, given), given)
        if undo is not None:
            self._undo.append(undo)

    def _weight(self, layer: Layer, given: dict[str, Any]) -> Callable[[], None]:
        array = weight(layer, given)
        index = body.position(given, array.shape)
        value = body.number(given, "value")
        if not np.isfinite(array.dtype.type(value)):
            raise NonFiniteError(f"value={value!r}, expected a number that {array.dtype} has")
        return _assign(array, index, value)

    def _filter(self, layer: Layer, given: dict[str, Any]) -> Callable[[], None] | None:
        if not isinstance(layer, Linear):
            raise ValueError(f"layer {layer.name!r} has no filters, expected a Conv2D or Dense")
        which = body.integer(given, "filter", 0, layer.params["kernel"].shape[-1] - 1)
        on, off = body.flag(given, "on"), self.off.setdefault(layer.name, {})
        if on == (which not in off):
            return None
        return self._switch_on(layer, which) if on else self._switch_off(layer, which)

    def _switch_off(self, layer: Layer, which: int) -> Callable[[], None]:
        off = self.off[layer.name]
        off[which] = {name: array[..., which].copy() for name, array in layer.params.items()}
        for array in layer.params.values():
            array[..., which] = 0
        return lambda: _restore(layer, which, off.pop(which))

    def _switch_on(self, layer: Layer, which: int) -> Callable[[], None]:
        off = self.off[layer.name]
        now = {name: array[..., which].copy() for name, array in layer.params.items()}
        before = off.pop(which)
        _restore(layer, which, before)

        def undo() -> None:
            off[which] = before
            _restore(layer, which, now)

        return undo

    def _freeze(self, layer: Layer, given: dict[str, Any]) -> Callable[[], None]:
        before, on = layer.trainable, body.flag(given, "on")
        if not layer.weights:
            raise ValueError(f"layer {layer.name!r} has no weights: there is nothing to freeze")
        layer.trainable = not on
        return lambda: setattr(layer, "trainable", before)

    def _rate(self, layer: Layer, given: dict[str, Any]) -> Callable[[], None]:
        if not isinstance(layer, Dropout):
            raise ValueError(f"layer {layer.name!r} has no rate, expected a Dropout")
        before, layer.rate = layer.rate, body.number(given, "rate", 0, 1)
        return lambda: setattr(layer, "rate", before)


def weight(layer: Layer, given: dict[str, Any]) -> Array:
    """The array of weights that given["name"] names."""
    name = body.name(given, "name")
    if name not in layer.weights:
        kinds = ", ".join(layer.weights) or "none"
        raise ValueError(f"name={name!r}: layer {layer.name!r} has the weights: {kinds}")
    return layer.weights[name]


def _assign(array: Array, index: tuple[int, ...], value: Any) -> Callable[[], None]:
    before = array[index]  # a NumPy scalar: no view
    array[index] = value
    return lambda: array.__setitem__(index, before)


def _restore(layer: Layer, which: int, values: Filter) -> None:
    for name, value in values.items():
        layer.params[name][..., which] = value
