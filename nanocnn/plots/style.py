"""What all figures share: sizes, line styles, labels that fit, images, checks of arguments."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from ..common.arrays import Array as Array
from ..common.errors import ShapeError
from ..common.validate import numbers
from ..data.batches import take
from ..models.sequential import Sequential

WIDTH = 8.0  # inches, at 100 dots per inch: 800 pixels, the width of a README
SMALLEST = 7.5  # points: the smallest text
# Okabe and Ito's palette for the colour-blind, from dark to light; dashes and markers repeat it.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "x", "P", "*", "<", "+", ">", "d")
INK, PAPER = "gray_r", "gray"  # 0 is white; 0 is black


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` x `height` inches whose labels do not overlap."""
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def line_styles() -> Iterator[dict[str, Any]]:
    """A style for each line: dashes and markers tell 72 lines apart without colour."""
    for n in count():
        yield {
            "color": COLOURS[n % len(COLOURS)], "linestyle": DASHES[n % len(DASHES)],
            "marker": MARKERS[(n + n // len(MARKERS)) % len(MARKERS)], "markersize": 4.5,
        }  # fmt: skip


def spaced_markers(points: int) -> int:
    """`markevery` for about ten markers on a line of so many points."""
    return max(1, points // 10)


def inches(text: str, size: float, bold: bool = False) -> float:
    """The width of a text in inches, at a font size in points."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    lines = (text_to_path.get_text_width_height_descent(line, font, False)[0]
             for line in text.split("\n"))  # fmt: skip
    return float(max(lines)) / 72


def shortened(text: str, width: float, size: float, bold: bool = False) -> str:
    """The text, cut to `width` inches with an ellipsis if it is longer."""
    if inches(text, size, bold) <= width:
        return text
    short = text
    while len(short) > 1 and inches(short + "\N{HORIZONTAL ELLIPSIS}", size, bold) > width:
        short = short[:-1]
    return short + "\N{HORIZONTAL ELLIPSIS}"


def name_ticks(axis: Axes, which: str, names: Sequence[str], cell: float) -> None:
    """Label the ticks 0, 1, 2, ... of an axis with names that do not overlap.

    which  "x" or "y"
    cell   inches between two ticks. Wider names are rotated; if there is not enough room even
           then, only every second, third, ... name is written
    """
    line = 1.35 / 72  # inches per point of font size, with a gap
    size = min(9.0, max(SMALLEST, cell / line))
    texts = [shortened(name, 1.6, size) for name in names]
    upright = which == "x" and max(inches(text, size) for text in texts) > cell - 0.06
    step = 1 if which == "x" and not upright else int(np.ceil(size * line / cell))
    places = range(0, len(texts), step)
    ticks = {"x": axis.set_xticks, "y": axis.set_yticks}[which]
    ticks(places, [texts[i] for i in places], fontsize=size, rotation=90 if upright else 0)


def finite_range(array: Array) -> tuple[float, float]:
    """The minimum and maximum of the finite numbers; (0, 0) if there are none."""
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def show_image(axis: Axes, image: Array, cmap: str = PAPER, **options: Any) -> Any:
    """Draw an image (H,W), (H,W,1) or (H,W,3) with a frame and no ticks.

    Colours outside 0..1 (floats) or 0..255 (integers) are scaled to 0..1 by their range.
    """
    axis.set(xticks=[], yticks=[])
    flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if flat.ndim == 3:
        low, high = finite_range(flat)
        if low < 0 or high > (1 if flat.dtype.kind == "f" else 255):
            flat = (flat.astype(float) - low) / ((high - low) or 1)
    return axis.imshow(flat, cmap=cmap, interpolation="nearest", **options)


def built(model: Any) -> Sequential:
    """The model if it is a Sequential with weights; else ValueError."""
    if not isinstance(model, Sequential):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    if not model.built:
        raise ValueError(
            f"model {model.name!r} has no weights yet: start it with an Input, or call fit"
        )
    return model


def one_image(model: Sequential, image: Any) -> Array:
    """One image as a batch (1,H,W,C), scaled as in training.

    image  (H,W), (H,W,C) or (1,H,W,C), uint8 or float; ValueError for anything else
    """
    array = numbers(image, "image", 1)
    if array.ndim <= len(model.input_shape):
        array = array[np.newaxis]
    if len(array) != 1:
        raise ShapeError(f"image: got {len(array)} images, shape {array.shape}, expected one")
    return take(model._images(array, "image"), slice(0, 1), model.dtype)
