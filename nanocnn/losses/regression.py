"""Losses that compare numbers, as means over a sample's elements."""

from .base import Loss


class MeanSquaredError(Loss):
    """The mean over a sample's elements of (prediction - target)^2, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    operation = "mean_squared_error"


class MeanAbsoluteError(Loss):
    """The mean over a sample's elements of |prediction - target|, both (N, ...).

    ValueError for targets of another shape. Source: keras/src/losses/losses.py.
    """

    operation = "mean_absolute_error"
