"""Figures of how numbers are computed: im2col pixel by pixel, and a pass through a network."""

from textwrap import wrap
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..common.validate import integer
from ..kernels import reference
from ..kernels.geometry import Window
from ..models.worked_example import LayerTrace, Trace, backward_formulas
from .style import WIDTH, Array, finite_range, inches, new_figure

PAD = -1  # padding, among pixel numbers
MAX_CELLS = 12  # rows and columns of a table in network_pass
CELL, GAP = 0.205, 1.2  # inches of the smallest cell that fits "-.45"; cells between columns


def im2col(window: Window, place: int | None = None) -> Figure:
    """How im2col copies pixels: the image on the left, the matrix of windows on the right.

    window  from `kernels.geometry.sliding_window`: up to 64 pixels and 36 windows of up to 16 cells
    place   the row of the window to outline; None takes one in the middle. One of its pixels is
            hatched, and so are all copies of that pixel in the matrix
    """
    if not isinstance(window, Window):
        raise ValueError(f"im2col: window={window!r:.80}, expected a Window of sliding_window")
    H, W, OH, OW = window.H, window.W, window.OH, window.OW
    cells = window.KH * window.KW
    if H * W > 64 or OH * OW > 36 or cells > 16:
        raise ValueError(
            f"im2col: {H}x{W} pixels, {OH * OW} windows of {cells} cells, expected at most 64 "
            "pixels and 36 windows of 16 cells: more would be illegible"
        )
    place = (OH // 2) * OW + OW // 2 if place is None else integer(place, "place", 0)
    if place >= OH * OW:
        raise ValueError(f"im2col: place={place}, expected 0 to {OH * OW - 1}")
    pixels = np.arange(H * W).reshape(1, H, W, 1)
    matrix = reference.im2col(pixels, window, PAD)  # (OH*OW, KH*KW)
    rows, columns = (window.top + H + window.bottom), (window.left + W + window.right)
    image = np.full((rows, columns), PAD)
    image[window.top : window.top + H, window.left : window.left + W] = pixels[0, :, :, 0]
    copies = {int(pixel): int((matrix == pixel).sum()) for pixel in matrix[place] if pixel != PAD}
    often = [pixel for pixel, count in copies.items() if count == max(copies.values())]
    star = often[len(often) // 2]

    wide = columns + 1.5 + cells + 1.5
    unit = min((WIDTH - 0.2) / wide, 0.42)
    figure = new_figure(max(rows, OH * OW) * unit + 0.9, max(wide * unit + 0.2, 6.4))
    left, right = figure.subplots(1, 2, width_ratios=(columns + 0.5, cells + 0.5))
    _grid(left, image, star)
    oh, ow = divmod(place, OW)
    for kh in range(window.KH):
        for kw in range(window.KW):
            corner = (ow * window.SW + kw * window.DW, oh * window.SH + kh * window.DH)
            left.add_patch(_frame(corner, 1, 1))
    _grid(right, matrix, star)
    right.add_patch(_frame((0, place), cells, 1))
    padding = " (grey: padding)" if (image == PAD).any() else ""
    left.set_title(f"image{padding}", fontsize=10)
    right.set_title(f"im2col: {OH * OW} windows \N{MULTIPLICATION SIGN} {cells} cells", fontsize=10)
    right.text(cells + 0.2, place + 0.5, f"\N{LEFTWARDS ARROW} {place}", va="center", fontsize=9)
    figure.supxlabel(
        f"thick frame: window {place} and its row; hatched: pixel {star} and its copies "
        f"({copies[star]}).\nBackward (col2im): the gradient of a pixel sums over its copies.",
        fontsize=9,
    )
    return figure


def _grid(axis: Axes, numbers: Array, star: int) -> None:
    rows, columns = numbers.shape
    axis.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
    axis.axis("off")
    for (r, c), number in np.ndenumerate(numbers):
        pad, marked = number == PAD, number == star
        axis.add_patch(
            Rectangle((c, r), 1, 1, facecolor="#DDDDDD" if pad else "white", edgecolor="#888888",
                      hatch="////" if marked else None, lw=0.6)
        )  # fmt: skip
        axis.text(
            c + 0.5, r + 0.5, "0" if pad else str(number), ha="center", va="center", fontsize=9,
            color="#666666" if pad else "black",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8} if marked else None,
        )  # fmt: skip


def _frame(corner: tuple[int, int], width: int, height: int) -> Rectangle:
    return Rectangle(corner, width, height, fill=False, edgecolor="#D55E00", lw=2.4)


def network_pass(trace: Trace, sample: int = 0) -> Figure:
    """The numbers of a pass through a small network: forward above, gradients below.

    trace   of a network with images of up to 12x12 pixels and up to 12 units. Only the first
            channel and filter and the first rows of a long kernel are drawn, with a note
    sample  the sample of the batch; gradients of parameters are sums over the whole batch

    The figure is 8 inches wide, or up to 12 if the numbers need it; beyond that ValueError.
    """
    if not isinstance(trace, Trace):
        raise ValueError(f"network_pass: {trace!r:.80}, expected a trace: model.trace(x, y)")
    if integer(sample, "sample", 0) >= len(trace.x):
        raise ValueError(f"sample={sample}, expected 0 to {len(trace.x) - 1}")
    steps = [_Step("input", "x", trace.x[sample], trace.dx[sample], None)]
    for layer in trace:
        steps += _steps(layer, sample)
    size = max(max(_table(step.up).shape) for step in steps)
    if size > MAX_CELLS or len(steps) > 12:
        raise ValueError(
            f"network_pass: {len(steps)} steps with arrays of up to {size} rows or columns, "
            f"expected at most 12 and {MAX_CELLS}: more would be illegible; "
            "print(trace) shows any network"
        )
    columns = [_column(step) for step in steps]
    # Coordinates are in cells; a cell is as wide and as high as one number.
    cell, width = _cell_size(columns)
    figure = new_figure(1.0)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    tall = max(3, *(_table(step.up).shape[0] for step in steps))  # 3: room for "its gradient"
    kernels = [column.kernel for column in columns if column.kernel is not None]
    deep = max(3, *map(len, kernels), 0)
    line = 0.14 / cell  # of text, in cells
    lift = line * max(column.labels[0].count("\n") for column in columns)
    dip = line * max(column.labels[1].count("\n") for column in columns)
    rows = np.cumsum([1.6 + lift, tall + 1.8 + lift, tall + 1.8 + dip, deep + 1.8 + dip])
    left = 1.8
    for i, (step, column) in enumerate(zip(steps, columns, strict=True)):
        wide = max(column.cells, column.text / cell)
        middle = left + wide / 2
        axis.text(middle, 0.0, step.title, ha="center", va="center", fontsize=9, weight="bold")
        part = column.labels[0]
        _numbers(axis, _table(step.up), middle, rows[0], step.symbol + part)
        if step.down is None:
            axis.text(middle, rows[1] + 1, "not\ncomputed", ha="center", va="center", fontsize=9)
        else:
            _numbers(axis, _table(step.down), middle, rows[1], f"d{step.symbol}{part}")
        if step.layer is not None and column.kernel is not None:
            part, dweight = column.labels[1], _table(step.layer.dweight, True)[:MAX_CELLS]
            _numbers(axis, column.kernel, middle, rows[2], "kernel" + part)
            _numbers(axis, dweight, middle, rows[3], "dweight" + part)
        if i + 1 < len(steps):
            ends = np.array([left + wide + 0.15, left + wide + GAP - 0.15])
            _arrow(axis, ends, rows[0] + 0.5)
            _arrow(axis, ends[::-1], rows[1] + 0.5)
        left += wide + GAP
    bottom = rows[3] + deep if kernels else rows[1] + tall
    for row, text in zip(rows, ("forward", "backward", "parameter", "its gradient"), strict=True):
        if row < bottom:
            axis.text(0.2, row + 1, text, rotation=90, ha="center", va="center", weight="bold",
                      fontsize=9)  # fmt: skip
    lines = _formulas(trace)
    axis.text(0, bottom + 0.9, "\n".join(lines), family="monospace", fontsize=8, va="top")
    label = f", true class {trace.target[sample].argmax()}" if trace.target.ndim == 2 else ""
    across = width / cell
    axis.text(
        across / 2 - 0.4, -1.5, f"sample {sample}{label}: loss {trace.losses[sample]:.4f}; "
        f"L, the mean over {len(trace.losses)}: {trace.loss:.4f}", ha="center", fontsize=10,
    )  # fmt: skip
    high = bottom + 3.4 + cell + 0.16 * len(lines) / cell
    axis.set(xlim=(-0.4, across - 0.4), ylim=(high - 2.8, -2.8))
    figure.set_size_inches(width, high * cell)
    return figure


def _formulas(trace: Trace) -> list[str]:
    """The formulas of each layer's backward, in lines of up to 112 characters."""
    wide = max(len(layer.name) for layer in trace) + 2
    lines: list[str] = []
    for layer in trace:
        formulas = [f.replace(" ", "\xa0") for f in backward_formulas(layer).values()]
        first = f"{layer.name:<{wide}}"
        lines += wrap("; ".join(formulas), 112, initial_indent=first, subsequent_indent=" " * wide)
    return lines


class _Step(NamedTuple):
    """One column: a value, its gradient, and the layer with the parameters it depends on."""

    title: str
    symbol: str
    up: Array
    down: Array | None
    layer: LayerTrace | None


class _Column(NamedTuple):
    """The width of a step, in cells and in inches of text; its kernel; notes on what is drawn."""

    cells: int
    text: float
    kernel: Array | None
    labels: tuple[str, str]


def _column(step: _Step) -> _Column:
    part, of_kernel, kernel = "", "", None
    if step.up.ndim == 3 and step.up.shape[2] > 1:
        part = f"\nchannel 0 of {step.up.shape[2]}"
    if step.layer is not None and "kernel" in step.layer.params:
        whole_kernel = step.layer.params["kernel"]
        kernel = _table(whole_kernel, True)
        if whole_kernel.ndim == 4:
            C, F = whole_kernel.shape[2:]
            of_kernel = f"\nchannel 0 of {C}" * (C > 1) + f"\nfilter 0 of {F}" * (F > 1)
        elif len(kernel) > MAX_CELLS:
            of_kernel = f"\nrows 0-{MAX_CELLS - 1} of {len(kernel)}"
        kernel = kernel[:MAX_CELLS]
    cells = max(_table(step.up).shape[1], 0 if kernel is None else kernel.shape[1])
    words = [step.title] if step.down is not None else [step.title, "computed"]
    text = max(inches(step.title, 9, True), *(inches(t, 9) for t in (*words, part, of_kernel)))
    return _Column(cells, text, kernel, (part, of_kernel))


def _cell_size(columns: list[_Column]) -> tuple[float, float]:
    """The size of a cell and the width of the figure in inches: 8, or more if cells need it.

    Columns as wide as their text do not shrink with the cells, so there is no formula: sizes are
    tried.
    """

    def width(cell: float) -> float:
        return sum(max(c.cells * cell, c.text) + GAP * cell for c in columns) + 1.4 * cell

    sizes = [size for size in np.arange(0.3, CELL, -0.002) if width(size) <= WIDTH]
    cell = float(sizes[0]) if sizes else CELL
    if width(cell) > 12:
        raise ValueError(
            f"network_pass: {width(cell):.0f} inches wide, expected at most 12: "
            "more would be illegible; print(trace) shows any network"
        )
    return cell, max(width(cell), WIDTH)


def _steps(layer: LayerTrace, n: int) -> list[_Step]:
    """The columns of a layer: z before the activation, and its output."""
    if layer.kind == "Flatten":
        return []
    y, dy = layer.y[n], None if layer.dy is None else layer.dy[n]
    if not layer.activation:
        return [_Step(layer.name, "y", y, dy, layer)]
    assert layer.dz is not None
    return [
        _Step(layer.name, "z", layer.z[n], layer.dz[n], layer),
        _Step(layer.activation, "y", y, dy, None),
    ]


def _table(array: Array, kernel: bool = False) -> Array:
    """A 2-D array: the first channel of an image or filter of a kernel, units as a column."""
    while array.ndim > 2:
        array = array[..., 0]
    return array if array.ndim == 2 else array.reshape((1, -1) if kernel else (-1, 1))


def _numbers(axis: Axes, table: Array, middle: float, top: float, name: str) -> None:
    """Draw a table of numbers under its name; larger numbers have darker cells."""
    rows, columns = table.shape
    left, limit = middle - columns / 2, max(map(abs, finite_range(table))) or 1.0
    shade = np.nan_to_num(np.abs(table) / (1.8 * limit), nan=0.0, posinf=0.0)
    axis.text(middle, top - 0.25, name, ha="center", va="bottom", fontsize=9)
    for (r, c), value in np.ndenumerate(table):
        cell = Rectangle((left + c, top + r), 1, 1, lw=0.4, edgecolor="#888888",
                         facecolor=str(1 - shade[r, c]))  # fmt: skip
        axis.add_patch(cell)
        axis.text(left + c + 0.5, top + r + 0.5, _short(value), ha="center", va="center",
                  fontsize=7.5)  # fmt: skip
    axis.add_patch(Rectangle((left, top), columns, rows, fill=False, lw=1.0))


def _short(value: float) -> str:
    """Two digits: .46, -.03, 1.2, 12, 1e5; "0" is an exact zero."""
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    if abs(value) >= 9.95:
        return f"{value:.0f}"
    if abs(value) >= 0.995:
        return f"{value:.1f}"
    return f"{value:.2f}".replace("0.", ".", 1).replace("-.00", ".00")


def _arrow(axis: Axes, ends: Array, height: float) -> None:
    style = {"arrowstyle": "-|>", "lw": 1.2, "color": "black", "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (ends[1], height), (ends[0], height), arrowprops=style)
