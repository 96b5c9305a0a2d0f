"""The data for `fit`, `evaluate` and `train_on_batch`: checks, before any work, and weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..common.arrays import Array, quietly
from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import as_array, number
from ..data.batches import Images, split
from ..losses import Loss
from .structure import Structure


class Data(NamedTuple):
    """Checked arrays of equal length: images, labels, and a weight for each sample or None.

    The images are a contiguous array or `LazyImages`; the labels are `Loss.prepared` for one of our
    losses.
    """

    x: Images
    labels: Array
    weight: Array | None

    def split(self, fraction: Any) -> tuple["Data", "Data | None"]:
        """(training, validation): validation is the last `fraction`, or None without any."""
        if fraction is None or not number(
            fraction, "validation_split", lambda part: 0 <= part < 1, "between 0 and 1"
        ):
            return self, None
        first, second = split(fraction, *self)
        return Data(*first), Data(*second)


def samples_of(index: slice | Array) -> int:
    """How many samples are at `index`."""
    return index.stop - index.start if isinstance(index, slice) else len(index)


def checked_weight(sample_weight: Any, samples: int, dtype: DTypeLike) -> Array | None:
    """`sample_weight` as an array of `dtype`; ValueError unless it has one number per sample."""
    if sample_weight is None:
        return None
    weight = as_array(sample_weight, "sample_weight")
    if weight.dtype.kind not in "buif":
        raise ValueError(f"sample_weight: expected a number a sample, got dtype {weight.dtype}")
    if weight.shape != (samples,):
        raise ShapeError(f"sample_weight: shape {weight.shape}, expected ({samples},)")
    weight = quietly(np.ascontiguousarray, weight, dtype)  # 1e300 has no float32
    if not np.isfinite(weight).all():
        raise NonFiniteError("sample_weight: NaN or infinity, expected finite numbers")
    return weight


def class_weighted(data: Data, class_weight: Any, model: Structure) -> Data:
    """`data` with the weight of each sample multiplied by that of its class.

    `class_weight`: {class: weight}; a class that is not named has 1. The class is a label, the
    largest of a one-hot or soft target (as in Keras), or the 0 or 1 of a model with one output.
    ValueError for anything else.
    """
    if class_weight is None:
        return data
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight: {class_weight!r:.80}, expected a dict such as {{0: 1.0, 1: 2.5}}; for "
            "an array of weights dict(enumerate(weights)), for 'balanced' the dict "
            "{c: len(y) / (len(np.unique(y)) * np.sum(y == c)) for c in np.unique(y)}"
        )
    outputs = model.output_shape[-1]
    count = max(outputs, 2)
    table = np.ones(count, model.dtype)
    for label, value in class_weight.items():
        try:
            name = f"class_weight[{label!r}]"
            weight = number(value, name, lambda weight: 0 <= weight < 1e30)
            if label not in range(count):  # 1.0 and NumPy's 1 are in it as well
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{name} = {value!r:.80}, expected a finite weight of 0 or more for a class from "
                f"0 to {count - 1}"
            ) from None
        table[int(label)] = weight
    each = table[_classes(data.labels, outputs, model.loss)]
    return data._replace(weight=each if data.weight is None else each * data.weight)


def _classes(labels: Array, outputs: int, loss: Loss) -> Array:
    """The class of each sample, whichever form its label has; ValueError if it has none."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        if outputs == 1 and not np.isin(labels, (0, 1)).all():
            other = labels[~np.isin(labels, (0, 1))][0]
            raise ValueError(
                f"class_weight: y holds {other}, expected classes 0 and 1 for a model with one "
                "output; weight other targets with sample_weight"
            )
        return labels.astype(np.intp)
    soft = loss.output_activation == "softmax"  # a target there is a distribution
    values = np.unique(labels)
    one_hot = len(values) == 2 and ((labels == values[1]).sum(axis=-1) == 1).all()
    if labels.ndim != 2 or not (soft or one_hot):
        raise ValueError(
            f"class_weight: y of shape {labels.shape} names no class for each sample, expected "
            "class numbers or one-hot targets; weight other targets with sample_weight"
        )
    return labels.argmax(axis=-1)
