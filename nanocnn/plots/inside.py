"""Figures of what is inside a network: filters, activations, gradient sizes."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..callbacks import Callback
from ..common.errors import unknown
from ..common.validate import integer
from ..layers import Conv2D, Dropout, Flatten
from ..models.sequential import Sequential
from ..models.worked_example import Trace
from .style import (
    INK,
    PAPER,
    WIDTH,
    Array,
    built,
    finite_range,
    line_styles,
    name_ticks,
    new_figure,
    one_image,
    show_image,
    spaced_markers,
)

CROSS = "\N{MULTIPLICATION SIGN}"
STAR = " *"  # after the label of a line with gaps
NO_GRADIENT = -1.0  # stands for the size if a layer has no such gradient


def filters(model: Sequential, layer: str | None = None, most: int | None = None) -> Figure:
    """The kernels of a convolution: black is negative, white positive, grey (as the frame) zero.

    layer  the name of the convolution; None takes the first one
    most   the maximum number of filters; None takes 32 for one input channel, else 16

    With several input channels a filter is a column of up to 8 channels, 16 filters per row.
    """
    conv = find_conv(model, layer, first=True)
    kernel = conv.params["kernel"]  # (KH,KW,C,F)
    most = (32 if kernel.shape[2] == 1 else 16) if most is None else integer(most, "most")
    C, F = min(kernel.shape[2], 8), min(kernel.shape[3], most)
    columns = min(F, 10 if C == 1 else 16)
    blocks = -(-F // columns)
    cell = min((WIDTH - 1.3) / columns, 0.9)
    heights = ([1.0] * C + [0.25] * (C > 1)) * blocks  # a thin empty row below each block
    figure = new_figure(sum(heights) * cell + 0.8, max(columns * cell + 1.3, 4.5))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    limit = max(map(abs, finite_range(kernel))) or 1.0
    axes: list[Axes] = []
    picture: Any = None
    for block in range(blocks):
        for c in range(C):
            for f in range(block * columns, min(F, (block + 1) * columns)):
                axis = figure.add_subplot(grid[block * (C + (C > 1)) + c, f % columns])
                picture = show_image(axis, kernel[:, :, c, f], PAPER, vmin=-limit, vmax=limit)
                for spine in axis.spines.values():
                    spine.set(color="#808080", linewidth=1.5)
                axes.append(axis)
    figure.colorbar(picture, ax=axes, shrink=0.9, aspect=12)
    of = f"{F} of {kernel.shape[3]}" if kernel.shape[3] > F else f"{F}"
    depth = f", channels 0 to {C - 1} of {kernel.shape[2]} downwards" if C > 1 else ""
    nonfinite = "" if np.isfinite(kernel).all() else "; not all are finite"
    figure.suptitle(
        f"{conv.name}: {of} filters of {kernel.shape[0]}{CROSS}{kernel.shape[1]}{depth}{nonfinite}",
        fontsize=10,
    )
    return figure


def activations(model: Sequential, image: Any, most: int = 8) -> Figure:
    """The output of every layer for one image: up to `most` maps per layer; units as a strip.

    image  (H,W) or (H,W,C)

    Each layer has its own scale; white is 0, or the layer's minimum if that is negative.
    """
    x, most = one_image(built(model), image), integer(most, "most")
    shown: list[tuple[str, Array]] = []
    for layer in model.chain:
        x = layer.run_forward(x, False, layer.memory)
        if not isinstance(layer, (Dropout, Flatten)):
            shown.append((layer.name, x[0]))
    columns = min(most, 10)
    lines = [-(-min(most, a.shape[2]) // columns) if a.ndim == 3 else 1 for _, a in shown]
    heights = [1.0 if a.ndim == 3 else 0.55 for _, a in shown]
    heights[-1] = 1.2 if shown[-1][1].size <= 20 else heights[-1]
    ratios = [height for height, n in zip(heights, lines, strict=True) for _ in range(n)]
    figure = new_figure(0.95 * sum(ratios) + 0.3)
    grid = figure.add_gridspec(len(ratios), columns, height_ratios=ratios)
    row = 0
    for (name, a), n in zip(shown, lines, strict=True):
        low, high = finite_range(a)
        scale = {"vmin": min(low, 0.0), "vmax": max(high, min(low, 0.0) + 1e-30)}
        if a.ndim == 3:
            for c in range(min(most, a.shape[2])):
                axis = figure.add_subplot(grid[row + c // columns, c % columns])
                show_image(axis, a[:, :, c], INK, **scale)
                if c == 0:
                    _row_label(axis, name, a, min(most, a.shape[2]))
        else:
            axis = figure.add_subplot(grid[row, :])
            if row == len(ratios) - 1 and a.size <= 20:
                _bars(axis, a)
            else:
                axis.imshow(a[np.newaxis], cmap=INK, aspect="auto", interpolation="nearest")
                axis.set(xticks=[], yticks=[])
            _row_label(axis, name, a, a.size)
        row += n
    return figure


def _row_label(axis: Axes, name: str, a: Array, shown: int) -> None:
    lines = [name, CROSS.join(map(str, a.shape))]
    if shown < a.shape[-1]:
        lines.append(f"{shown} of {a.shape[-1]} maps")
    if not np.isfinite(a).all():
        lines.append("not all finite")
    axis.set_ylabel("\n".join(lines), rotation=0, ha="right", va="center", fontsize=9)


def _bars(axis: Axes, values: Array) -> None:
    bars = axis.bar(range(len(values)), values, color="#BBBBBB", edgecolor="black")
    best = int(values.argmax())
    bars[best].set(hatch="///", facecolor="#56B4E9")
    axis.set_xticks(range(len(values)))
    axis.tick_params(labelsize=9)
    axis.set_yticks([])
    axis.margins(y=0.35)
    axis.annotate(f"{values[best]:.2f}", (best, values[best]), ha="center", va="bottom", fontsize=9)


class GradientRecorder(Callback):
    """Callback that records the size of every parameter's gradient, for `gradient_flow`.

    every  record one of so many batches

    Attributes: `steps`, the recorded batches, counted over all epochs; `sizes`, which maps
    "layer/kernel" to the root mean square at each step.
    """

    def __init__(self, every: int = 10) -> None:
        self.every, self.count = integer(every, "every"), 0
        self.steps: list[int] = []
        self.sizes: dict[str, list[float]] = {}

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.count % self.every == 0:
            self.steps.append(self.count)
            for layer in self.model.layers:
                for name, gradient in layer.grads.items():
                    self.sizes.setdefault(f"{layer.name}/{name}", []).append(_rms(gradient))
        self.count += 1


def gradient_flow(source: Trace | GradientRecorder) -> Figure:
    """The size (root mean square) of gradients against depth, and over time if recorded.

    source  a trace, for dx, dz and dweight of each layer; or a `GradientRecorder` after training
    """
    if isinstance(source, Trace):
        figure = new_figure(3.4)
        axis = figure.subplots()
        names = [layer.name for layer in source]
        lines = {
            "input: dx": [_rms(layer.dx) for layer in source],
            "before the activation: dz": [_rms(layer.dz) for layer in source],
            "kernel: dweight": [_rms(layer.grads.get("kernel")) for layer in source],
        }
        _against_depth(axis, names, lines, 7.0)
        axis.set_title("gradient size of each layer, from the input to the loss", fontsize=10)
        _explain_stars(figure)
        return figure
    if not isinstance(source, GradientRecorder):
        raise ValueError(
            f"gradient_flow: source={source!r:.80}, expected model.trace(x, y) or a "
            "GradientRecorder that was passed to fit(callbacks=...)"
        )
    if not source.steps:
        raise ValueError("gradient_flow: nothing recorded; pass the recorder to fit(callbacks=...)")
    kernels = {n: np.array(s) for n, s in source.sizes.items() if n.endswith("/kernel")}
    if not kernels or any(len(sizes) != len(source.steps) for sizes in kernels.values()):
        raise ValueError(
            "gradient_flow: expected the kernel gradients of one model, recorded at every step; "
            f"got {list(source.sizes)}: use a new GradientRecorder for each model"
        )
    figure = new_figure(max(3.8, 0.18 * len(kernels) + 0.5))  # room for the legend
    depth, time = figure.subplots(1, 2, width_ratios=(1, 1.3))
    picks = sorted({0, len(source.steps) // 2, len(source.steps) - 1})
    _against_depth(
        depth, [name.split("/")[0] for name in kernels],
        {f"step {source.steps[i]}": [sizes[i] for sizes in kernels.values()] for i in picks}, 2.2,
    )  # fmt: skip
    depth.set_title("dweight against depth", fontsize=10)
    for style, (name, sizes) in zip(line_styles(), kernels.items(), strict=False):
        drawn = _drawable(sizes)
        label = name.split("/")[0] + STAR * (not drawn.all())
        every = spaced_markers(int(drawn.sum()))
        steps = np.array(source.steps)[drawn]
        time.plot(steps, sizes[drawn], label=label, markevery=every, **style)
    time.set(yscale="log", xlabel="training step")
    time.set_title("dweight over time", fontsize=10)
    time.grid(alpha=0.3)
    time.legend(fontsize=9 if len(kernels) <= 18 else 8, loc="center left", bbox_to_anchor=(1, 0.5))
    _explain_stars(figure)
    return figure


def _against_depth(
    axis: Axes, names: list[str], lines: dict[str, list[float]], width: float
) -> None:
    """Plot sizes from the input to the loss on an axis about `width` inches wide."""
    for style, (label, sizes) in zip(line_styles(), lines.items(), strict=False):
        values = np.array(sizes)
        drawn = _drawable(values)
        label += STAR * (not drawn[values != NO_GRADIENT].all())
        axis.plot(np.flatnonzero(drawn), values[drawn], label=label, **style)
    name_ticks(axis, "x", names, width / max(len(names), 1))
    axis.set(yscale="log", ylabel="root mean square")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)


def _drawable(sizes: Array) -> Array:
    """Which sizes a logarithmic axis can show."""
    return np.isfinite(sizes) & (sizes > 0)


def _explain_stars(figure: Figure) -> None:
    if any(label.endswith(STAR) for a in figure.axes for label in a.get_legend_handles_labels()[1]):
        figure.supxlabel(f"{STAR.strip()} not drawn where it is 0 or not finite", fontsize=9)


def _rms(array: Array | None) -> float:
    if array is None:
        return NO_GRADIENT
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def find_conv(model: Sequential, name: str | None, first: bool) -> Conv2D:
    """The Conv2D called `name`, or the first or last one; ValueError if there is none."""
    convs = {layer.name: layer for layer in built(model).layers if isinstance(layer, Conv2D)}
    if not convs:
        raise ValueError(f"model {model.name!r} has no Conv2D layer")
    chosen = list(convs)[0 if first else -1] if name is None else name
    if not isinstance(chosen, str) or chosen not in convs:
        raise unknown("Conv2D layer", chosen, convs)
    return convs[chosen]
