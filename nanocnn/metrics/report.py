"""How well each class is recognised: the confusion matrix, and scikit-learn's table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import integer, numbers, refuse_where


def class_numbers(labels: Any, name: str) -> Array:
    """Class numbers (N,) from class numbers, one-hot rows or probabilities; else ValueError."""
    array = numbers(labels, name, 1)
    refuse_where(~np.isfinite(array), array, name, "finite numbers", NonFiniteError)
    if array.ndim > 2 or array.shape[1:] == (0,):
        raise ShapeError(f"{name} has shape {array.shape}, expected classes (N,) or rows (N,K)")
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(axis=1)
    array = array.reshape(-1)
    refuse_where(
        (array < 0) | (array != np.floor(array)) | (array >= 2**31), array, name,
        "class numbers 0, 1, 2, ... (for a single probability p per image: p > 0.5)",
    )  # fmt: skip
    return array.astype(np.intp)


def confusion_matrix(y_true: Any, y_pred: Any) -> Array:
    """The number of samples of true class i that are predicted as j: integers (K,K).

    y_true, y_pred: class numbers (N,), or one-hot rows or probabilities (N,K); K is one more than
    the largest class among them, at most 10,000. ValueError for anything else.
    """
    true, guessed = class_numbers(y_true, "y_true"), class_numbers(y_pred, "y_pred")
    if len(true) != len(guessed) or not len(true):
        raise ShapeError(f"y_true, y_pred: {len(true)} labels and {len(guessed)} predictions")
    K = int(max(true.max(), guessed.max())) + 1
    if K > 10_000:
        raise ValueError(f"y_true and y_pred: {K} classes, expected up to 10,000")
    counts = np.zeros((K, K), int)
    np.add.at(counts, (true, guessed), 1)
    return counts


def classification_report(
    y_true: Any, y_pred: Any, *, target_names: Sequence[str] | None = None, digits: int = 2
) -> str:
    """The table of precision, recall and F1 score by class that scikit-learn prints, as text.

    y_true, y_pred: as for `confusion_matrix`. The classes are those that occur in either;
    `target_names` are their names, in order. ValueError for another number of names.
    """
    digits = integer(digits, "digits", 0)
    counts = confusion_matrix(y_true, y_pred)
    classes = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    names = [str(k) for k in classes] if target_names is None else target_names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"target_names={names!r:.80}, expected a list of text")
    if len(names) != len(classes):
        raise ValueError(
            f"target_names: {len(names)} names, expected {len(classes)}, for the classes "
            f"{', '.join(map(str, classes))}"
        )
    hits, support = np.diag(counts)[classes], counts.sum(axis=1)[classes]
    guesses = counts.sum(axis=0)[classes]
    rates = [_ratio(hits, guesses), _ratio(hits, support), _ratio(2 * hits, support + guesses)]
    width = max(len("weighted avg"), digits, *map(len, names))

    def row(name: str, values: Sequence[float], n: int) -> str:
        return f"{name:>{width}} " + "".join(f" {v:>9.{digits}f}" for v in values) + f" {n:>9}\n"

    total = int(support.sum())
    head = f"{'':>{width}} " + "".join(
        f" {word:>9}" for word in ("precision", "recall", "f1-score", "support")
    )
    rows = [row(n, values, k) for n, *values, k in zip(names, *rates, support, strict=True)]
    accuracy = f"{'accuracy':>{width}} {'':>20} {hits.sum() / total:>9.{digits}f} {total:>9}\n"
    macro = row("macro avg", [np.average(rate) for rate in rates], total)
    weighted = row("weighted avg", [np.average(rate, weights=support) for rate in rates], total)
    return f"{head}\n\n{''.join(rows)}\n{accuracy}{macro}{weighted}"


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole, 0 where whole is 0."""
    return part / np.maximum(whole, 1)
