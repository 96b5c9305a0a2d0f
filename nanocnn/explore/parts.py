"""What an answer carries besides its JSON: arrays, whole or a part, with their range."""

from typing import Any, NamedTuple

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError, unknown
from ..models.structure import Structure
from ..models.worked_example import LayerTrace, Trace
from . import body

MOST_NUMBERS = 1 << 20  # in the arrays of one request
MOST_REQUESTS = 256
WHAT = ("x", "y", "z", "dx", "dy", "dz")
NONE = "not computed: the loss computes the gradient of the last activation with its own, in one"


class Part(NamedTuple):
    """An array of an answer, and what its descriptor says besides dtype and shape.

    about  "whole": the least and the largest finite number of the whole array, or None;
           "full_shape": its shape; or "missing": why there is no such array (`array` is empty)
    """

    array: Array
    about: dict[str, Any]


class Request(NamedTuple):
    """One array that a page asks for: `layer` None is the model's input."""

    layer: str | None
    what: str
    at: tuple[int | slice, ...] | None
    place: str


def requests(model: Structure, given: dict[str, Any]) -> list[Request]:
    """The array requests of a body, checked as far as they can be without a trace."""
    asked = given.get("arrays", [])
    if not isinstance(asked, list) or len(asked) > MOST_REQUESTS:
        raise ValueError(f"arrays={asked!r:.80}, expected a list of at most {MOST_REQUESTS}")
    return [_request(model, each, f"arrays[{i}]") for i, each in enumerate(asked)]


def _request(model: Structure, given: Any, place: str) -> Request:
    given = body.mapping(given, place, ("layer", "what", "index"))
    layer = body.name(given, "layer", place, optional=True)
    if layer is not None:
        model.get_layer(layer)
    return Request(layer, body.name(given, "what", place), index(given, place), place)


def index(given: dict[str, Any], place: str) -> tuple[int | slice, ...] | None:
    """The index in a body: a part for `cut`, or None for all."""
    if given.get("index") is None:
        return None
    place = f"{place}: index"
    items = given["index"]
    if not isinstance(items, list) or len(items) > 8:
        raise ValueError(f"{place}={items!r:.80}, expected a list with an item for each axis")
    return tuple(_axis(item, f"{place}[{i}]") for i, item in enumerate(items))


def _axis(item: Any, place: str) -> int | slice:
    """None is the whole axis, an integer one position, [start, stop] those between."""
    if item is None:
        return slice(None)
    if isinstance(item, list) and len(item) == 2:
        start, stop = (body.at_least(0, end, place) for end in item)
        return slice(start, stop)
    return body.at_least(0, item, place)


def select(
    model: Structure, trace: Trace, asked: list[Request], ranges: dict[tuple[str, str], Any]
) -> list[Part]:
    """The arrays of a trace that were asked for; `ranges` remembers those of whole arrays."""
    parts, numbers = [], 0
    for request in asked:
        part = _select(model, trace, request, ranges)
        numbers += part.array.size
        if numbers > MOST_NUMBERS:
            raise ValueError(
                f"{request.place}: more than {MOST_NUMBERS:,} numbers in one request, expected "
                "parts of the arrays, by index"
            )
        parts.append(part)
    return parts


def _select(
    model: Structure, trace: Trace, request: Request, ranges: dict[tuple[str, str], Any]
) -> Part:
    array = find(model, trace, request.layer, request.what, request.place)
    if array is None:
        return Part(np.empty(0, np.float32), {"missing": f"{request.what}: {NONE}"})
    key = request.layer or "", request.what
    if key not in ranges:
        ranges[key] = value_range(array)
    about = {"whole": ranges[key], "full_shape": list(array.shape)}
    return Part(cut(array, request.at, request.place), about)


def find(
    model: Structure, trace: Trace, layer: str | None, what: str, place: str = "arrays"
) -> Array | None:
    """The array `what` of a layer, without the batch axis; None where it is not computed."""
    if layer is None:
        known = {"x": trace.x, "dx": trace.dx}
        if what not in known:
            raise unknown(f"{place}: what of the model's input", what, known)
        return known[what][0]
    step = trace[layer]
    kind, _, rest = what.partition(":")
    if kind in WHAT and not rest:
        found: Array | None = getattr(step, kind)
        return None if found is None else found[0]
    params = {**step.params, **model.get_layer(layer).state}
    named = {"param": params, "grad": step.grads, "saved": saved(step)}
    if kind not in named:
        words = [*WHAT, *(f"{kind}:{name}" for kind, each in named.items() for name in each)]
        raise unknown(f"{place}: what of layer {layer!r}", what, words)
    if rest not in named[kind]:
        words = [f"{kind}:{name}" for name in named[kind]]
        raise unknown(f"{place}: what of layer {layer!r}", what, words)
    return named[kind][rest]


def saved(step: LayerTrace) -> dict[str, Array]:
    """What a layer kept for its backward pass, without the batch axis where there is one."""
    return {
        name: value[0] if value.ndim > 1 and len(value) == 1 else value
        for name, value in step.saved.items()
        if isinstance(value, np.ndarray) and value.dtype != np.uint64  # keys of random numbers
    }


def cut(array: Array, index: tuple[int | slice, ...] | None, place: str) -> Array:
    """The part of an array at an index of all axes; ShapeError for another."""
    if index is None:
        return array
    if len(index) != array.ndim:
        raise ShapeError(
            f"{place}: index of {len(index)} axes, expected {array.ndim}: shape {array.shape}"
        )
    for axis, (item, size) in enumerate(zip(index, array.shape, strict=True)):
        ends = (item.start or 0, item.stop or 0) if isinstance(item, slice) else (item, item + 1)
        if item != slice(None) and not ends[0] < ends[1] <= size:
            shown = list(ends) if isinstance(item, slice) else item
            raise ShapeError(
                f"{place}: index[{axis}]={shown}, expected 0 to {size - 1}, or [start, stop] with "
                f"start < stop <= {size}"
            )
    return np.asarray(array[index])


def value_range(array: Array) -> list[float] | None:
    """The least and the largest finite number."""
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        array = array if finite.all() else array[finite]
    return [float(array.min()), float(array.max())] if array.size else None
