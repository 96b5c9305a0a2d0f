"""What all pictures share: size, line styles, and how an image is put on an axis."""

from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..arrays import Array as Array
from ..data.batches import take

if TYPE_CHECKING:
    from ..sequential import Sequential


WIDTH = 8.0  # inches, at 100 dots an inch: 800 pixels, the width of a README
# Okabe and Ito's colours for the colour-blind, from dark to light; dashes and markers say the same.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "x")
INK, PAPER = "gray_r", "gray"  # 0 is white; 0 is black


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` x `height` inches that keeps its labels apart."""
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def line_styles() -> Iterator[dict[str, Any]]:
    """Styles for one line after the other, told apart without colour."""
    for colour, dash, marker in cycle(zip(COLOURS, DASHES, MARKERS, strict=True)):
        yield {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4.5}


def spaced_markers(points: int) -> int:
    """`markevery` for a line of so many points: about ten markers."""
    return max(1, points // 10)


def show_image(axis: Axes, image: Array, cmap: str = PAPER, **options: Any) -> Any:
    """An image (H,W) or (H,W,1) without ticks, its frame kept."""
    axis.set(xticks=[], yticks=[])
    flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return axis.imshow(flat, cmap=cmap, interpolation="nearest", **options)


def one_image(model: "Sequential", image: Any) -> Array:
    """One image as a batch (1,H,W,C), scaled as in training.

    image  (H,W) or (H,W,C), uint8 or float, or already (1,H,W,C). Raises ValueError for another.
    """
    array = np.asarray(image)
    if array.shape[:1] != (1,) or array.ndim == len(model.input_shape):
        array = array[np.newaxis]
    return take(model._images(array, "image"), slice(0, 1), model.dtype)
