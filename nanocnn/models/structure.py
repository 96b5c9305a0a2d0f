"""A stack of layers: building and configuration."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ..common import seeds
from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.names import ADVICE, no_attribute
from ..common.tables import sizes
from ..common.validate import as_array, flag, float_type, integer, sample_shape
from ..data.lazy import is_lazy
from ..kernels import get_kernels
from ..kernels.memory import Memory
from ..layers import Dense, Input, Layer, is_builtin, layer_config, make_names_unique
from .plan import Plan
from .weights import ChainWeights

# Held by the thread that builds a model for its first data. An RLock, because a signal handler may
# build one too.
_building = threading.RLock()


def _after_fork() -> None:
    """The thread that may have held the lock does not exist in the child."""
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Structure(ChainWeights):
    """Layers, one after the other, and their weights. For the arguments see `Sequential`."""

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        seed: int | None = None,
        dtype: str = "float32",
        kernels: str = "fast",
        scale_uint8: bool = True,
    ) -> None:
        self._begin()
        self.scale_uint8 = flag(scale_uint8, "scale_uint8")
        self.dtype = float_type(dtype)
        if not isinstance(name, (str, type(None))):
            raise ValueError(f"Sequential: name={name!r:.80}, expected text")
        if not isinstance(layers, (list, tuple, type(None))):
            raise ValueError(f"Sequential: layers={layers!r:.80}, expected a list of layers")
        self.name = "sequential" if name is None else name
        self.seed = integer(seeds.default if seed is None else seed, "seed", 0, bits=128)
        # Loaded now: a child forked while another thread imports them would wait forever.
        self.kernels: ModuleType = get_kernels(kernels)
        self.kernel_set = str(kernels)
        self.layers: list[Layer] = []  # without the input, as in Keras
        self._input: Input | None = None
        self._built_layers: list[Layer] = []
        self._plan: Plan
        self._spare: list[Memory] = []
        self.built = False
        self.rng = np.random.default_rng(self.seed)
        present: set[int] = set()  # searching the list for each layer would be quadratic
        for layer in layers or ():
            self._append(layer, present)
        self._build_if_possible()
        if not flag(trainable, "trainable"):
            self.trainable = False

    def _begin(self) -> None:
        """Set the attributes of a model that has no layers yet."""

    def add(self, layer: Layer) -> None:
        """Append a layer. Those before it keep their weights; the optimizer begins anew.

        Layers that are added one by one get the same weights as all at once.
        """
        before = self._input, self.layers[:]
        self._append(layer, {id(each) for each in self.layers})
        try:
            self._build_if_possible()
        except BaseException:
            self._input, self.layers = before
            raise

    def pop(self) -> Layer:
        """Remove the last layer and return it; the others keep their weights."""
        if not self.layers:
            raise ValueError("pop: the model has no layers")
        layer = self.layers.pop()
        self.built = False
        self._build_if_possible()
        return layer

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make all weights for `input_shape`: (28, 28, 1) or, as in Keras, (None, 28, 28, 1).

        Raises `ShapeError` when a layer does not fit onto the one before it.
        """
        if isinstance(input_shape, (tuple, list)) and None in input_shape[:1]:
            input_shape = input_shape[1:]
        shape = sample_shape(input_shape, "build: input_shape")
        self.built, self._built_layers = False, []
        for layer in self.layers:
            layer.in_model = False
        self._build(shape)

    def _build(self, given: tuple[int, ...]) -> None:
        """Make the weights of all layers but those of a model that is built, which keep theirs.

        The random numbers go on where this model's last build has ended.
        """
        if not self.layers:
            raise ValueError("a model without layers: give Sequential a list of layers")
        first = self._input or Input(given)
        layers = [first, *self.layers]
        make_names_unique(layers)
        rng: np.random.Generator | None = None
        before: np.random.Generator | None = None
        while self.rng is not before:  # both are read at a time when no signal handler builds it
            before, kept = self.rng, {id(layer) for layer in layers if layer.in_model}
            goes_on = bool(self._built_layers)
        while self.rng is not rng:  # again if a signal handler has built it meanwhile
            self.rng = rng = before if goes_on else np.random.default_rng(self.seed)
            shape = given
            for layer in layers:
                if id(layer) in kept:
                    self._require_same(layer, shape)
                    shape = layer.output_shape
                else:
                    shape = layer.build(shape, rng=rng, dtype=self.dtype, kernels=self.kernels)
                layer.rng = rng  # one stream of random numbers for the whole model
        if any(layer.scales_pixels for layer in layers):
            self.scale_uint8 = False
        self._input, self.input_shape, self.output_shape = first, first.output_shape, shape
        for layer in self.layers:
            layer.in_model = True
        self._built_layers = self.layers[:]
        self._layers_changed()
        self.built = True

    def _require_same(self, layer: Layer, shape: tuple[int, ...]) -> None:
        """Raise ShapeError if a layer of a model that is built does not fit into this one."""
        there, here = (
            f"input (N, {sizes(given)}), dtype={dtype.name!r}, kernels={kernels!r}"
            for given, dtype, kernels in (
                (layer.input_shape, layer.dtype, layer.kernels.__name__.rpartition(".")[2]),
                (shape, self.dtype, self.kernel_set),
            )
        )
        if there != here:
            raise ShapeError(
                f"layer {layer.name!r} is part of a model built for {there}; here it would get "
                f"{here}: expected the same, or a new layer"
            )

    @property
    def chain(self) -> list[Layer]:
        """The input, where it is known, and the layers."""
        return [*([] if self._input is None else [self._input]), *self.layers]

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

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this index, from 0.

        Raises ValueError if there is none, and unless one of the two is given.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(f"get_layer: name={name!r:.80}, index={index!r:.80}, expected one")
        if index is not None:
            if isinstance(index, (int, np.integer)) and -len(layers) <= index < len(layers):
                return layers[index]
            raise ValueError(f"get_layer: index={index!r:.80}, expected 0 to {len(layers) - 1}")
        for layer in layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in layers]
        raise ValueError(f"get_layer: name={name!r:.80}, expected one of {names}")

    def get_weights(self) -> list[Array]:
        """Return copies of all weights, in Keras's order and shapes."""
        if self.built:
            self._require_built()
        return super().get_weights()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights from a list, as `get_weights` of this or of a Keras model returns it."""
        self._require_built()
        super().set_weights(weights)

    def get_config(self) -> dict[str, Any]:
        """The model's structure, as values that JSON can hold."""
        layers = [layer_config(layer) for layer in self.chain]
        return {
            "name": self.name,
            "dtype": str(self.dtype),
            "seed": self.seed,
            "scale_uint8": self.scale_uint8,
            "layers": layers,
        }

    def custom_layers(self) -> dict[int, type[Layer]]:
        """The classes of custom layers, by position: files cannot hold them."""
        return {i: type(each) for i, each in enumerate(self.chain) if not is_builtin(each)}

    def _append(self, layer: Layer, present: set[int]) -> None:
        if not isinstance(layer, Layer):
            kind = isinstance(layer, type) and issubclass(layer, Layer)
            hint = f"; did you mean {layer.__name__}(...)?" if kind else ""
            raise ValueError(f"layer {len(self.chain)}: {layer!r:.80}, expected a Layer{hint}")
        if id(layer) in present:
            raise ValueError(f"layer {layer.name!r} is in the model already: layers are not shared")
        if isinstance(layer, Input):
            if self.chain:
                raise ValueError("Input: expected as the first layer only")
            self._input = layer
            return
        if not self.chain and layer.expected_shape is not None:
            self._input = Input(layer.expected_shape)
        self.layers.append(layer)
        present.add(id(layer))

    def _build_if_possible(self) -> None:
        """Build if the input shape is known: from `Input`, or a first layer that is built."""
        if self.layers and self._input is not None:
            self._build(self._input.shape)
        elif self.layers and self.layers[0].in_model:
            self._build(self.layers[0].input_shape)

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
