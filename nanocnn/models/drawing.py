"""A drawing of a network: a box for each layer, from the input down to the output."""

from pathlib import Path
from typing import Any

from ..common.files import path_name
from ..common.validate import one_of
from ..layers import Layer
from .structure import Structure

ROW, BOX, WIDTH = 0.72, 0.48, 6.4  # inches: from box to box, the height of one, of all
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

    Returns a matplotlib Figure. Raises ValueError for another model or ending, RuntimeError for a
    model that is not built, OSError for a path that cannot be written.
    """
    if not isinstance(model, Structure):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    model._require_built()
    if path is not None:
        one_of(Path(path_name(path)).suffix, (".png", ".svg", ".pdf"), "path: ending")
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    height = ROW * len(model.chain) + 0.45
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    axis.axis("off")
    left, middle, right = 0.25, WIDTH / 2, WIDTH - 0.25
    title = f"{_short(model.name, 50)}: {model.count_params():,} parameters"
    axis.text(middle, 0.25, title, ha="center", va="center", fontsize=10.5)
    for row, layer in enumerate(model.chain):
        top = 0.5 + ROW * row
        fill = "#DCEBF7" if layer.params else "#F4F4F4"  # grey: nothing is learned
        shape = "round,pad=0,rounding_size=0.06"
        axis.add_patch(FancyBboxPatch((left, top), right - left, BOX, shape, fc=fill, ec="black"))
        if row:
            arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (middle, top), (middle, top - ROW + BOX), arrowprops=arrow)
        name = f"{_short(layer.name, 32)} ({_short(type(layer).__name__, 24)})"
        count, settings = layer.count_params(), _short(_settings(layer), 56)
        size = f"{count:,} parameters" if count else ""
        upper, lower = (0.16, 0.35) if size or settings else (BOX / 2, BOX / 2)
        for place, one, two in (("left", name, settings), ("right", _by(layer.output_shape), size)):
            x = left + 0.12 if place == "left" else right - 0.12
            axis.text(x, top + upper, one, ha=place, va="center", fontsize=9.5)
            axis.text(x, top + lower, two, ha=place, va="center", fontsize=8.5)
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
            found.append(word.format(_by(value) if isinstance(value, tuple) else value))
    return ", ".join(found)


def _by(sizes: tuple[Any, ...]) -> str:
    return CROSS.join(map(str, sizes))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS
