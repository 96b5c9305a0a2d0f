"""Pictures of a training and of its result."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..errors import ShapeError
from .style import INK, WIDTH, Array, line_styles, new_figure, show_image, spaced_markers


def training_curves(history: Any) -> Figure:
    """Loss and metrics against the epoch, those of the validation beside those of the training.

    history  what `fit` returned, or its `.history`: {"loss": [...], "val_loss": [...], ...}
    """
    values: Mapping[str, list[float]] = getattr(history, "history", history)
    names = [n for n in values if not n.startswith("val_") and n != "learning_rate"]
    if not names or not values[names[0]]:
        raise ValueError("training_curves: the history is empty, expected one epoch or more")
    figure = new_figure(3.2 if len(names) > 1 else 3.6)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        styles = line_styles()
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            style = next(styles)
            if key in values:
                epochs = range(1, len(values[key]) + 1)
                every = spaced_markers(len(values[key]))
                axis.plot(epochs, values[key], label=label, markevery=every, **style)
        axis.set(xlabel="epoch", title=name.replace("_", " "))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if name in ("accuracy", "acc"):
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.grid(alpha=0.3)
        axis.legend()
    return figure


def prediction_grid(
    x: Any, y_true: Any, predictions: Any, columns: int = 10, class_names: Any = None
) -> Figure:
    """Images with what was predicted; a wrong one has a thick frame, a cross and the true label.

    x            images (N,H,W) or (N,H,W,C), N up to 100
    y_true       class numbers (N,) or one-hot (N,K)
    predictions  class numbers (N,), or probabilities (N,K), which are shown in per cent
    """
    images, true, predicted = np.asarray(x), _classes(y_true), np.asarray(predictions)
    if not len(images) == len(true) == len(predicted) or not 1 <= len(images) <= 100:
        raise ShapeError(
            f"prediction_grid: {len(images)} images, {len(true)} labels and {len(predicted)} "
            "predictions, expected as many of each, 1 to 100"
        )
    guessed, names = _classes(predicted), _names(class_names)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cell = WIDTH / columns
    figure = new_figure(rows * (cell + 0.26) + 0.3)
    for i, axis in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axis.axis("off")
        if i >= len(images):
            continue
        axis.axis("on")
        show_image(axis, images[i], INK)
        right = guessed[i] == true[i]
        title = names(guessed[i])
        if predicted.ndim == 2:
            title += f" {100 * predicted[i].max():.0f}%"
        if not right:
            title = f"\N{MULTIPLICATION SIGN} {names(guessed[i])}, is {names(true[i])}"
        axis.set_title(title, fontsize=9, fontweight="normal" if right else "bold", pad=3)
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
    """How often each class was taken for each: rows are true classes, columns predicted ones.

    y_true, y_pred  class numbers (N,), or rows (N,K) whose largest entry counts. Shade goes with
    the share of the row that is wrong; the diagonal is hatched, not shaded.
    """
    true, guessed, names = _classes(y_true), _classes(y_pred), _names(class_names)
    if len(true) != len(guessed) or not len(true):
        raise ShapeError(f"confusion_matrix: {len(true)} labels and {len(guessed)} predictions")
    K = int(max(true.max(), guessed.max())) + 1
    counts = np.zeros((K, K), int)
    np.add.at(counts, (true, guessed), 1)
    errors = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(errors, 0)
    side = min(WIDTH, max(1.6 + 0.56 * K, 3.6))
    figure = new_figure(side * 0.92, side)
    axis = figure.subplots()
    top = max(float(errors.max()), 1e-9)
    axis.imshow(errors, cmap=INK, vmin=0, vmax=top * 1.25)
    for i in range(K):
        axis.add_patch(
            Rectangle(
                (i - 0.5, i - 0.5), 1, 1, hatch="///", fill=False, edgecolor="#888888", lw=0.5
            )
        )
        for j in range(K):
            if counts[i, j]:
                dark = i != j and errors[i, j] > 0.6 * top
                axis.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=9,
                          color="white" if dark else "black",
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}
                          if i == j else None)  # fmt: skip
    labels = [names(k) for k in range(K)]
    axis.set_xticks(range(K), labels)
    axis.set_yticks(range(K), labels)
    right = int(np.trace(counts))
    axis.set(xlabel="predicted", ylabel="true",
             title=f"{right:,} of {len(true):,} right ({right / len(true):.2%})")  # fmt: skip
    return figure


def _classes(labels: Any) -> Array:
    array = np.asarray(labels)
    return array.argmax(axis=1) if array.ndim == 2 and array.shape[1] > 1 else array.reshape(-1)


def _names(class_names: Any) -> Any:
    return str if class_names is None else lambda k: str(class_names[k])
