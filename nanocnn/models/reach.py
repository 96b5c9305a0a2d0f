"""Which cells a cell is computed from: of one layer (`reach`), and back to the image.

`receptive_field` marks the cells of each layer exactly, from the layers' own windows; its boxes
are the smallest that hold them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError, unknown
from ..common.tables import sizes
from ..common.validate import flag, integer
from ..layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    RandomErasing,
    ZeroPadding2D,
)
from ..layers.activation import BaseActivation
from ..layers.augmentation import RandomTransform
from ..layers.pooling import GlobalPooling2D, Pooling2D
from ..layers.scaling import Affine
from .structure import Structure

Shape = tuple[int, ...]
SAME = (BatchNormalization, Dropout, Input, Affine, RandomTransform, BaseActivation)
ONE = (1, 1)


@dataclass(frozen=True)
class Reach:
    """The cells of a layer's input that one cell of its output is computed from.

    kind  "window"   cell (i, j) sees rows i * strides[0] + start[0] + dilation[0] * (0 to
                     size[0] - 1), columns likewise; those outside of the input are padding. Of
                     `channels`: "all" or the "same" one
          "all"      every cell
          "same"     the cell at the same place
          "reshape"  the cell with the same number, counted along the last axis first
          "channel"  all cells of the same channel (last axis)
          "row"      the cells at the same place in all channels
          "unknown"  may be any: custom layers, random maps of the image in training
    """

    kind: str
    size: tuple[int, int] | None = None
    strides: tuple[int, int] | None = None
    start: tuple[int, int] | None = None
    dilation: tuple[int, int] | None = None
    channels: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As values that JSON can hold: lists for tuples, and nothing that is None."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in found.items()}


def reach(layer: Layer, training: bool = False) -> Reach:
    """Which cells of its input a cell of the layer's output is computed from, by its geometry.

    `training`: as in a training pass, where random transforms move pixels. Batch normalization is
    "same" there too: that all cells share the batch's mean is left out. The layer must be built.
    """
    training = flag(training, "training")
    if not isinstance(layer, Layer):
        raise ValueError(f"layer={layer!r:.80}, expected a layer")
    if not layer.built:
        raise ValueError(f"layer {layer.name!r} is not built: its geometry depends on the input")
    if layer.is_custom:
        return Reach("unknown")
    if isinstance(layer, (Conv2D, Pooling2D)):
        w = layer.window
        channels = "all" if isinstance(layer, Conv2D) else "same"
        return Reach(
            "window", (w.KH, w.KW), (w.SH, w.SW), (-w.top, -w.left), (w.DH, w.DW), channels
        )
    if isinstance(layer, ZeroPadding2D):
        (top, _), (left, _) = layer.padding
        return Reach("window", ONE, ONE, (-top, -left), ONE, "same")
    if isinstance(layer, RandomTransform) and training and layer.active:
        return Reach("same" if isinstance(layer, RandomErasing) else "unknown")
    if isinstance(layer, BaseActivation) and layer.activation == "softmax":
        return Reach("row")
    for kinds, name in ((Dense, "all"), (Flatten, "reshape"), (GlobalPooling2D, "channel")):
        if isinstance(layer, kinds):
            return Reach(name)
    return Reach("same" if isinstance(layer, SAME) else "unknown")


class Link(NamedTuple):
    """One layer on the way back: its name, reach, and shapes without the batch axis."""

    name: str
    reach: Reach
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True)
class Field:
    """The cells of one layer's output (or of the input) that another cell is computed from.

    top, left, bottom, right  the smallest box around them: rows top to bottom - 1, columns left to
              right - 1, within the array; all 0 where there are none (a cell of padding). Of an
              output (K,), which counts as one row, columns are its numbers
    channels  (first, last + 1) of the channels, the last axis; (0, 1) of an output without them
    mask      which cells they are, exactly: booleans of the output's shape
    """

    top: int
    left: int
    bottom: int
    right: int
    channels: tuple[int, int]
    mask: Array

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right)."""
        return self.top, self.left, self.bottom, self.right

    def __repr__(self) -> str:
        return f"Field(box={self.box}, channels={self.channels}, cells={int(self.mask.sum())})"


def receptive_field(model: Structure, layer: str | int, cell: Any) -> dict[str, Field]:
    """The cells that `cell` of the output of `layer` is computed from: {name: `Field`}.

    model  a built Sequential
    layer  a layer's name, or its position
    cell   an index into the output without the batch axis: (row, column, channel) or a number; a
           shorter one, (row, column), takes all of the rest

    For each layer before, by its name, and for the input, as "" and first. They are those of an
    inference; see `reach`. ValueError for an unknown layer, ShapeError for a cell out of range.
    """
    if not isinstance(model, Structure):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    model._require_built()
    last = position(layer, [each.name for each in model.layers], "layer={}")
    links = [
        Link(each.name, reach(each), each.input_shape, each.output_shape)
        for each in model.layers[: last + 1]
    ]
    return fields(links, cell)


def fields(links: Sequence[Link], cell: Any) -> dict[str, Field]:
    """The fields of `cell` of the last layer's output, from the input on."""
    last = links[-1]
    mask = np.zeros(last.output_shape, bool)
    mask[checked_cell(cell, last.output_shape, f"the output of layer {last.name!r}")] = True
    names = ["", *(link.name for link in links[:-1])]
    found: list[Field] = []
    for link in reversed(links):
        mask = _seen(link, mask)
        found.append(_field(mask))
    return dict(zip(names, reversed(found), strict=True))


def position(which: str | int, names: Sequence[str], what: str) -> int:
    """The position of the layer that `which` names; `what`, with {} for it, begins the error."""
    if isinstance(which, str):
        if which not in names:
            raise unknown("layer", which, names)
        return names.index(which)
    count = len(names)
    place = isinstance(which, (int, np.integer)) and not isinstance(which, bool)
    if not place or not -count <= which < count:
        raise ValueError(
            f"{what.format(f'{which!r:.80}')}, expected a layer's name ({', '.join(names)}) "
            f"or its place, from 0 to {count - 1} or from -{count} to -1"
        )
    return int(which) % count


def checked_cell(cell: Any, shape: Shape, of: str, word: str = "cell") -> tuple[int, ...]:
    """`cell` as an index into an array of `shape`, or of its first axes; ShapeError otherwise.

    `of` and `word`: names of the array and of the argument, for the error.
    """
    items = tuple(cell) if isinstance(cell, (tuple, list)) else (cell,)
    index = tuple(integer(item, word, 0) for item in items)
    inside = all(i < n for i, n in zip(index, shape, strict=False))
    if not (0 < len(index) <= len(shape) and inside):
        raise ShapeError(
            f"{word}={cell!r:.80}, expected an index into {of}, shape ({sizes(shape)})"
        )
    return index


def _seen(link: Link, mask: Array) -> Array:
    """The cells of the layer's input that those of its output in `mask` are computed from."""
    shape, kind = link.input_shape, link.reach.kind
    if kind == "window":
        return _in_windows(link.reach, mask, shape)
    if kind in ("same", "reshape"):
        return mask.reshape(shape)
    if kind == "row":
        mask = np.asarray(mask.any(axis=-1, keepdims=True))
    elif kind == "channel":
        mask = mask.reshape(-1, shape[-1])
    else:  # all, unknown
        mask = np.asarray(mask.any())
    return np.broadcast_to(mask, shape).copy()


def _in_windows(reach: Reach, mask: Array, shape: Shape) -> Array:
    """The cells of an image of `shape` (H,W,C) that the windows at `mask` (OH,OW,F) cover."""
    assert reach.size and reach.strides and reach.start and reach.dilation
    if reach.channels == "all":
        mask = np.asarray(mask.any(axis=-1, keepdims=True))
    found = np.zeros(shape, bool)
    rows, columns = _where(mask, 0), _where(mask, 1)
    for kh, kw in product(*map(range, reach.size)):
        h = rows * reach.strides[0] + reach.start[0] + kh * reach.dilation[0]
        w = columns * reach.strides[1] + reach.start[1] + kw * reach.dilation[1]
        inside_h, inside_w = (h >= 0) & (h < shape[0]), (w >= 0) & (w < shape[1])
        found[np.ix_(h[inside_h], w[inside_w])] |= mask[np.ix_(rows[inside_h], columns[inside_w])]
    return found


def _field(mask: Array) -> Field:
    rows, columns = (1, *mask.shape)[-2:] if mask.ndim < 3 else mask.shape[:2]
    cells = mask.reshape(rows, columns, -1)
    if not mask.any():
        return Field(0, 0, 0, 0, (0, 0), mask)
    places = [_where(cells, axis) for axis in range(3)]
    (top, bottom), (left, right), channels = ((int(p[0]), int(p[-1]) + 1) for p in places)
    return Field(top, left, bottom, right, channels, mask)


def _where(mask: Array, axis: int) -> Array:
    """The indices along one of three axes at which any cell is marked."""
    return np.flatnonzero(np.any(mask, axis=tuple({0, 1, 2} - {axis})))
