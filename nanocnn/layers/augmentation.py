"""Data augmentation: layers that move, turn, bend and erase images at random while training.

Neighbouring layers of equal `fill_mode` and `fill_value` run as one in a model: their maps are
composed, and each image is sampled once (`transform`), so it is not blurred several times.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.validate import integer, number, one_of
from ..jit.capture import each_time
from ..kernels import transforms
from ..kernels.memory import Memory
from .base import Array, Layer, Shape
from .pooling import image_shape

Row = tuple[float, float, float, float, float, float]  # see kernels/transforms.py
MOST_CELLS = 64


class RandomTransform(Layer):
    """Base class: images (N,H,W,C) -> (N,H,W,C), each changed by random amounts while training.

    Each training pass draws one 64-bit key from the model's generator; what happens to a sample is
    a function of the key and of its place in the batch. The identity when not training. A factor f
    is a number, for -f to f, or a pair (lowest, highest). ValueError for a factor out of range;
    ShapeError for an input that is not images.

    `active` may be set to False: the identity in training too (`StopAugmentation` does it).
    """

    random = True
    active = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.active = True  # of the layer itself: captured passes look whether it has changed

    @property
    def draws(self) -> int:  # type: ignore[override]
        """One, the key, if it is active."""
        return int(self.active)

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        return image_shape(input_shape, self.name), {}

    def _bounds(self, name: str, value: Any, least: float, most: float) -> tuple[float, float]:
        """Return the lowest and highest value of a factor."""
        where = f"{type(self).__name__}: {name}"
        words = f"from {least:g} to {most:g}, or a pair of them"
        if isinstance(value, (tuple, list)) and len(value) == 2:
            low, high = sorted(number(v, where, lambda v: least <= v <= most, words) for v in value)
            return low, high
        high = abs(number(value, where, lambda v: max(least, -most) <= v <= most, words))
        return max(-high, least), high


class Warp(RandomTransform):
    """Base class: neighbours run as one, see above."""

    operation, saves = "warp", ("key",)
    equation = "y[p] = x[M p], M drawn for each sample"
    fill_mode, fill_value = "constant", 0.0

    def row(self) -> Row:
        """The transform as numbers, for the kernel."""
        raise NotImplementedError

    def joins(self, before: Sequence["Warp"]) -> bool:
        """Whether this layer can run as one with those before it."""
        kinds = [layer.row()[0] for layer in (*before, self)]
        return (
            transforms.ERASING not in kinds[:-1]
            and kinds.count(transforms.ELASTIC) <= 1
            and (kinds[-1] == transforms.ERASING or _fill(self) == _fill(before[-1]))
        )

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        x = x if x.dtype.kind == "f" else x.astype(self.dtype)
        return transform(self, [self], x, training, memory)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        return transform_backward(self, [self], dy, memory)


class Geometric(Warp):
    """Base class: images are sampled at other places, bilinearly.

    `fill_mode` says what lies outside of the image: "constant" is `fill_value`, "nearest" the pixel
    at the border, "reflect" the image mirrored at its border, "wrap" the image again. All are those
    of Keras on TensorFlow, but for "wrap", where TensorFlow does not mix the last pixel of a row
    with the first.
    """

    def __init__(
        self, *, fill_mode: str = "reflect", fill_value: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.fill_mode = one_of(fill_mode, transforms.FILL_MODES, f"{kind}: fill_mode")
        self.fill_value = number(fill_value, f"{kind}: fill_value")


def transform(
    owner: object, layers: Sequence[Warp], x: Array, training: bool, memory: Memory
) -> Array:
    """Run those of `layers` that are active as one.

    `owner` has the buffers in `memory` and what is saved.
    """
    layers = [layer for layer in layers if layer.active]
    if not (training and layers):
        memory.save(owner, None)
        return x
    keys = draw_keys(owner, layers, memory)
    memory.save(owner, keys.reshape(-1))  # flat: more axes would be those of a batch
    out = memory.out(owner, y=x.shape)
    return layers[0].kernels.warp_forward(x, _rows(layers), keys, *_fill(layers[0]), **out)


def transform_backward(owner: object, layers: Sequence[Warp], dy: Array, memory: Memory) -> Array:
    """The gradient of `transform`."""
    (keys,) = memory.saved(owner)
    if keys is None:
        return dy
    layers = [layer for layer in layers if layer.active]
    out, keys = memory.out(owner, dx=dy.shape), keys.reshape(-1, 2)
    return layers[0].kernels.warp_backward(dy, _rows(layers), keys, *_fill(layers[0]), **out)


def draw_keys(owner: object, layers: Sequence[RandomTransform], memory: Memory) -> Array:
    """For each layer a key and the place of the first sample in the whole batch: uint64 (T, 2)."""
    keys = memory.out(owner, key=(len(layers), 2)).get("out", np.zeros((len(layers), 2), np.uint64))
    each_time(_draw, layers[0], keys, memory)
    return keys


def _draw(layer: RandomTransform, keys: Array, memory: Memory) -> None:
    rng = layer.rng if memory.rng is None else memory.rng
    keys[:, 0] = rng.integers(2**64, size=len(keys), dtype="uint64")
    keys[:, 1] = memory.first


def _rows(layers: Sequence[Warp]) -> Array:
    return np.array([layer.row() for layer in layers])


def _fill(layer: Warp) -> tuple[str, float]:
    return layer.fill_mode, layer.fill_value


class RandomTranslation(Geometric):
    """Move images by a share of their height (positive: down) and width (positive: right).

    Factors from -1 to 1. Source: keras/src/layers/preprocessing/image_preprocessing/
    random_translation.py.
    """

    def __init__(
        self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect", **options: Any
    ) -> None:
        super().__init__(fill_mode=fill_mode, **options)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.row()

    def row(self) -> Row:
        height = self._bounds("height_factor", self.height_factor, -1, 1)
        width = self._bounds("width_factor", self.width_factor, -1, 1)
        return transforms.TRANSLATION, *height, *width, 0


class RandomRotation(Geometric):
    """Turn images about their middle by a share of a full turn (positive: counterclockwise).

    A factor of 0.04 is up to 14.4 degrees either way; from -1 to 1. Source: keras/src/layers/
    preprocessing/image_preprocessing/random_rotation.py.
    """

    def __init__(self, factor: Any, fill_mode: str = "reflect", **options: Any) -> None:
        super().__init__(fill_mode=fill_mode, **options)
        self.factor = factor
        self.row()

    def row(self) -> Row:
        return transforms.ROTATION, *self._bounds("factor", self.factor, -1, 1), 0, 0, 0


class RandomZoom(Geometric):
    """Zoom out of the middle of images by a share of their height and width (negative: in).

    Factors above -1, to 1; without `width_factor`, images keep their proportions. Source:
    keras/src/layers/preprocessing/image_preprocessing/random_zoom.py.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        **options: Any,
    ) -> None:
        super().__init__(fill_mode=fill_mode, **options)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.row()

    def row(self) -> Row:
        least = -1 + 1e-6  # -1 would show a single point
        height = self._bounds("height_factor", self.height_factor, least, 1)
        if self.width_factor is None:
            return transforms.ZOOM, *height, 0, 0, 1
        return (
            transforms.ZOOM,
            *height,
            *self._bounds("width_factor", self.width_factor, least, 1),
            0,
        )


class RandomShear(Geometric):
    """Slant images: each row moves right by a share of its y, each column down by one of its x.

    From the top left corner; the two have the same random sign. Factors from 0 to 1; a number f is
    for -f to f before that sign. Source: keras/src/layers/preprocessing/image_preprocessing/
    random_shear.py.
    """

    def __init__(self, x_factor: Any = 0.0, y_factor: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.x_factor, self.y_factor = x_factor, y_factor
        self.row()

    def row(self) -> Row:
        x, y = self._either("x_factor", self.x_factor), self._either("y_factor", self.y_factor)
        return transforms.SHEAR, *x, *y, 0

    def _either(self, name: str, value: Any) -> tuple[float, float]:
        low, high = self._bounds(name, value, 0, 1)
        return (low, high) if isinstance(value, (tuple, list)) else (-high, high)


class RandomElastic(Geometric):
    """Bend images: the knots of a coarse grid move at random, and a cubic B-spline lies between.

    factor  how far a knot moves at most, as a share of height and width: from 0 to 1; the image
            itself moves by about half of that
    cells   cells of the grid in each direction, 1 to 64: fewer are smoother

    Where a layer is composed with others, the displacement is that of the output's pixels. After
    Simard et al. 2003, "Best practices for convolutional neural networks", with a spline in place
    of the Gaussian; Keras's RandomElasticTransform is another.
    """

    equation = "y[p] = x[p + d(p)], d drawn for each sample"

    def __init__(self, factor: Any, *, cells: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor
        self.cells = integer(cells, "RandomElastic: cells")
        if self.cells > MOST_CELLS:
            raise ValueError(f"RandomElastic: cells={cells!r}, expected 1 to {MOST_CELLS}")
        self.row()

    def row(self) -> Row:
        low, high = self._bounds("factor", self.factor, -1, 1)
        return transforms.ELASTIC, low, high, low, high, self.cells


class RandomErasing(Warp):
    """Set a rectangle of an image to `fill_value`.

    factor      the probability of an erasure, from 0 to 1; a number p is for 0 to p, as in Keras
    scale       shares of the image's area: height and width of the rectangle are the roots of two
                such shares times the image's; a pair of numbers from 0 to 1, or one for 0 to it
    fill_value  a number in `value_range`, to which Keras clips it; Keras's default is noise

    Source: keras/src/layers/preprocessing/image_preprocessing/random_erasing.py, after
    Zhong et al. 2017; see `RandomTransform`.
    """

    equation = "y = x outside of a random rectangle"

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: float = 0.0,
        value_range: tuple[float, float] = (0, 255),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.factor, self.scale, self.value_range = factor, scale, value_range
        if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
            raise ValueError(
                f"RandomErasing: value_range={value_range!r:.80}, expected (lowest, highest)"
            )
        low, high = (number(each, "RandomErasing: value_range") for each in value_range)
        self.fill_value = number(
            fill_value, "RandomErasing: fill_value", lambda value: low <= value <= high,
            f"of value_range, from {low:g} to {high:g}",
        )  # fmt: skip
        self.row()

    def row(self) -> Row:
        chance = self._bounds("factor", self.factor, 0, 1)
        return (
            transforms.ERASING,
            *chance,
            *self._bounds("scale", self.scale, 0, 1),
            self.fill_value,
        )
