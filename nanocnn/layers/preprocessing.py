"""Layers that shift and scale their input by constants: Rescaling and Normalization."""

from collections.abc import Iterable
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
CHUNK = 1024  # samples of which `adapt` makes float64 numbers at a time


class Affine(Layer):
    """Base class: y = gamma * (x - mean) / sqrt(variance) + beta, with constants for each channel.

    This is what batch normalization computes in inference, so its kernel is used.
    """

    operation = "batch_norm_inference"
    scales_pixels = True

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

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale = _numbers(scale, "Rescaling: scale")
        self.offset = _numbers(offset, "Rescaling: offset")

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        _check_fits(self, input_shape[-1], scale=self.scale, offset=self.offset)
        return input_shape, {}

    def _fill(self) -> None:
        self.vectors[0], self.vectors[1] = self.scale, self.offset

    def formula(self) -> str:
        return "y = x * scale + offset"


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
        if (mean is None) != (variance is None):
            raise ValueError(
                f"Normalization: mean={mean!r:.80}, variance={variance!r:.80}, expected both or "
                "neither"
            )
        self.mean = None if mean is None else _numbers(mean, "Normalization: mean")
        self.variance = None if mean is None else _numbers(variance, "Normalization: variance")
        self._adapted: dict[str, Array] = {}

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        if self.axis not in (None, -1, len(input_shape)):
            raise ValueError(f"{self.name}: axis={self.axis!r}, expected -1 (channels) or None")
        if self.mean is not None:
            C = 1 if self.axis is None else input_shape[-1]
            _check_fits(self, C, mean=self.mean, variance=self.variance)
            return input_shape, {}
        shape = () if self.axis is None else input_shape[-1:]
        return input_shape, {"mean": shape, "variance": shape, "count": ()}

    def initial(self, name: str, shape: Shape) -> Any:
        return self._adapted.get(name, "ones" if name == "variance" else "zeros")

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of `data` (N, ...), or of an iterable of such batches.

        Of a batch (x, y) only x counts. ValueError for other data and a layer whose mean is given.
        """
        if self.mean is not None:
            raise ValueError(f"{self.name}: adapt, but mean={self.mean!r:.80} was given")
        if isinstance(data, np.ndarray):
            starts = range(0, len(data), CHUNK) if data.ndim else ()
            data = [data[start : start + CHUNK] for start in starts]
        if not isinstance(data, Iterable):
            raise ValueError(f"{self.name}: data={data!r:.80}, expected an array, or batches")
        total, mean, variance = 0, np.zeros(()), np.zeros(())
        for batch in data:
            x = self._batch(batch[0] if isinstance(batch, tuple) and batch else batch)
            axes = None if self.axis is None else tuple(range(x.ndim - 1))
            count = x.size // (1 if axes is None else x.shape[-1])
            total += count
            # Chan et al. 1983: the variance of two sets from those of each and their means.
            off, share = x.mean(axis=axes) - mean, count / total
            variance = variance + (x.var(axis=axes) - variance + off**2 * (1 - share)) * share
            mean = mean + off * share
        if not total:
            raise ValueError(f"{self.name}: data={data!r:.80}, expected at least one sample")
        self._adapted = {"mean": mean, "variance": variance}
        for name in self._adapted.keys() & self.state.keys():
            self.state[name][...] = self._adapted[name]

    def _batch(self, data: Any) -> Array:
        x = as_array(data, f"{self.name}: data")
        expected = self.input_shape if self.built else x.shape[1:]
        if x.dtype.kind not in "buif" or x.ndim < 2 or x.size == 0 or x.shape[1:] != expected:
            shape = sizes(self.input_shape) if self.built else "..."
            raise ShapeError(
                f"{self.name}: data: {x.dtype} of shape {x.shape}, expected numbers (N, {shape})"
            )
        if not np.isfinite(x).all():
            raise NonFiniteError(f"{self.name}: data: NaN or infinity, expected finite numbers")
        return x.astype(np.float64)

    def _fill(self) -> None:
        weights: dict[str, Any] = self.state or {"mean": self.mean, "variance": self.variance}
        variance = np.maximum(weights["variance"], LEAST)
        first, second = (1, 0) if self.invert else (2, 3)
        self.vectors[first] = weights["mean"]
        self.vectors[second] = np.sqrt(variance) if self.invert else variance

    def formula(self) -> str:
        return (
            f"y = {'x * sqrt(variance) + mean' if self.invert else '(x - mean) / sqrt(variance)'}"
        )


def _numbers(value: Any, name: str) -> Any:
    """A number, or a list of numbers."""
    array = as_array(value, name)
    if array.dtype.kind not in "uif" or array.ndim > 1 or not (abs(array) <= 1e30).all():
        raise ValueError(f"{name}={value!r:.80}, expected a number, or a list of one a channel")
    return array.astype(np.float64).tolist()


def _check_fits(layer: Layer, C: int, **values: Any) -> None:
    """Raise ShapeError unless each value is a number, or a list of one number or C."""
    for name, value in values.items():
        if np.size(value) not in (1, C):
            raise ShapeError(
                f"{layer.name}: {name} has {np.size(value)} numbers, expected 1 or {C} (channels)"
            )
