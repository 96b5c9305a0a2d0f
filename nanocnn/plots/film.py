"""A training as a film: filters and a prediction, step after step."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from ..callbacks import Callback
from ..common.errors import NonFiniteError, ShapeError
from ..common.files import path_name
from ..common.validate import integer, number, one_of
from .inside import CROSS, find_conv
from .style import INK, PAPER, Array, finite_range, new_figure, one_image, show_image

PICTURES, FILMS = (".png", ".svg", ".pdf"), (".gif", ".mp4")
FRAMES = 200  # of a film, at most
CLASSES = 10  # that are all named below their bars; of more, five
ROW = 0.72  # inches
LEAD = "#56B4E9"  # the largest output
PAUSE = 2.0  # seconds that a film shows its last frame


class FilmstripRecorder(Callback):
    """Callback that keeps filters and the prediction for one image, for `filmstrip`.

    image    (H,W) or (H,W,C), as for `predict`
    label    its class; None takes the one that is predicted at the end
    layer    the name of a convolution; None takes the first one
    channel  the input channel whose part of the filters is kept
    every    keep one of so many steps; the first and the last state are kept in any case
    most     the maximum number of filters

    Attributes: `steps`, the numbers of updates before each frame; `kernels` (KH,KW,F) and
    `predictions` (K,) of each frame.
    """

    def __init__(
        self, image: Any, label: int | None = None, layer: str | None = None, *, channel: int = 0,
        every: int = 10, most: int = 8,
    ) -> None:  # fmt: skip
        self.image, self.layer = image, layer
        self.label = None if label is None else integer(label, "label", 0)
        self.channel, self.every = integer(channel, "channel", 0), integer(every, "every")
        self.most, self.count = integer(most, "most"), 0
        self.steps: list[int] = []
        self.kernels: list[Array] = []
        self.predictions: list[Array] = []
        self.title, self.x = "", np.empty(0)

    def check_before_training(self, before: Any, after: Any) -> None:
        conv, outputs = find_conv(self.model, self.layer, first=True), self.model.output_shape
        KH, KW, C, F = conv.params["kernel"].shape
        if self.channel >= C:
            raise ValueError(
                f"FilmstripRecorder: channel={self.channel}, expected 0 to {C - 1}: layer "
                f"{conv.name!r} has {C} input channels"
            )
        if len(outputs) != 1:
            raise ShapeError(f"FilmstripRecorder: model with output {outputs}, expected (K,)")
        if self.label is not None and self.label >= outputs[0]:
            raise ValueError(
                f"FilmstripRecorder: label={self.label}, expected 0 to {outputs[0] - 1}"
            )
        shapes = (KH, KW, min(F, self.most)), outputs
        if self.steps and shapes != (self.kernels[0].shape, self.predictions[0].shape):
            raise ValueError("FilmstripRecorder: it has another model's frames; make a new one")
        shown = f"{shapes[0][2]} of {F}" if self.most < F else f"{F}"
        depth = f", input channel {self.channel} of {C}" if C > 1 else ""
        self.title = f"{conv.name}: {shown} filters of {KH}{CROSS}{KW}{depth}"
        self.x = one_image(self.model, self.image)

    def on_train_begin(self, logs: Any = None) -> None:
        self._keep()

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1
        if self.count % self.every == 0:
            self._keep()

    def on_train_end(self, logs: Any = None) -> None:
        self._keep()

    def _keep(self) -> None:
        if self.steps[-1:] == [self.count]:  # the averages of an optimizer may have come in
            del self.steps[-1], self.kernels[-1], self.predictions[-1]
        kernel = find_conv(self.model, self.layer, first=True).params["kernel"]
        try:
            prediction = self.model.predict_on_batch(self.x)[0]
        except NonFiniteError:
            prediction = np.full(self.model.output_shape, np.nan)
        self.steps.append(self.count)
        self.kernels.append(kernel[:, :, self.channel, : self.most].copy())
        self.predictions.append(prediction)


def filmstrip(
    recorder: FilmstripRecorder, path: str | Path | None = None, *, most: int = 8, fps: float = 8.0
) -> Figure:
    """Filters and a prediction over time: a row for each of up to `most` steps, evenly chosen.

    recorder  a `FilmstripRecorder` after a training
    path      where to save it, if anywhere: .png, .svg or .pdf for the figure, .gif (by Pillow) or
              .mp4 (by ffmpeg) for an animation of all kept steps, at most 200
    fps       frames a second of an animation

    Black is negative, white positive, grey (as the frame) zero, on one scale for all steps; the
    largest output is hatched. Above: the image, and the output of its class over time. ValueError
    for wrong arguments, and for .mp4 where there is no ffmpeg; OSError for a path that cannot be
    written.
    """
    if not isinstance(recorder, FilmstripRecorder):
        raise ValueError(
            f"filmstrip: recorder={recorder!r:.80}, expected a FilmstripRecorder that was passed "
            "to fit(callbacks=...)"
        )
    if not recorder.steps:
        raise ValueError("filmstrip: nothing recorded; pass the recorder to fit(callbacks=...)")
    most = integer(most, "most")
    fps = number(fps, "fps", lambda fps: 0.1 <= fps <= 50, "from 0.1 to 50")
    ending = ""
    if path is not None:
        ending = one_of(Path(path_name(path)).suffix, (*PICTURES, *FILMS), "path: ending")
    if ending == ".mp4":
        _require_ffmpeg()
    figure = _strip(recorder, chosen(len(recorder.steps), most))
    if path is not None and ending in PICTURES:
        figure.savefig(path)
    elif path is not None:
        frames = _frames(recorder, chosen(len(recorder.steps), FRAMES))
        (_save_gif if ending == ".gif" else _save_mp4)(frames, Path(path_name(path)), fps)
    return figure


def chosen(count: int, most: int) -> list[int]:
    """Up to `most` of `count` indices, evenly, the first and the last among them."""
    if most == 1:
        return [count - 1]
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


class _Frame:
    """The axes of one frame, to be filled in: filters beside bars."""

    def __init__(self, axes: Sequence[Axes], bars: Axes, recorder: FilmstripRecorder) -> None:
        self.recorder, self.axes, self.bars = recorder, axes, bars
        kernels, predictions = np.array(recorder.kernels), np.array(recorder.predictions)
        limit = max(map(abs, finite_range(kernels))) or 1.0
        blank = np.zeros(kernels.shape[1:3])
        self.pictures = [show_image(a, blank, PAPER, vmin=-limit, vmax=limit) for a in axes]
        for axis in axes:
            for spine in axis.spines.values():
                spine.set(color="#808080", linewidth=1.5)
        low, high = finite_range(predictions)
        is_share = low >= 0 and high <= 1 + 1e-6
        margin = 0.05 * ((high - low) or 1)
        bottom, top = (0.0, 1.0) if is_share else (min(low - margin, 0), max(high + margin, 0))
        K = predictions.shape[1]
        self.drawn = bars.bar(range(K), np.zeros(K), edgecolor="black", linewidth=0.7)
        bars.set(ylim=(bottom, top), xlim=(-0.6, K - 0.4), xticks=[], yticks=[bottom, top])
        bars.set_yticklabels([f"{bottom:.3g}", f"{top:.3g}"], fontsize=7.5)

    def show(self, i: int) -> None:
        """Fill in the recorder's frame i."""
        kernel, prediction = self.recorder.kernels[i], self.recorder.predictions[i]
        for f, picture in enumerate(self.pictures):
            picture.set_data(kernel[..., f])
        finite = np.isfinite(prediction).all()
        best = int(prediction.argmax()) if finite else -1
        for k, bar in enumerate(self.drawn):
            bar.set_height(prediction[k] if finite else 0)
            bar.set(facecolor=LEAD if k == best else "#DDDDDD", hatch="////" if k == best else "")

    def name_classes(self) -> None:
        """Write the numbers of the classes below their bars."""
        K = len(self.drawn)
        every = 1 if K <= CLASSES else -(-K // 5)
        places = list(range(0, K, every))
        self.bars.set_xticks(places, [str(k) for k in places], fontsize=8)
        self.bars.set_xlabel("class", fontsize=9)


def _strip(recorder: FilmstripRecorder, picks: list[int]) -> Figure:
    """The figure: a head, and a row for each of these frames."""
    F, rows = recorder.kernels[0].shape[2], len(picks)
    figure = new_figure(2.0 + ROW * rows)
    figure.suptitle(recorder.title, fontsize=10)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.65, ROW * rows + 0.35])
    head, body = parts
    _head(head, 4, recorder)
    grid = body.add_gridspec(rows, F + 3)
    for row, i in enumerate(picks):
        axes = [body.add_subplot(grid[row, f]) for f in range(F)]
        frame = _Frame(axes, body.add_subplot(grid[row, F:]), recorder)
        frame.show(i)
        text = f"step\n{recorder.steps[i]:,}"
        axes[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, labelpad=6)
        if row == 0:
            frame.bars.set_title("prediction", fontsize=9)
        if row == rows - 1:
            frame.name_classes()
    return figure


def _head(figure: SubFigure, ratio: float, recorder: FilmstripRecorder) -> Axes:
    """The image, and the output of its class over time, `ratio` times as wide, which it returns."""
    grid = figure.add_gridspec(1, 2, width_ratios=[1, ratio])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    show_image(left, recorder.x[0].mean(axis=-1), INK)
    label = _label(recorder)
    values = np.array(recorder.predictions)[:, label]
    marker = "o" if len(values) <= 40 else ""
    right.plot(recorder.steps, values, color="#0072B2", marker=marker, markersize=3)
    right.set_title(f"output of class {label}", fontsize=9)
    right.set_xlabel("step", fontsize=9)
    right.tick_params(labelsize=8)
    right.grid(alpha=0.3)
    low, high = finite_range(values)
    if low >= 0 and high <= 1 + 1e-6:
        right.set_ylim(-0.04, 1.04)
    return right


def _label(recorder: FilmstripRecorder) -> int:
    """The class whose output is shown: the image's, or the one that is predicted at the end."""
    last = np.nan_to_num(recorder.predictions[-1], nan=-np.inf)
    return int(last.argmax()) if recorder.label is None else recorder.label


# --- Animations ---


def _frames(recorder: FilmstripRecorder, picks: list[int]) -> Iterator[tuple[Figure, Array]]:
    """The figure, which is the same, and its pixels (H,W,4) for each of these frames."""
    F = recorder.kernels[0].shape[2]
    columns = min(F, 4)
    lines = -(-F // columns)
    figure = new_figure(max(0.95 * lines, 1.6) + 2.4, 7.2)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.9, max(0.95 * lines, 1.6)])
    top, below = parts
    head = _head(top, 2, recorder)
    grid = below.add_gridspec(lines, 2 * columns)
    axes = [below.add_subplot(grid[f // columns, f % columns]) for f in range(F)]
    frame = _Frame(axes, below.add_subplot(grid[:, columns:]), recorder)
    frame.bars.set_title("prediction", fontsize=9)
    frame.name_classes()
    here = head.axvline(recorder.steps[0], color="#D55E00", linestyle="--")
    canvas: Any = FigureCanvasAgg(figure)
    width = len(f"{recorder.steps[-1]:,}")
    for i in picks:
        step = f"{recorder.steps[i]:,}".rjust(width)
        figure.suptitle(f"{recorder.title}; step {step}", fontsize=10)
        here.set_xdata([recorder.steps[i]] * 2)
        frame.show(i)
        canvas.draw()
        figure.set_layout_engine("none")  # so that nothing moves but what has changed
        yield figure, np.asarray(canvas.buffer_rgba()).copy()


def _save_gif(frames: Iterator[tuple[Figure, Array]], path: Path, fps: float) -> None:
    from PIL import Image

    images = [Image.fromarray(pixels[..., :3]) for _, pixels in frames]
    palette = _palette(np.asarray(images[-1]))  # one for all: what stays is stored once
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [round(1000 / fps)] * len(images)
    times[-1] += round(1000 * PAUSE)
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=times, loop=0, disposal=1
    )


def _palette(pixels: Array) -> Any:
    """An image with a palette: 64 greys, white among them, and the colours in pixels (H,W,3).

    Pillow takes the first colour of a palette that agrees in six bits of each channel.
    """
    from PIL import Image

    spread = pixels.max(axis=-1).astype(int) - pixels.min(axis=-1)
    colours = Image.fromarray(pixels[spread > 16].reshape(1, -1, 3)).quantize(192)
    greys = [level for level in (*range(0, 252, 4), 255) for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*greys, *(colours.getpalette() or [])[: 192 * 3]])
    return palette


def _require_ffmpeg() -> None:
    from matplotlib.animation import FFMpegWriter

    if not FFMpegWriter.isAvailable():
        raise ValueError(
            "path: ending '.mp4' needs the program ffmpeg, which is not installed; use '.gif'"
        )


def _save_mp4(frames: Iterator[tuple[Figure, Array]], path: Path, fps: float) -> None:
    from matplotlib.animation import FFMpegWriter

    writer: Any = FFMpegWriter(fps=fps)  # type: ignore[arg-type]  # ffmpeg takes 12.5 too
    first = True
    for figure, _ in frames:
        if first:
            writer.setup(figure, str(path))
            first = False
        writer.grab_frame()
    for _ in range(round(PAUSE * fps)):
        writer.grab_frame()
    writer.finish()
