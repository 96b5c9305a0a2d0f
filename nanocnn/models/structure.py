"""A stack of layers: building, weights and configuration."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ..common import seeds
from ..common.arrays import Array, quiet
from ..common.errors import ShapeError, warn
from ..common.names import ADVICE, no_attribute
from ..common.validate import as_array, flag, float_type, integer, sample_shape
from ..data.batches import Images, as_images
from ..data.lazy import LazyImages, is_lazy
from ..kernels import get_kernels
from ..kernels.memory import Memory
from ..layers import Dense, Input, Layer, is_builtin, layer_config, make_names_unique
from .plan import Plan

UNIT_RANGE = 1.5  # well above the range of scaled pixels

# Held by the thread that builds a model for its first data. An RLock, because a signal handler may
# build one too.
_building = threading.RLock()


def _after_fork() -> None:
    """The thread that may have held the lock does not exist in the child."""
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Structure:
    """Layers, one after the other, and their weights. For the arguments see `Sequential`."""

    def __init__(
        self,
        layers: Sequence[Layer] = (),
        seed: int | None = None,
        dtype: str = "float32",
        kernels: str = "fast",
        name: str = "sequential",
        scale_uint8: bool = True,
    ) -> None:
        self.scale_uint8 = flag(scale_uint8, "scale_uint8")
        # Whether all training data lay within -UNIT_RANGE to UNIT_RANGE; None: not known.
        self.unit_range: bool | None = None
        self._range_said = False
        self.dtype = float_type(dtype)
        if not isinstance(name, str):
            raise ValueError(f"Sequential: name={name!r:.80}, expected text")
        if not isinstance(layers, (list, tuple)):
            raise ValueError(f"Sequential: layers={layers!r:.80}, expected a list of layers")
        seed = seeds.default if seed is None else seed
        self.name, self.seed = name, integer(seed, "seed", 0, bits=128)
        self.kernel_set = kernels
        # Loaded now: a child forked while another thread imports them would wait forever.
        self.kernels: ModuleType = get_kernels(kernels)
        self.layers: list[Layer] = []
        self._built_layers: list[Layer] = []
        self._plan: Plan
        self._spare: list[Memory] = []
        self.built = False
        self.rng = np.random.default_rng(self.seed)
        present: set[int] = set()  # searching the list for each layer would be quadratic
        for layer in layers:
            self._append(layer, present)
        self._build_if_possible()

    def add(self, layer: Layer) -> None:
        """Append a layer. The model is rebuilt, with new weights."""
        self._append(layer, {id(each) for each in self.layers})
        self._build_if_possible()

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make all weights for `input_shape`: (28, 28, 1) or, as in Keras, (None, 28, 28, 1).

        Raises `ShapeError` when a layer does not fit onto the one before it.
        """
        if isinstance(input_shape, (tuple, list)) and None in input_shape[:1]:
            input_shape = input_shape[1:]
        given = sample_shape(input_shape, "build: input_shape")
        layers = self.layers
        if all(isinstance(layer, Input) for layer in layers):
            raise ValueError("a model without layers: give Sequential a list of layers")
        if not isinstance(layers[0], Input):
            layers = [Input(given), *layers]
        make_names_unique(layers)
        self.built = False
        rng: np.random.Generator | None = None
        while self.rng is not rng:  # again if a signal handler has built it meanwhile
            self.rng = rng = np.random.default_rng(self.seed)
            shape = given
            for layer in layers:
                shape = layer.build(shape, rng, self.dtype, self.kernels)
                layer.rng = rng  # one stream of random numbers for the whole model
        if any(layer.scales_pixels for layer in layers):
            self.scale_uint8 = False
        self.layers, self.input_shape, self.output_shape = layers, layers[0].output_shape, shape
        self._built_layers = list(layers)
        self._layers_changed()
        self.unit_range, self._range_said = None, False
        self.built = True

    @property
    def execution_plan(self) -> Plan:
        """The stages that the layers run in; made again when a layer was patched."""
        if not self._plan.fits():
            self._layers_changed()
        return self._plan

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

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def count_params(self) -> int:
        """The number of weights, trained or not."""
        return sum(layer.count_params() for layer in self.layers)

    @property
    def weights(self) -> dict[str, Array]:
        """All weights by "layer/name", in Keras's order: the arrays themselves."""
        return {
            f"{layer.name}/{name}": array
            for layer in self.layers
            for name, array in layer.weights.items()
        }

    def trained(self) -> dict[str, Array]:
        """The parameters that training changes, by "layer/name": the arrays themselves."""
        return {
            f"{layer.name}/{name}": param
            for layer in self.layers
            if layer.trainable
            for name, param in layer.params.items()
        }

    def parameters(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """`trained` and, after a backward pass, the gradients, by "layer/name".

        The gradients of the L2 penalties are added in place.
        """
        params = self.trained()
        grads = {
            f"{layer.name}/{name}": layer.grads[name]
            for layer in self.layers
            if layer.trainable
            for name in layer.params
        }
        if factors := self.penalties():
            self.kernels.l2_gradient(
                [params[name] for name in factors], [grads[name] for name in factors],
                np.array([*factors.values()]),
            )  # fmt: skip
        return params, grads

    def penalties(self) -> dict[str, float]:
        """The L2 factors by "layer/name"; as in Keras, only of layers that are trained."""
        return {
            f"{layer.name}/{name}": factor
            for layer in self.layers
            if layer.trainable
            for name, factor in layer.penalties.items()
            if factor
        }

    def penalty(self) -> float:
        """The L2 terms of the loss."""
        out = np.zeros(1)
        self._write_penalty(out)
        return float(out[0])

    def _write_penalty(self, out: Array) -> None:
        """out (1,), float64 = the L2 terms of the loss; left as it is if there are none."""
        if factors := self.penalties():
            weights = self.weights
            params = [weights[name] for name in factors]
            self.kernels.l2_penalty(params, np.array([*factors.values()]), out=out)

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras's order and shapes."""
        if self.built:
            self._require_built()
        return [array.copy() for array in self.weights.values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights from a list, as `get_weights` of this or of a Keras model returns it."""
        self._require_built()
        mine = self.weights
        if not isinstance(weights, (list, tuple)):
            raise ValueError(f"weights: {type(weights).__name__}, expected a list of arrays")
        if len(weights) != len(mine):
            raise ShapeError(f"{len(weights)} weight arrays, expected {len(mine)}: {list(mine)}")
        arrays = [
            as_array(array, f"weights of {n}") for n, array in zip(mine, weights, strict=True)
        ]
        for (name, array), new in zip(mine.items(), arrays, strict=True):
            if new.dtype.kind not in "buif":
                raise ValueError(f"{name}: array of type {new.dtype}, expected numbers")
            if new.shape != array.shape:
                raise ShapeError(f"{name}: shape {new.shape}, expected {array.shape}")
        for array, new in zip(mine.values(), arrays, strict=True):
            array[...] = new

    def get_config(self) -> dict[str, Any]:
        """The model's structure, as values that JSON can hold."""
        layers = [layer_config(layer) for layer in self.layers]
        return {
            "name": self.name,
            "dtype": str(self.dtype),
            "seed": self.seed,
            "scale_uint8": self.scale_uint8,
            "layers": layers,
        }

    def custom_layers(self) -> dict[int, type[Layer]]:
        """The classes of custom layers, by position: files cannot hold them."""
        return {i: type(each) for i, each in enumerate(self.layers) if not is_builtin(each)}

    def _append(self, layer: Layer, present: set[int]) -> None:
        if not isinstance(layer, Layer):
            kind = isinstance(layer, type) and issubclass(layer, Layer)
            hint = f"; did you mean {layer.__name__}(...)?" if kind else ""
            raise ValueError(f"layer {len(self.layers)}: {layer!r:.80}, expected a Layer{hint}")
        if id(layer) in present:
            raise ValueError(f"layer {layer.name!r} is in the model already: layers are not shared")
        if isinstance(layer, Input) and self.layers:
            raise ValueError("Input: expected as the first layer only")
        if not self.layers and layer.expected_shape is not None:
            self.layers.append(Input(layer.expected_shape))
        self.layers.append(layer)
        present.add(id(layer))

    def _build_if_possible(self) -> None:
        if len(self.layers) > 1 and isinstance(self.layers[0], Input):
            self.build(self.layers[0].shape)

    def _layers_changed(self) -> None:
        """Called when the layers were rebuilt or patched: plan and memories are out of date."""
        self._spare = []

    def _build_for(self, x: Any) -> None:
        if self.built:
            return self._require_built()
        with _building:
            if not self.built:
                given = (x if is_lazy(x) else as_array(x, "x")).shape
                shape = given[1:]
                if not shape:
                    raise ShapeError(f"x: shape {given}, expected (N, ...) samples")
                if len(shape) == 2 and not isinstance((*self.layers, None)[0], Dense):
                    shape = (*shape, 1)
                try:
                    self.build(shape)
                except ShapeError as error:
                    if not (np.ndim(x) == 2 or (np.ndim(x) == 3 and np.shape(x)[2] in (1, 3))):
                        raise
                    hint = "(one image? pass x[np.newaxis])"
                    raise ShapeError(f"x of shape {np.shape(x)}: {error} {hint}") from None

    def _images(self, x: Any, name: str = "x") -> Images:
        """`x` checked and in the model's form, by `as_images`; warns once of another range."""
        images = as_images(x, self.input_shape, self.dtype, name, self.scale_uint8)
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

    def __getattr__(self, name: str) -> Any:
        if name in ADVICE:  # a method of old versions of Keras
            raise no_attribute(type(self).__name__, name)
        return object.__getattribute__(self, name)  # raises its error

    def _require_built(self) -> None:
        if not self.built:
            raise RuntimeError("the model has no weights yet: start it with Input(shape)")
        if self.layers != self._built_layers:
            raise RuntimeError(
                "model.layers is not the list of layers that was built: use model.add(layer) or "
                "Sequential(layers), or call model.build(input_shape), which makes new weights"
            )


def _known(images: Images) -> Array:
    """What tells their range: all of them, or the first where reading all would take long."""
    return images.first() if isinstance(images, LazyImages) else images
