"""`Feed`: the digits that a session trains on, in the batches that `fit` would take."""

from typing import Any

import numpy as np

from ..common.arrays import Array
from ..models.inputs import Data
from ..presets import labels_for
from .digits import Digits, training_digits


def can_feed(digits: Digits) -> bool:
    """Whether there is something to train on."""
    if digits.samples is not None:
        return digits.samples[1] is not None
    return digits.train is not None or digits.can_draw


class Feed:
    """Batches of a session's training digits for `model`, from any place of any epoch.

    ValueError if there is nothing to train on.
    """

    def __init__(self, model: Any, digits: Digits) -> None:
        if not can_feed(digits):
            raise ValueError("training: there is nothing to train on, expected samples x and y")
        self.model, self._digits = model, digits
        self._order: tuple[int, Array] = -1, np.zeros(0, np.int64)  # of an epoch
        self._pixels: Array | None = None  # uint8 digits that the model takes as floats
        if digits.samples is not None:
            x, y = digits.samples
            assert y is not None
            self._y = y
        else:
            pixels, labels = digits.train or training_digits()
            if labels.max() >= digits.classes:
                known = labels < digits.classes
                pixels, labels = pixels[known], labels[known]
            self._y = labels_for(model, labels)
            x = digits.from_pixels(model, pixels[:1])
            if x.dtype == np.uint8:
                x = digits.from_pixels(model, pixels)
            else:  # they would take eight times the memory
                self._pixels = pixels
        self.count = len(self._y)
        self._all = None if self._pixels is not None else self._checked(x, self._y)

    def batch(self, epoch: int, position: int, size: int) -> tuple[Data, slice | Array]:
        """Up to `size` samples from `position` on, in the order that `fit` gives this epoch."""
        if self._order[0] != epoch:
            rng = np.random.default_rng((self.model.seed, epoch))
            self._order = epoch, rng.permutation(self.count)
        index = self._order[1][position : position + size]
        if self._all is not None:
            return self._all, index
        assert self._pixels is not None
        x = self._digits.from_pixels(self.model, self._pixels[index])
        return self._checked(x, self._y[index]), slice(0, len(index))

    def _checked(self, x: Array, y: Array) -> Data:
        data: Data = self.model._training_data(x, y, None)
        self.model._trained_on(data.x)
        return data
