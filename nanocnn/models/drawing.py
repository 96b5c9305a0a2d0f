"""A drawing of a network: a box for each layer, from the input down to the output."""

from pathlib import Path
from typing import Any

from ..common.files import path_name
from ..common.validate import one_of
from ..layers import Layer
from .structure import Structure

ROW, BOX, WIDTH = 0.72, 0.48, 6.4  # inches: from box to box, the height of one, of all
TEXT, SMALL = 9.5, 8.5  # points
CROSS, ELLIPSIS = "\N{MULTIPLICATION SIGN}", "\N{HORIZONTAL ELLIPSIS}"
# The arguments that are shown, with the word for each, and values that are left out.
SHOWN = {
    "kernel_size": "kernel {}", "pool_size": "pool {}", "strides": "stride {}",
    "dilation_rate": "dilation {}", "padding": "{} padding", "rate": "rate {}",
    "momentum": "momentum {}", "negative_slope": "slope {}", "scale": "scale {}",
    "offset": "offset {}", "activation": "{}",
}  # fmt: skip
USUAL = ((1, 1), "valid", "linear")


def network(model: Any, path: str | Path | None = None) -> Any:
    """Draw the layers with their settings, output shapes and numbers of parameters.

    model  a Sequential whose input shape is known
    path   where to save the figure, if anywhere: a name that ends in .png, .svg or .pdf

    Returns a matplotlib Figure. Raises ValueError for another model or ending, OSError for a path
    that cannot be written, RuntimeError for a model that is not built.
    """
    if not isinstance(model, Structure):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    model._require_built()
    if path is not None:
        path = path_name(path)
        one_of(Path(path).suffix, (".png", ".svg", ".pdf"), "path: ending")
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    height = ROW * len(model.layers) + 0.45
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(height, 0))
    axis.axis("off")
    title = f"{_short(model.name, 50)}: {model.count_params():,} parameters"
    axis.text(WIDTH / 2, 0.25, title, ha="center", va="center", fontsize=TEXT + 1)
    left, middle, right = 0.25, WIDTH / 2, WIDTH - 0.25
    for row, layer in enumerate(model.layers):
        top = 0.5 + ROW * row
        fill = "#DCEBF7" if layer.params else "#F4F4F4"  # grey: nothing is learned
        box = FancyBboxPatch((left, top), right - left, BOX, "round,pad=0,rounding_size=0.06",
                             facecolor=fill, edgecolor="black", linewidth=1.0)  # fmt: skip
        axis.add_patch(box)
        if row:
            arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (middle, top), (middle, top - ROW + BOX), arrowprops=arrow)
        count, settings = layer.count_params(), _settings(layer)
        shape = CROSS.join(map(str, layer.output_shape))
        name = f"{_short(layer.name, 32)} ({_short(type(layer).__name__, 24)})"
        upper, lower = (0.16, 0.35) if count or settings else (BOX / 2, BOX / 2)
        for x, y, side, size, text in (
            (left + 0.12, upper, "left", TEXT, name),
            (left + 0.12, lower, "left", SMALL, _short(settings, 56)),
            (right - 0.12, upper, "right", TEXT, shape),
            (right - 0.12, lower, "right", SMALL, f"{count:,} parameters" if count else ""),
        ):
            axis.text(x, top + y, text, ha=side, va="center", fontsize=size)
    if path is not None:
        figure.savefig(path)
    return figure


def _settings(layer: Layer) -> str:
    """The arguments of a layer that its output shape does not show: "kernel 5x5, relu"."""
    found = []
    for name, word in SHOWN.items():
        value = getattr(layer, name, None)
        value = getattr(value, name, value)  # the activation of a layer is an Activation
        known = isinstance(value, (int, float, str, tuple)) and not isinstance(value, bool)
        if known and value not in USUAL:
            text = CROSS.join(map(str, value)) if isinstance(value, tuple) else str(value)
            found.append(word.format(text))
    return ", ".join(found)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS
