"""What an answer carries besides its JSON: arrays, whole or a part, with their range."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError, unknown
from ..common.validate import integer
from ..models.structure import Structure
from ..models.worked_example import LayerTrace, Trace
from . import body

MOST_NUMBERS = 1 << 20  # in the arrays of one request
MOST_REQUESTS = 256
WHAT = ("x", "y", "z", "dx", "dy", "dz")
FUSED = "not computed: the loss computes the gradient of the last activation with its own, in one"
NOT_KEPT = "the layer keeps no such array for its backward pass in this mode"


class Part(NamedTuple):
    """An array of an answer, and what its descriptor says besides dtype and shape.

    about  "whole": the least and the largest finite number of the whole array, or None;
           "full_shape": its shape; or "missing": why there is no such array (`array` is empty)
    """

    array: Array
    about: dict[str, Any]


Answer = tuple[dict[str, Any], list[Array | Part]]  # of an action: the result and its arrays


class Request(NamedTuple):
    """One array that a page asks for: `layer` None is the model's input."""

    layer: str | None
    what: str
    at: tuple[int | slice, ...] | None
    place: str


def requests(model: Structure, given: dict[str, Any]) -> list[Request]:
    """The array requests of a body. All is checked but the indices of saved arrays.

    Only a trace knows those, and an answer's trace is made after what the body changes.
    """
    asked = given.get("arrays", [])
    if not isinstance(asked, list) or len(asked) > MOST_REQUESTS:
        raise ValueError(f"arrays={asked!r:.80}, expected a list of at most {MOST_REQUESTS}")
    found = [_request(model, each, f"arrays[{i}]") for i, each in enumerate(asked)]
    _cut_all((each, _stand_in(model, each)) for each in found)
    return found


def _request(model: Structure, given: Any, place: str) -> Request:
    given = body.mapping(given, place, ("layer", "what", "index"))
    layer, what = body.name(given, "layer", place, optional=True), body.name(given, "what", place)
    known = _shapes(model, layer)
    if what not in known and (layer is None or not what.startswith("saved:")):
        of = "the model's input" if layer is None else f"layer {layer!r}"
        raise unknown(f"{place}: what of {of}", what, known)
    return Request(layer, what, index(given, place), place)


def _shapes(model: Structure, layer: str | None) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's arrays by name, but for saved ones; None: of the model's input."""
    if layer is None:
        return dict.fromkeys(("x", "dx"), model.input_shape)
    of = model.get_layer(layer)
    return {
        **{what: of.input_shape if "x" in what else of.output_shape for what in WHAT},
        **{f"param:{name}": array.shape for name, array in of.weights.items()},
        **{f"grad:{name}": array.shape for name, array in of.params.items()},
    }


def _stand_in(model: Structure, request: Request) -> Array | None:
    """An array of the shape that is asked for, which takes no memory."""
    shape = _shapes(model, request.layer).get(request.what)
    return None if shape is None else np.broadcast_to(np.float32(0), shape)


def _cut_all(asked: Iterable[tuple[Request, Array | None]]) -> list[Array | None]:
    """The parts of arrays that are asked for; ValueError for more numbers than one answer has."""
    parts, numbers = [], 0
    for request, array in asked:
        part = None if array is None else cut(array, request.at, request.place)
        numbers += 0 if part is None else part.size
        if numbers > MOST_NUMBERS:
            raise ValueError(
                f"{request.place}: more than {MOST_NUMBERS:,} numbers in one request, expected "
                "parts of the arrays, by index"
            )
        parts.append(part)
    return parts


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
        start, stop = (integer(end, place, 0) for end in item)
        return slice(start, stop)
    return integer(item, place, 0)


def select(
    model: Structure, trace: Trace, asked: list[Request], ranges: dict[tuple[str, str], Any]
) -> list[Array | Part]:
    """The arrays of a trace that were asked for; `ranges` remembers those of whole arrays."""
    arrays = [find(model, trace, each.layer, each.what) for each in asked]
    cuts = _cut_all(zip(asked, arrays, strict=True))
    parts: list[Array | Part] = []
    for (layer, what, *_), array, part in zip(asked, arrays, cuts, strict=True):
        if array is None or part is None:
            parts.append(missing(f"{what}: {FUSED if what in WHAT else NOT_KEPT}"))
            continue
        key = layer or "", what
        if key not in ranges:
            ranges[key] = value_range(array)
        parts.append(Part(part, {"whole": ranges[key], "full_shape": list(array.shape)}))
    return parts


def missing(why: str) -> Part:
    """In place of an array that there is not."""
    return Part(np.empty(0, np.float32), {"missing": why})


def find(model: Structure, trace: Trace, layer: str | None, what: str) -> Array | None:
    """The array `what` of a layer, without the batch axis; None where it is not computed."""
    if layer is None:
        return {"x": trace.x, "dx": trace.dx}[what][0]
    step = trace[layer]
    kind, _, name = what.partition(":")
    if not name:
        found: Array | None = getattr(step, kind)
        return None if found is None else found[0]
    params = {**step.params, **model.get_layer(layer).state}
    return {"param": params, "grad": step.grads, "saved": saved(step)}[kind].get(name)


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
