"""`ImageDataGenerator`, for scripts of old Keras. New code begins its model with Random... layers.

Source: keras/src/legacy/preprocessing/image.py.
"""

import math
from collections.abc import Iterator
from inspect import signature
from typing import Any

import numpy as np

from ..common import seeds, validate
from ..common.arrays import Array
from ..common.errors import ShapeError, unknown
from ..common.names import names_of, no_attribute
from ..kernels.transforms import FILL_MODES
from ..layers import Input, Layer, RandomRotation, RandomShear, RandomTranslation, RandomZoom
from ..models import Sequential
from ..utils import PyDataset

__getattr__ = names_of(__name__)
OWNER = "ImageDataGenerator"
LEAST = 1e-6  # the share that zoom may show: less would be a single point
NAMES = ("height_shift_range", "width_shift_range")
BEFORE, GENERATOR = "apply it to the images before flow", "give fit a generator that does it"
NORMALIZATION = "use the layer Normalization, with adapt"
# Keras's other arguments: the values that they may have, the first being the default, and advice.
ONLY: dict[str, tuple[tuple[Any, ...], str]] = {
    "featurewise_center": ((False,), NORMALIZATION),
    "samplewise_center": ((False,), BEFORE),
    "featurewise_std_normalization": ((False,), NORMALIZATION),
    "samplewise_std_normalization": ((False,), BEFORE),
    "zca_whitening": ((False,), BEFORE),
    "zca_epsilon": ((1e-6,), BEFORE),
    "brightness_range": ((None,), GENERATOR),
    "channel_shift_range": ((0, None), GENERATOR),
    "horizontal_flip": ((False,), GENERATOR),
    "vertical_flip": ((False,), GENERATOR),
    "preprocessing_function": ((None,), BEFORE),
    "data_format": ((None, "channels_last"), "images are (N,H,W,C)"),
    "interpolation_order": ((1,), "images are sampled bilinearly"),
}


class ImageDataGenerator:
    """Makes batches of images that are turned, moved and zoomed at random: see `flow`.

    rotation_range      degrees, 0 to 360, up to that many either way
    width_shift_range   shares of the width, or pixels if 1 or more, either way (for a whole number
    height_shift_range  n any shift up to n; in Keras, whole pixels below n); no lists
    shear_range         degrees, 0 to 90: as RandomShear(sin), so from the top left corner, where
                        Keras shears about the middle
    zoom_range          z for 1 - z to 1 + z, or (lowest, highest): the share of height and of width
                        that is seen, up to 2
    fill_mode, cval     what lies outside of the image: see `nanocnn.layers.RandomTranslation`
    rescale             a number that the images are multiplied by, after all else
    validation_split    the share of x, its first images, that is the `subset` "validation" of flow
    dtype               of the batches: float32 or float64

    The Random... layers do the work, and sample each image once. Keras's other arguments have their
    defaults only. ValueError for other values.
    """

    def __init__(
        self, *, rotation_range: float = 0, width_shift_range: float = 0.0,
        height_shift_range: float = 0.0, shear_range: float = 0.0, zoom_range: Any = 0.0,
        fill_mode: str = "nearest", cval: float = 0.0, rescale: float | None = None,
        validation_split: float = 0.0, dtype: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        known = [*signature(ImageDataGenerator).parameters][:-1]
        for name, value in options.items():
            if name not in ONLY:
                raise unknown(f"argument of {OWNER}", name, (*known, *ONLY))
            values, advice = ONLY[name]
            if not any(value is each or (np.isscalar(value) and value == each) for each in values):
                raise _error(name, value, f"{values[0]!r}; {advice}")
        self.rotation_range = _number("rotation_range", rotation_range, 360)
        self.width_shift_range = _number("width_shift_range", width_shift_range)
        self.height_shift_range = _number("height_shift_range", height_shift_range)
        self.shear_range = _number("shear_range", shear_range, 90)
        if not isinstance(zoom_range, (tuple, list)):
            zoom = _number("zoom_range", zoom_range, 1)
            zoom_range = max(1 - zoom, LEAST), 1 + zoom
        if len(zoom_range) != 2:
            raise _error("zoom_range", zoom_range, "a number or (lowest, highest)")
        self.zoom_range = [_number("zoom_range", each, 2, LEAST) for each in zoom_range]
        self.fill_mode = validate.one_of(fill_mode, FILL_MODES, f"{OWNER}: fill_mode")
        self.cval = validate.number(cval, f"{OWNER}: cval")
        self.rescale = 1.0
        if rescale is not None:
            self.rescale = validate.number(rescale, f"{OWNER}: rescale") or 1.0  # as in Keras
        self.validation_split = _number("validation_split", validation_split, 0.999)
        self.dtype = validate.float_type(
            "float32" if dtype is None else dtype, f"{OWNER}: dtype"
        ).name

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(OWNER, name, ("fit", "flow"))

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Check the images x (N,H,W,C): nothing here is learnt from them."""
        _images(x, "fit: x")

    def flow(
        self, x: Any, y: Any = None, batch_size: int = 32, shuffle: bool = True,
        sample_weight: Any = None, seed: int | None = None, save_to_dir: None = None,
        save_prefix: str = "", save_format: str = "png", ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> "NumpyArrayIterator":  # fmt: skip
        """Return endless batches of x (N,H,W,C), with y and sample_weight where they are given.

        Pixels become floats of the same value: 0.0 to 255.0 of uint8, without `rescale`. `seed` is
        that of order and amounts, by default that of `utils.set_random_seed`. `subset`: "training"
        or "validation". Images are not written to files: save_to_dir is None. ValueError for other
        values.
        """
        parts = [_images(x, "flow: x")]
        if sample_weight is not None and y is None:
            raise ValueError("flow: sample_weight, expected y with it")
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                parts.append(validate.numbers(value, f"flow: {name}", 1))
                if len(parts[-1]) != len(parts[0]):
                    raise ShapeError(f"flow: {name} has {len(parts[-1])} entries, expected "
                                     f"{len(parts[0])}, as many as images")  # fmt: skip
        if save_to_dir is not None:
            raise ValueError(f"flow: save_to_dir={save_to_dir!r:.80}, expected None")
        if subset is not None:
            subset = validate.one_of(subset, ("training", "validation"), "flow: subset")
            cut = int(len(parts[0]) * self.validation_split)
            parts = [part[:cut] if subset == "validation" else part[cut:] for part in parts]
        if not len(parts[0]):
            raise ShapeError(f"flow: subset={subset!r} of x has no image, expected one or more; "
                             f"validation_split is {self.validation_split:g}")  # fmt: skip
        size = validate.integer(batch_size, "flow: batch_size")
        shuffle = validate.flag(shuffle, "flow: shuffle")
        rng = validate.generator(seeds.default if seed is None else seed, "flow: seed")
        return NumpyArrayIterator(self, parts, size, shuffle, rng)

    def layers(self, height: int, width: int) -> list[Layer]:
        """Return the layers that do it for images of this size, in Keras's order."""
        fill: Any = {"fill_mode": self.fill_mode, "fill_value": self.cval}
        shifts = []
        for name, size in zip(NAMES, (height, width), strict=True):
            shift = getattr(self, name)
            shifts.append(shift / size if shift >= 1 else shift)
            if shifts[-1] > 1:
                raise _error(name, shift, f"at most {size} pixels, the size of the images")
        turn, shear = self.rotation_range / 360, math.sin(math.radians(self.shear_range))
        zoom = [each - 1 for each in self.zoom_range]
        return [
            *[RandomRotation(turn, **fill)] * bool(turn),
            *[RandomTranslation(*shifts, **fill)] * any(shifts),
            *[RandomShear(shear, **fill)] * bool(shear),
            *[RandomZoom(zoom, zoom, **fill)] * any(zoom),
        ]


class NumpyArrayIterator(PyDataset, Iterator[Any]):
    """Batches by index, or endless: `ImageDataGenerator.flow` makes it."""

    def __init__(
        self, datagen: ImageDataGenerator, parts: list[Array], batch_size: int, shuffle: bool,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.n, self.batch_size, self.shuffle = len(parts[0]), batch_size, shuffle
        self.batch_index = 0
        self._datagen, self._parts, self._rng = datagen, parts, rng
        shape = parts[0].shape[1:]
        layers = [Input(shape), *datagen.layers(*shape[:2])]
        self._model = Sequential(layers, seed=int(rng.integers(2**63)), dtype=datagen.dtype)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch, unless the iterator is in the middle of one."""
        if not self.batch_index:
            self._order = self._rng.permutation(self.n) if self.shuffle else np.arange(self.n)

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, idx: int) -> Any:
        """Batch `idx`: images, or a tuple of images, y and sample_weight as far as given."""
        if validate.integer(idx, "idx", 0) >= len(self):
            raise ValueError(f"idx={idx!r}, expected 0 to {len(self) - 1}: {len(self)} batches")
        index = self._order[self.batch_size * idx : self.batch_size * (idx + 1)]
        images, *others = (part[index] for part in self._parts)
        images = images.astype(self._datagen.dtype)
        if self._model.layers:
            images = self._model(images, training=True)
        images *= self._datagen.rescale
        return (images, *others) if others else images

    def __next__(self) -> Any:
        self.on_epoch_end()
        batch = self[self.batch_index]
        self.batch_index = (self.batch_index + 1) % len(self)
        return batch


def _error(name: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{OWNER}: {name}={value!r:.80}, expected {expected}")


def _number(name: str, value: Any, most: float = 1e6, least: float = 0) -> float:
    words = f"from {least:g} to {most:g}" if most < 1e6 else "of at least 0"
    return validate.number(value, f"{OWNER}: {name}", lambda each: least <= each <= most, words)


def _images(x: Any, where: str) -> Array:
    images = validate.as_array(x, where)
    if images.dtype.kind not in "buif" or images.ndim != 4 or not images.size:
        raise ShapeError(f"{where}: {images.dtype} of shape {images.shape}, expected images "
                         "(N, height, width, channels)")  # fmt: skip
    return images
