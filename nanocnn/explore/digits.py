"""Where the digits of a page come from: drawings, image files, and the test digits."""

import os
from functools import cache
from math import isqrt, prod
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import flag, numbers
from ..data import mnist
from ..data.batches import take
from ..losses import BinaryCrossentropy
from ..models.plan import last_activation
from ..models.predictor import UNIT_RANGE
from ..models.sequential import Sequential
from ..presets import labels_for
from .original import Original

MOST = 10_000  # test digits that are used
DIGITS = 10


@cache
def training_digits() -> tuple[Array, Array]:
    """MNIST's training digits: of the embedded sample, or the set that $NANOCNN_DATA names."""
    return _mnist()[0]


@cache
def test_digits() -> tuple[Array, Array]:
    """The test digits of the same."""
    return _mnist()[1]


def _mnist() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    return mnist.load(verbose=False) if os.environ.get("NANOCNN_DATA") else mnist.sample()


class Digits:
    """The samples that a page can show, in the form that a model takes them, and their labels.

    x, y        samples (N, *input_shape) and labels as for `fit`; y may be None. None for both:
                `tests`, or else MNIST's test digits, if the model takes 28x28 grey pixels
    raw_pixels  pixels are numbers from 0 to 255 for the model, not from 0 to 1
    tests       uint8 digits (N,28,28) and class numbers (N,), instead of MNIST's
    train       the same, for training; only kept for it, as `samples`, all of x and y, are

    Of more than 10,000 samples the first are used, and of MNIST's those whose label the model has.
    Raises ValueErrors for data that does not fit, and for a model of other inputs without x.
    """

    def __init__(
        self, model: Sequential, x: Any = None, y: Any = None, *, raw_pixels: bool = False,
        tests: tuple[Array, Array] | None = None, train: tuple[Array, Array] | None = None,
    ) -> None:  # fmt: skip
        model._build_for(x) if x is not None else model._require_built()
        if not model._compiled:
            model = Original(model).copy()
            give_loss(model)
        self.can_draw = tuple(n for n in model.input_shape if n != 1) in ((28, 28), (784,))
        self.classes = class_count(model)
        self.raw = flag(raw_pixels, "raw_pixels") or _is_raw(model)
        self.labels: Array | None = None  # class numbers (N,)
        self.y: Array | None = None  # as the loss takes them
        self.train, self.samples = train, None if x is None or y is None else (x, y)
        if x is None:
            if y is not None:
                raise ValueError("x=None with labels y, expected the samples x that they belong to")
            if not self.can_draw:
                raise ShapeError(
                    f"the model takes inputs of shape ({sizes(model.input_shape)}), expected "
                    "(28, 28, 1), (28, 28) or (784), which digits have; pass samples of your own: "
                    "explore(model, x, y)"
                )
            self._take_digits(model, *(tests or test_digits()))
        else:
            self._take_samples(model, x, y)

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.x)

    def _take_digits(self, model: Sequential, digits: Array, labels: Array) -> None:
        known = labels < self.classes if self.classes else np.zeros(len(labels), bool)
        digits, labels = digits[known][:MOST], labels[known][:MOST]
        self.images, self.labels = digits, labels.astype(np.int64)
        self.x = self.from_pixels(model, digits)
        self.y = labels_for(model, labels)

    def _take_samples(self, model: Sequential, x: Any, y: Any) -> None:
        images = model._images(x, "x")
        self.x = np.asarray(images[:MOST])
        if y is not None:
            given = model.loss.labels(y, model.output_shape, "y")
            if len(given) != len(images):
                raise ShapeError(
                    f"x has {len(images)} samples and y has {len(given)}, expected as many"
                )
            self.y = np.asarray(y)[:MOST]
            self.labels = _classes(given[:MOST], self.classes)
        if self.x.dtype != np.uint8:
            self.raw = self.raw or float(self.x.max()) > UNIT_RANGE
        self.images = self._shown(self.x)

    def from_pixels(self, model: Sequential, digits: Array) -> Array:
        """uint8 digits (N,28,28) as the model takes them: uint8 if it scales them, else floats."""
        shape = len(digits), *model.input_shape
        if model.scale_uint8 and not self.raw:
            return digits.reshape(shape)
        return np.divide(digits, 1 if self.raw else 255, dtype=model.dtype).reshape(shape)

    def shown(self, x: Array) -> Array:
        """One sample (1, *input_shape) as a picture."""
        return np.asarray(self._shown(x)[0])

    def _shown(self, x: Array) -> Array:
        """Samples as pictures, uint8 (N,H,W) or (N,H,W,3); of flat ones a square, or one row."""
        N, *shape = x.shape
        if len(shape) == 3 and shape[-1] not in (1, 3):
            x, shape = x[..., :1], [*shape[:2], 1]  # of many channels the first
        if len(shape) not in (2, 3):
            size, side = prod(shape), isqrt(prod(shape))
            shape = [side, side] if side * side == size else [1, size]
        elif shape[-1] == 1:
            shape = shape[:2]
        x = x.reshape(N, *shape)
        if x.dtype == np.uint8:
            return x
        if self.raw or x.min() < 0 or x.max() > UNIT_RANGE:
            low, high = (0.0, 255.0) if self.raw and x.min() >= 0 else (x.min(), x.max())
            x = (x - low) / (high - low or 1)
        return np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8)

    def inputs(self, model: Sequential, index: Any) -> Array:
        """The samples at `index` as numbers in the model's dtype."""
        return take(self.x, index, model.dtype)


def give_loss(model: Sequential) -> str:
    """Compile a model that has no loss with one that suits its output; return its name.

    "" for a model that has one.
    """
    if model._compiled:
        return ""
    last, shape = last_activation(model.layers), model.output_shape
    loss = "mean_squared_error"
    if last == "softmax" and len(shape) == 1 and shape[0] > 1:
        loss = "sparse_categorical_crossentropy"
    elif last == "sigmoid" and shape == (1,):
        loss = "binary_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"])
    return loss


def class_count(model: Sequential) -> int:
    """The number of classes that a label may name; 0 for a model whose outputs are no classes."""
    if len(model.output_shape) != 1:
        return 0
    if model.output_shape == (1,):
        return 2 if isinstance(model.loss, BinaryCrossentropy) else DIGITS
    return int(model.output_shape[0])


def target(model: Sequential, label: int | None) -> Array:
    """The label of one sample (1, ...) as the model's loss takes it; zeros for None."""
    if label is None:
        return np.zeros((1, *model.output_shape), model.dtype)
    return labels_for(model, np.array([label]))


def _classes(y: Array, classes: int) -> Array | None:
    """The class numbers (N,) that checked labels name, or None if they name none."""
    y = numbers(y, "y")
    if classes and y.ndim == 2 and y.shape[1] == classes > 1:
        one_hot = (y.max(axis=1) == 1).all() and (np.count_nonzero(y, axis=1) == 1).all()
        return y.argmax(axis=1) if one_hot else None
    if not classes or y.size != len(y):
        return None
    y = y.reshape(-1)
    whole = (y == np.rint(y)).all() and y.min() >= 0 and y.max() < classes
    return y.astype(np.int64) if whole else None


def _is_raw(model: Sequential) -> bool:
    """Whether the model was trained on pixels from 0 to 255, or scales them by a layer."""
    return model.unit_range is False or any(layer.scales_pixels for layer in model.layers)
