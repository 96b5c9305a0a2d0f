"""A chain of layers that predicts, and remembers the range of the data it was trained on."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..callbacks import Callback, CallbackList
from ..common.arrays import Array, quiet
from ..common.errors import NonFiniteError, ShapeError, warn
from ..common.validate import as_array, flag, integer, verbosity
from ..data.batches import Images, as_images, take
from ..data.lazy import LazyImages, is_lazy
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from ..layers import Dense
from ..layers.augmentation import RandomTransform
from .history import Progress
from .inference import inference
from .inputs import Data, samples_of
from .plan import Plan
from .sources import source_of
from .structure import Structure

INFERENCE_BATCH = 128  # large enough for the kernels, small enough for the cache
UNIT_RANGE = 1.5  # well above the range of scaled pixels
NO_CALLBACKS = CallbackList(None, None, None)  # making one takes longer than a small prediction

# Held by the thread that builds a model for its first data. An RLock, because a signal handler may
# build one too.
_building = threading.RLock()


def _after_fork() -> None:
    """The thread that may have held the lock does not exist in the child."""
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Predictor(Structure):
    """A `Structure` that predicts."""

    # Whether all training data lay within -UNIT_RANGE to UNIT_RANGE; None: not known.
    unit_range: bool | None = None
    _range_said = False

    @never_captured
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        *,
        augment: int = 0,
    ) -> Array:
        """The model's output for x (N, *input_shape): (N, *output_shape), a new array.

        As in `fit`, uint8 is scaled by 1/255 and floats are taken as they are; x may yield batches,
        of which labels are not used; and `steps` is the number of batches, None for all. A model
        trained on values within 1.5 warns once when it is given larger ones, and one trained on
        larger ones when it is given uint8. May be called by any number of threads at once. Of
        `callbacks` the `on_predict_` methods are called. Raises `NonFiniteError`, the layer named,
        when numbers overflow on the way.

        `augment`: the mean output for so many variants of each sample, made by the model's layers
        for augmentation (`RandomRotation` and its like), with the model's seed: the same variants
        each time. ValueError if it has none. 0 is the sample as it is.
        """
        verbosity(verbose)
        size = INFERENCE_BATCH if batch_size is None else integer(batch_size, "batch_size")
        # One image takes microseconds: no function is called for the default.
        variants = augment if type(augment) is int and not augment else self._variants(augment)
        if not (verbose or variants) and callbacks is None and steps is None:
            at_once = self._predict_at_once(x, size)
            if at_once is not None:
                return at_once
        source = source_of(x, None, None, self._unlabelled, size, steps)
        listeners = NO_CALLBACKS
        if callbacks is not None:
            listeners = CallbackList(callbacks, self, source.length)
        progress = Progress(verbose)
        outputs: list[Array] = []
        done = 0
        progress.begin("Prediction", source.samples)
        listeners.call("on_predict_begin", {})
        with self.borrowed_memory() as memory, progress:
            for number, (data, index) in enumerate(source.epoch() or ()):
                listeners.call("on_predict_batch_begin", number, {})
                n = samples_of(index)
                # Callbacks may patch layers; without any, `borrowed_memory` has just looked.
                plan = self._plan if callbacks is None else self.execution_plan
                found = inference(plan, n, memory)
                take(data.x, index, self.dtype, found.x)
                if variants:
                    outputs.append(self._mean_of_variants(plan, found.x, variants, done, memory))
                else:
                    found.run()
                    outputs.append(found.y.copy())
                done += n
                if not (np.isfinite(outputs[-1]).all() if variants else found.is_finite()):
                    raise NonFiniteError(
                        f"predict: NaN or infinity, first seen in {self._first_nonfinite(found.x)}"
                    )
                if progress.is_due():
                    progress.update(done, {})
                listeners.call("on_predict_batch_end", number, {"outputs": outputs[-1]})
            progress.end({}, done)
        listeners.call("on_predict_end", {})
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _variants(self, augment: Any) -> int:
        """Check the argument `augment`."""
        variants = integer(augment, "augment", 0)
        if variants and not any(isinstance(layer, RandomTransform) for layer in self.layers):
            raise ValueError(
                f"augment={variants}: model {self.name!r} has no layer for augmentation, expected "
                "one such as RandomRotation, or augment=0"
            )
        return variants

    @quiet
    def _mean_of_variants(
        self, plan: Plan, x: Array, variants: int, first: int, memory: Memory
    ) -> Array:
        """The mean output for random variants of x, whose first sample is number `first`."""
        total = np.zeros((len(x), *self.output_shape), self.dtype)
        try:
            for variant in range(variants):
                memory.first, memory.rng = first, np.random.default_rng((self.seed, variant))
                y = x
                for stage in plan.stages:
                    y = stage.forward(y, isinstance(stage.layers[0], RandomTransform), memory)
                total += y if plan.final is None else plan.final._forward(y, False, memory)
        finally:
            memory.first, memory.rng = 0, None
        return total / variants

    def _unlabelled(self, x: Any, y: Any = None, sample_weight: Any = None) -> Data:
        self._build_for(x)
        return Data(self._images(x), np.empty(0), None)

    def predict_on_batch(self, x: Any) -> Array:
        """`predict` of one batch."""
        return self.predict(x, 2**31 - 1)

    @never_captured
    def __call__(self, x: Any, training: bool = False) -> Array:
        """The output for a batch x (N, *input_shape), or for one image, as a batch of one.

        `training`: with dropout, and with the batch's own statistics, which moving averages follow.
        """
        training = flag(training, "training")
        x = as_array(x, "x")
        self._build_for(x)
        image = self.input_shape
        if x.shape == image or (image[-1] == 1 and x.shape == image[:-1]):
            x = x[np.newaxis]
        if not training:
            return self.predict_on_batch(x)
        images = take(self._images(x), slice(None), self.dtype)
        plan = self.execution_plan
        with self.borrowed_memory() as memory:
            y = plan.forward(images, True, memory)
            return np.array(y if plan.final is None else plan.final._forward(y, True, memory))

    def _predict_at_once(self, x: Any, size: int) -> Array | None:
        """`predict` of one batch, of the model's own type and shape, whose checks are kernels.

        None if it is another, or if there is something to say of it.
        """
        if not (
            self.built and self.layers == self._built_layers
            and type(x) is np.ndarray and x.dtype == self.dtype and x.ndim
            and x.shape[1:] == self.input_shape and 0 < len(x) <= size
        ):  # fmt: skip
            return None
        memory, spare = self._borrow()  # `borrowed_memory` would take a microsecond more
        try:
            found = inference(self._plan, len(x), memory)
            if not found.is_captured:
                return None
            np.copyto(found.x, x)
            found.run()
            if not found.is_finite() or (self.unit_range and found.largest[0] > UNIT_RANGE):
                return None
            return found.y.copy()
        finally:
            spare.append(memory)

    # --- Ready for data ---

    def _build_for(self, x: Any) -> None:
        if self.built:
            return self._require_built()
        with _building:
            if not self.built:
                given = (x if is_lazy(x) else as_array(x, "x")).shape
                shape = given[1:]
                if not shape:
                    raise ShapeError(f"x: shape {given}, expected (N, ...) samples")
                if len(shape) == 3 and shape[0] in (1, 3) and shape[1] == shape[2] > 4:
                    raise ShapeError(
                        f"x: shape {given}, expected (N, height, width, channels) (channels first? "
                        f"pass x.transpose(0, 2, 3, 1); if not, begin with Input({shape}))"
                    )
                if len(shape) == 2 and not isinstance((*self.layers, None)[0], Dense):
                    shape = (*shape, 1)
                try:
                    self._build(shape)
                except ShapeError as error:
                    if not (len(given) == 2 or (len(given) == 3 and given[2] in (1, 3))):
                        raise
                    hint = "(one image? pass x[np.newaxis])"
                    raise ShapeError(f"x of shape {given}: {error} {hint}") from None

    def _borrow(self) -> tuple[Memory, list[Memory]]:
        """A memory for inference, and the list to put it into afterwards."""
        plan, spare = self.execution_plan, self._spare  # a new plan has no spare memories
        try:
            return spare.pop(), spare
        except IndexError:
            return plan.memory(), spare

    @contextmanager
    def borrowed_memory(self) -> Iterator[Memory]:
        """A memory for inference that no other thread has at the same time."""
        memory, spare = self._borrow()
        try:
            yield memory
        finally:
            memory.release()
            spare.append(memory)

    # --- The range of the data ---

    def _build(self, given: tuple[int, ...]) -> None:
        before = self._built_layers
        super()._build(given)
        if not before:
            self.unit_range, self._range_said = None, False

    def _images(self, x: Any, name: str = "x", compare: bool = True) -> Images:
        """`x` checked and in the model's form; warns once of another range if `compare`."""
        images = as_images(x, self.input_shape, self.dtype, name, self.scale_uint8)
        if compare:
            self._compare_range(images, name)
        return images

    def _compare_range(self, images: Images, name: str) -> None:
        """Warn once if the images have another range than those the model was trained on."""
        if self.unit_range is None or self._range_said:
            return
        scaled = images.dtype == np.uint8  # others are as they will be used
        if self.unit_range and not scaled and (largest := _known(images).max()) > UNIT_RANGE:
            given = f"values up to {largest:g}"
            trained = f"values within {UNIT_RANGE}"
            fix = "for pixels of 0 to 255, " + "pass uint8 or " * self.scale_uint8 + "divide by 255"
        elif scaled and not self.unit_range:
            given, trained = "uint8, which is scaled by 1/255", f"values beyond {UNIT_RANGE}"
            fix = "for pixels as they are, pass x.astype('float32')"
        else:
            return
        self._range_said = True
        warn(
            f"{name}: {given}, where model {self.name!r} was trained on {trained}: {fix} "
            "(this is said once)"
        )

    def _trained_on(self, images: Images) -> None:
        """Remember the range of the images that the model is trained on."""
        if self.unit_range is not False:
            self.unit_range = images.dtype == np.uint8 or bool(
                (known := _known(images)).max() <= UNIT_RANGE and known.min() >= -UNIT_RANGE
            )

    @quiet
    def _first_nonfinite(self, x: Array) -> str:
        """The first layer whose weights or output for `x` are not finite, and which of the two."""
        for layer in self.layers:
            for name, array in layer.weights.items():
                if not np.isfinite(array).all():
                    return f"the {name} of layer {layer.name!r}"
            x = layer.run_forward(x, False, Memory())
            if not np.isfinite(x).all():
                return f"the output of layer {layer.name!r}"
        return "the loss"


def _known(images: Images) -> Array:
    """What tells their range: all of them, or the first where reading all would take long."""
    return images.first() if isinstance(images, LazyImages) else images
