"""Figures of a training and of its results."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .. import metrics
from ..common.errors import ShapeError
from ..common.validate import integer, numbers
from ..metrics.report import class_numbers
from .style import (
    INK,
    SMALLEST,
    WIDTH,
    Array,
    inches,
    line_styles,
    name_ticks,
    new_figure,
    shortened,
    show_image,
    spaced_markers,
)

MAX_CLASSES = 200  # of a confusion matrix; more would be illegible
CHANNELS = ((), (1,), (3,), (4,))


def training_curves(history: Any) -> Figure:
    """Loss and metrics per epoch, on training and validation data.

    history  what `fit` returned, or its `.history`: {"loss": [...], "val_loss": [...], ...}
    """
    values = getattr(history, "history", history)
    if not isinstance(values, Mapping):
        raise ValueError(
            f"training_curves: history={history!r:.80}, expected what fit returned, or a dict of "
            "lists such as {'loss': [0.5, 0.3]}"
        )
    curves = {
        str(name): numbers(each, f"training_curves: history[{name!r}]", 1).ravel()
        for name, each in values.items()
    }
    names = [n for n in curves if not n.startswith("val_") and n != "learning_rate"]
    names.sort(key=lambda name: name != "loss")  # the loss first
    if not names or not curves[names[0]].size:
        raise ValueError("training_curves: the history is empty, expected one epoch or more")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = new_figure(3.6 if len(names) == 1 else 3.2 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, name in zip(axes, names, strict=False):
        styles = line_styles()
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            style = next(styles)
            if key in curves:
                curve = curves[key]
                bad = np.flatnonzero(~np.isfinite(curve))
                label += f" ({curve[bad[0]]} in epoch {bad[0] + 1})" if bad.size else ""
                every = spaced_markers(len(curve))
                axis.plot(range(1, len(curve) + 1), curve, label=label, markevery=every, **style)
        axis.set_xlabel("epoch")
        axis.set_title(shortened(name.replace("_", " "), WIDTH / columns - 0.6, 10), fontsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if name in ("accuracy", "acc"):
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9)
    for axis in axes[len(names) :]:
        axis.axis("off")
    return figure


def prediction_grid(
    x: Any, y_true: Any, predictions: Any, columns: int = 10, class_names: Any = None
) -> Figure:
    """Images with their predictions; a wrong one has a thick frame, a cross and the true label.

    x            images (N,H,W) or (N,H,W,C), N up to 100, C 1 (grey), 3 or 4 (colour)
    y_true       class numbers (N,) or one-hot labels (N,K)
    predictions  class numbers (N,) or probabilities (N,K), which are shown in per cent
    columns      images per row, up to 20; fewer if the class_names are long
    """
    images, columns = numbers(x, "prediction_grid: x", 1), integer(columns, "columns")
    true, guessed = class_numbers(y_true, "y_true"), class_numbers(predictions, "predictions")
    if not len(images) == len(true) == len(guessed) or not 1 <= len(images) <= 100:
        raise ShapeError(
            f"prediction_grid: {len(images)} images, {len(true)} labels and {len(guessed)} "
            "predictions, expected as many of each, 1 to 100"
        )
    if images.ndim not in (3, 4) or 0 in images.shape or images.shape[3:] not in CHANNELS:
        raise ShapeError(
            f"prediction_grid: x has shape {images.shape}, expected (N,H,W), (N,H,W,1) or (N,H,W,3)"
        )
    if columns > 20:
        raise ValueError(f"columns={columns}, expected up to 20: more would be illegible")
    names, predicted = _names(class_names, np.append(true, guessed)), np.asarray(predictions)
    widest = max(
        inches(f"\N{MULTIPLICATION SIGN} {name},", 9, bold=True) for name in names.values()
    )
    columns = min(columns, len(images), int(WIDTH / min(widest + 0.1, 0.8)))
    rows = -(-len(images) // columns)
    cell = WIDTH / columns
    titles = []
    for i, (k, right) in enumerate(zip(guessed, guessed == true, strict=True)):
        percent = f"{100 * predicted[i].max():.0f}%" if predicted.ndim == 2 else ""
        words = ([names[k], percent] if right else
                 [f"\N{MULTIPLICATION SIGN} {names[k]},", f"is {names[true[i]]}"])  # fmt: skip
        titles.append(_title(words, cell - 0.08, bold=not right))
    lines = max(title.count("\n") for title in titles)
    figure = new_figure(rows * (min(cell, 3.0) + 0.26 + 0.15 * lines) + 0.3)
    for i, axis in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axis.axis("off")
        if i >= len(images):
            continue
        axis.axis("on")
        show_image(axis, images[i], INK)
        right = guessed[i] == true[i]
        axis.set_title(titles[i], fontsize=9, fontweight="normal" if right else "bold", pad=3)
        for spine in axis.spines.values():
            spine.set(linewidth=0.6 if right else 3, color="#999999" if right else "#D55E00")
    wrong = int((guessed != true).sum())
    figure.suptitle(
        f"{len(images) - wrong} of {len(images)} right"
        + ("; \N{MULTIPLICATION SIGN} and a thick frame: wrong" if wrong else ""),
        fontsize=10,
    )
    return figure


def confusion_matrix(y_true: Any, y_pred: Any, class_names: Any = None) -> Figure:
    """The confusion matrix of up to 200 classes: rows are true classes, columns predicted ones.

    y_true, y_pred  class numbers (N,), or one-hot labels or probabilities (N,K)

    The shade of a cell is its fraction of the row; the diagonal is hatched instead. If there are
    too many classes to write counts, a colour bar explains the shades.
    """
    counts = metrics.confusion_matrix(y_true, y_pred)
    K = len(counts)
    if K > MAX_CLASSES:
        raise ValueError(f"confusion_matrix: {K} classes, expected up to {MAX_CLASSES}")
    names = list(_names(class_names, np.arange(K)).values())
    errors = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(errors, 0)
    label = min(max(inches(name, 9) for name in names), 1.6)
    side = min(WIDTH, label + 0.9 + max(0.56 * K, 2.5))
    cell = (side - label - 0.9) / K
    figure = new_figure(side * 0.92, side)
    axis = figure.subplots()
    top = max(float(errors.max()), 1e-9)
    picture = axis.imshow(errors, cmap=INK, vmin=0, vmax=top * 1.25)
    for i in range(K):
        axis.add_patch(
            Rectangle((i - 0.5, i - 0.5), 1, 1, hatch="///" if cell > 0.1 else None, fill=False,
                      edgecolor="#888888", lw=0.5)
        )  # fmt: skip
    widest = str(counts.max())
    sizes = [size for size in (9, 8, SMALLEST) if inches(widest, size) < cell - 0.04]
    for i, j in np.argwhere(counts) if sizes else ():
        dark = i != j and errors[i, j] > 0.6 * top
        axis.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=sizes[0],
                  color="white" if dark else "black",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}
                  if i == j else None)  # fmt: skip
    if not sizes:
        figure.colorbar(picture, ax=axis, shrink=0.8, aspect=30, label="fraction of the true class")
    name_ticks(axis, "x", names, cell)
    name_ticks(axis, "y", names, cell)
    right, total = int(np.trace(counts)), int(counts.sum())
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(f"{right:,} of {total:,} right ({right / total:.2%})", fontsize=10)
    return figure


def _title(words: list[str], width: float, bold: bool) -> str:
    """The words on one line of `width` inches or, if they do not fit, one per line, shortened."""
    one = " ".join(word for word in words if word)
    if inches(one, 9, bold) <= width:
        return one
    return "\n".join(shortened(word, width, 9, bold) for word in words if word)


def _names(class_names: Any, classes: Array) -> dict[int, str]:
    """The name of each of `classes`."""
    found = {}
    for k in np.unique(classes).tolist():
        try:
            found[k] = str(k if class_names is None else class_names[k])
        except (TypeError, LookupError) as error:
            raise ValueError(
                f"class_names={class_names!r:.80}, expected a name for class {k} too"
            ) from error
    return found
