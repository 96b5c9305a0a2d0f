"""Layers that shift and scale their input by constants: Rescaling and Normalization."""

from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..common.tables import sizes
from ..common.validate import as_array, flag, integer
from ..jit.capture import each_time
from ..kernels.memory import Memory
from .base import Layer, Shape

LEAST = 1e-7**2  # the variance that a smaller one counts as: as in Keras


class Affine(Layer):
    """Base class: y = gamma * (x - mean) / sqrt(variance) + beta, with constants for each channel.

    This is what batch normalization computes in inference, so its kernel is used.
    """

    operation = "batch_norm_inference"
    scales_pixels = True
    axis: int | None = -1  # of the constants: the channels, or None for one number
    given: dict[str, Any]  # those that are arguments, by name

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        C = 1 if self.axis is None else input_shape[-1]
        for name, value in self.given.items():
            if np.size(value) not in (1, C):
                raise ShapeError(
                    f"{self.name}: {name} has {np.size(value)} numbers, expected 1 or {C} "
                    "(channels)"
                )
        return input_shape, {}

    def _prepare(self) -> None:
        shape = 5, self.input_shape[-1]
        self.vectors = np.zeros(shape, self.dtype)  # gamma, beta, mean, variance, zeros
        self.vectors[0] = self.vectors[3] = 1
        self._fill()

    def _fill(self) -> None:
        """Set those of `vectors` that are not 0 or 1."""
        raise NotImplementedError

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        if self.state:  # it may be set after the pass was captured
            each_time(self._fill)
        gamma, beta, mean, variance, _ = self.vectors
        out = memory.out(self, y=x.shape)
        return self.kernels.batch_norm_inference(x, gamma, beta, mean, variance, 0.0, **out)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        gamma, _, _, variance, zeros = self.vectors
        out = memory.out(self, dx=dy.shape)
        return self.kernels.batch_norm_inference(dy, gamma, zeros, zeros, variance, 0.0, **out)


class Rescaling(Affine):
    """y = x * scale + offset, for x of any shape: Rescaling(1 / 255) takes pixels to 0 to 1.

    `scale` and `offset` are numbers, or lists of one a channel (the last axis); ValueError for
    others. A model with this layer takes uint8 pixels as numbers of 0 to 255, as Keras does.
    Source: keras/src/layers/preprocessing/rescaling.py.
    """

    equation = "y = x * scale + offset"

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale = _numbers(scale, "Rescaling: scale")
        self.offset = _numbers(offset, "Rescaling: offset")
        self.given = {"scale": self.scale, "offset": self.offset}

    def _fill(self) -> None:
        self.vectors[0], self.vectors[1] = self.scale, self.offset


class Normalization(Affine):
    """y = (x - mean) / sqrt(variance), with numbers that are given or those of data (`adapt`).

    `axis` -1: one mean and variance a channel (the last axis); None: one in all. ValueError for
    other axes. `mean` and `variance` are numbers or lists of one a channel; `invert` computes x
    from y. Without given numbers, the layer has weights mean, variance and count (which nothing
    uses, as in Keras), 0, 1 and 0 before `adapt`. A model with this layer takes uint8 pixels as
    numbers of 0 to 255, as Keras does.
    Source: keras/src/layers/preprocessing/normalization.py.
    """

    untrained = ("mean", "variance", "count")
    equation = "y = (x - mean) / sqrt(variance)"

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        axes = [] if axis is None else axis if isinstance(axis, (tuple, list)) else [axis]
        if len(axes) > 1:
            raise ValueError(f"Normalization: axis={axis!r:.80}, expected -1 (channels) or None")
        self.axis = integer(axes[0], "Normalization: axis", -1) if axes else None
        self.invert = flag(invert, "Normalization: invert")
        if self.invert:
            self.equation = "y = x * sqrt(variance) + mean"
        if (mean is None) != (variance is None):
            given = f"mean={mean!r:.80}, variance={variance!r:.80}"
            raise ValueError(f"Normalization: {given}, expected both or neither")
        self.mean = None if mean is None else _numbers(mean, "Normalization: mean")
        self.variance = None if mean is None else _numbers(variance, "Normalization: variance", 0)
        self.given = {} if mean is None else {"mean": self.mean, "variance": self.variance}
        self._adapted: dict[str, Array] = {}

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        if self.axis not in (None, -1, len(input_shape)):
            raise ValueError(f"{self.name}: axis={self.axis!r}, expected -1 (channels) or None")
        if self.given:
            return super().shapes(input_shape)
        shape = () if self.axis is None else input_shape[-1:]
        return input_shape, {"mean": shape, "variance": shape, "count": ()}

    def initial(self, name: str, shape: Shape) -> Any:
        return self._adapted.get(name, "ones" if name == "variance" else "zeros")

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of an array `data` (N, ...).

        ValueError for other data, and for a layer whose mean is given.
        """
        x = as_array(data, f"{self.name}: data")
        shape = self.input_shape if self.built else x.shape[1:]
        if x.dtype.kind not in "buif" or x.ndim < 2 or x.size == 0 or x.shape[1:] != shape:
            wanted = sizes(self.input_shape) if self.built else "..."
            raise ShapeError(
                f"{self.name}: data: {x.dtype} of shape {x.shape}, expected numbers (N, {wanted})"
            )
        if not np.isfinite(x).all():
            raise NonFiniteError(f"{self.name}: data: NaN or infinity, expected finite numbers")
        if self.mean is not None:
            raise ValueError(f"{self.name}: adapt, but mean={self.mean!r:.80} was given")
        axes = None if self.axis is None else tuple(range(x.ndim - 1))
        self._adapted = {"mean": x.mean(axes, np.float64), "variance": x.var(axes, np.float64)}
        for name in self._adapted.keys() & self.state.keys():
            self.state[name][...] = self._adapted[name]

    def _fill(self) -> None:
        weights = self.state or self.given
        variance = np.maximum(weights["variance"], LEAST)
        first, second = (1, 0) if self.invert else (2, 3)
        self.vectors[first] = weights["mean"]
        self.vectors[second] = np.sqrt(variance) if self.invert else variance


def _numbers(value: Any, name: str, least: float = -1e30) -> Any:
    """A number, or a list of numbers."""
    array = as_array(value, name)
    numeric = array.dtype.kind in "uif" and array.ndim < 2
    if not numeric or not ((least <= array) & (array <= 1e30)).all():
        raise ValueError(
            f"{name}={value!r:.80}, expected a number, or a list of one a channel"
            + ", each of at least 0" * (least == 0)
        )
    return array.astype(np.float64).tolist()
