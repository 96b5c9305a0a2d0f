"""Pictures of what is inside a network: filters, activations, the size of gradients."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..callbacks import Callback
from ..errors import unknown
from ..layers import Conv2D, Dropout, Flatten, Layer
from ..trace import Trace
from .style import (
    INK,
    PAPER,
    WIDTH,
    Array,
    line_styles,
    new_figure,
    one_image,
    show_image,
    spaced_markers,
)

if TYPE_CHECKING:
    from ..sequential import Sequential


def filters(model: "Sequential", layer: str | None = None, most: int = 32) -> Figure:
    """The kernels of a convolution: dark is negative, white positive, grey (as the frame) zero.

    layer  its name; None takes the first one
    most   how many filters to draw. With C > 1 a filter is a column of up to 8 input channels
    """
    conv = find_conv(model, layer, first=True)
    kernel = conv.params["kernel"]  # (KH,KW,C,F)
    C, F = min(kernel.shape[2], 8), min(kernel.shape[3], most if kernel.shape[2] == 1 else 16)
    columns = min(F, 10) if C == 1 else F
    rows = -(-F // columns) if C == 1 else C
    cell = min((WIDTH - 1.3) / columns, 0.9)
    figure = new_figure(rows * cell + 0.8, max(columns * cell + 1.3, 4.5))
    axes = figure.subplots(rows, columns, squeeze=False)
    limit = float(np.abs(kernel).max()) or 1.0
    picture: Any = None
    for i, axis in enumerate(axes.flat):
        c, f = (0, i) if C == 1 else (i // columns, i % columns)
        if f >= F:
            axis.axis("off")
            continue
        picture = show_image(axis, kernel[:, :, c, f], PAPER, vmin=-limit, vmax=limit)
        for spine in axis.spines.values():
            spine.set(color="#808080", linewidth=1.5)
    figure.colorbar(picture, ax=axes, shrink=0.9, aspect=12)
    of = f"{F} of {kernel.shape[3]}" if kernel.shape[3] > F else f"{F}"
    depth = f", channels 0 to {C - 1} of {kernel.shape[2]} downwards" if C > 1 else ""
    figure.suptitle(
        f"{conv.name}: {of} filters of {kernel.shape[0]}\N{MULTIPLICATION SIGN}"
        f"{kernel.shape[1]}{depth}",
        fontsize=10,
    )
    return figure


def activations(model: "Sequential", image: Any, most: int = 8) -> Figure:
    """One image on its way through the network: up to `most` maps a layer, units as a strip.

    image  (H,W) or (H,W,C); every row has its own scale, white is 0 or the row's least
    """
    rows: list[tuple[str, Array]] = []
    x = one_image(model, image)
    for layer in model.layers:
        x = layer.forward(x)
        if not isinstance(layer, (Dropout, Flatten)):
            rows.append((layer.name, x[0]))
    heights = [1.0 if a.ndim == 3 else 0.55 for _, a in rows]
    heights[-1] = 1.2 if rows[-1][1].size <= 20 else heights[-1]
    figure = new_figure(0.95 * sum(heights) + 0.3)
    grid = figure.add_gridspec(len(rows), most, height_ratios=heights)
    for r, (name, a) in enumerate(rows):
        if a.ndim == 3:
            low, high = min(float(a.min()), 0.0), float(a.max())
            for c in range(min(most, a.shape[2])):
                axis = figure.add_subplot(grid[r, c])
                show_image(axis, a[:, :, c], INK, vmin=low, vmax=high)
                if c == 0:
                    _row_label(axis, name, a.shape)
        else:
            axis = figure.add_subplot(grid[r, :])
            if r == len(rows) - 1 and a.size <= 20:
                _bars(axis, a)
            else:
                axis.imshow(a[np.newaxis], cmap=INK, aspect="auto", interpolation="nearest")
                axis.set(xticks=[], yticks=[])
            _row_label(axis, name, a.shape)
    return figure


def _row_label(axis: Axes, name: str, shape: tuple[int, ...]) -> None:
    size = "\N{MULTIPLICATION SIGN}".join(map(str, shape))
    axis.set_ylabel(f"{name}\n{size}", rotation=0, ha="right", va="center", fontsize=9)


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
    """Records the size of every parameter's gradient while a model trains, for `gradient_flow`.

    every  record each so many batches. `steps` are the batches' numbers, counted over all epochs;
    `sizes` maps "layer/kernel" to root mean squares, one a step
    """

    def __init__(self, every: int = 10) -> None:
        self.every, self.count = every, 0
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
    """The size (root mean square) of gradients against depth, and over time when it was recorded.

    source  a trace: dL/dy and dL/dkernel of each layer; or a `GradientRecorder` after a training
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
        _against_depth(axis, names, lines)
        axis.set_title("size of each layer's gradients, from the input to the loss", fontsize=10)
        return figure
    if not source.steps:
        raise ValueError("gradient_flow: nothing recorded; pass the recorder to fit(callbacks=...)")
    kernels = {name: sizes for name, sizes in source.sizes.items() if name.endswith("kernel")}
    figure = new_figure(3.8)
    depth, time = figure.subplots(1, 2, width_ratios=(1, 1.3))
    picks = sorted({0, len(source.steps) // 2, len(source.steps) - 1})
    _against_depth(
        depth, [name.split("/")[0] for name in kernels],
        {f"step {source.steps[i]}": [sizes[i] for sizes in kernels.values()] for i in picks},
    )  # fmt: skip
    depth.set_title("dweight against depth", fontsize=10)
    for style, (name, sizes) in zip(line_styles(), kernels.items(), strict=False):
        label = name.split("/")[0]
        time.plot(source.steps, sizes, label=label, markevery=spaced_markers(len(sizes)), **style)
    time.set(yscale="log", xlabel="training step")
    time.set_title("dweight over time", fontsize=10)
    time.grid(alpha=0.3)
    time.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))  # beside busy lines
    return figure


def _against_depth(axis: Axes, names: list[str], lines: dict[str, list[float]]) -> None:
    for style, (label, sizes) in zip(line_styles(), lines.items(), strict=False):
        places = [i for i, size in enumerate(sizes) if size > 0]
        axis.plot(places, [sizes[i] for i in places], label=label, **style)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=9)
    axis.set(yscale="log", ylabel="root mean square")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)


def _rms(array: Array | None) -> float:
    return 0.0 if array is None else float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def find_conv(model: "Sequential", name: str | None, first: bool) -> Conv2D:
    """The Conv2D called `name`, or the first or last one; ValueError when there is none."""
    convs: dict[str, Layer] = {
        layer.name: layer for layer in model.layers if isinstance(layer, Conv2D)
    }
    if not convs:
        raise ValueError(f"model {model.name!r} has no Conv2D layer")
    chosen = list(convs)[0 if first else -1] if name is None else name
    if chosen not in convs:
        raise unknown("Conv2D layer", chosen, convs)
    conv = convs[chosen]
    assert isinstance(conv, Conv2D)
    return conv
