"""What `fit`, `evaluate` and `train_on_batch` are given, checked before any work."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..common.arrays import Array, quietly
from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import number
from ..data.batches import split

if TYPE_CHECKING:
    from .sequential import Sequential


class Data(NamedTuple):
    """Checked arrays of equal length: images, labels, and a weight for each or None."""

    x: Array
    labels: Array
    weight: Array | None


def checked(
    model: "Sequential",
    x: Any,
    y: Any,
    sample_weight: Any = None,
    names: tuple[str, str] = ("x", "y"),
) -> Data:
    """All checks on a data set, before any work; raises ValueErrors that name what is wrong."""
    images = model._images(x, names[0])
    labels = model.loss.labels(y, model.output_shape, names[1])
    if len(labels) != len(images):
        raise ShapeError(
            f"{names[0]} has {len(images)} samples and {names[1]} has {len(labels)}, "
            "expected as many labels as images"
        )
    if sample_weight is None:
        return Data(images, labels, None)
    try:
        weight = np.asarray(sample_weight)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"sample_weight: expected a number a sample: {error}") from error
    if weight.dtype.kind not in "buif":
        raise ValueError(f"sample_weight: expected a number a sample, got dtype {weight.dtype}")
    if weight.shape != (len(images),):
        raise ShapeError(f"sample_weight: shape {weight.shape}, expected ({len(images)},)")
    weight = quietly(weight.astype, model.dtype)  # 1e300 has no float32
    if not np.isfinite(weight).all():
        raise NonFiniteError("sample_weight: NaN or infinity, expected finite numbers")
    return Data(images, labels, weight)


def training_and_validation(
    model: "Sequential",
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    validation_data: Any,
    validation_split: float,
) -> tuple[Data, Data | None]:
    """What `fit` trains on, and what it validates on after each epoch, if anything."""
    data = checked(model, x, y, sample_weight)
    validation: Data | None = None
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise ValueError(
                f"validation_data: {type(validation_data).__name__}, expected a tuple (x, y) or "
                "(x, y, sample_weight)"
            )
        x, y, weight = (*validation_data, None)[:3]
        validation = checked(model, x, y, weight, names=("validation x", "validation y"))
    elif validation_split is not None and number(
        validation_split, "validation_split", lambda part: 0 <= part < 1, "between 0 and 1"
    ):
        first, second = split(validation_split, *data)
        data, validation = Data(*first), Data(*second)
    return class_weighted(model, data, class_weight), validation


def class_weighted(model: "Sequential", data: Data, class_weight: Any) -> Data:
    """`data` with each sample's weight multiplied by its class's; a class not named has 1.

    `class_weight`: {class: weight}. The class is a label, the largest of a one-hot or soft target
    (as in Keras), or the 0 or 1 of a model with one output. ValueError for anything else.
    """
    if class_weight is None:
        return data
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight: {class_weight!r:.80}, expected a dict such as {{0: 1.0, 1: 2.5}}; for "
            "an array of weights dict(enumerate(weights)), for 'balanced' the dict "
            "{c: len(y) / (len(np.unique(y)) * np.sum(y == c)) for c in np.unique(y)}"
        )
    count = max(model.output_shape[-1], 2)
    table = np.ones(count, model.dtype)
    for label, value in class_weight.items():
        try:
            name = f"class_weight[{label!r}]"
            weight = number(value, name, lambda weight: 0 <= weight < 1e30)
            if label not in range(count):  # 1.0 and numpy's 1 are in it as well
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{name} = {value!r:.80}, expected a finite weight of 0 or more for a class from "
                f"0 to {count - 1}"
            ) from None
        table[int(label)] = weight
    each = table[_classes(model, data.labels)]
    return data._replace(weight=each if data.weight is None else each * data.weight)


def _classes(model: "Sequential", labels: Array) -> Array:
    """The class of each sample, whichever form its label has; ValueError if it has none."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        if model.output_shape[-1] == 1 and not np.isin(labels, (0, 1)).all():
            other = labels[~np.isin(labels, (0, 1))][0]
            raise ValueError(
                f"class_weight: y holds {other}, expected classes 0 and 1 for a model with one "
                "output; weigh other targets by sample_weight"
            )
        return labels.astype(np.intp)
    soft = model.loss.output_activation == "softmax"  # a target there is a distribution
    values = np.unique(labels)
    one_hot = len(values) == 2 and ((labels == values[1]).sum(axis=-1) == 1).all()
    if labels.ndim != 2 or not (soft or one_hot):
        raise ValueError(
            f"class_weight: y of shape {labels.shape} names no class for each sample, expected "
            "class numbers or one-hot targets; weigh other targets by sample_weight"
        )
    return labels.argmax(axis=-1)
