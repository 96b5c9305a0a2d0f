"""A stack of layers: building, weights and configuration."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from ..common import seeds
from ..common.arrays import Array
from ..common.errors import ShapeError
from ..common.names import ADVICE, no_attribute
from ..common.tables import sizes
from ..common.validate import flag, float_type, integer, sample_shape
from ..kernels import get_kernels
from ..kernels.memory import Memory
from ..layers import Input, Layer, is_builtin, layer_config, make_names_unique
from ..layers.weights import Weighted
from ..losses import Loss
from ..metrics import Metric
from ..optimizers import Optimizer
from .interrupts import FrameLock
from .plan import Plan, make_plan

T = TypeVar("T")


class Structure(Weighted):
    """Layers, one after the other, and their weights. For the arguments see `Sequential`."""

    optimizer: Optimizer
    loss: Loss
    _compiled = False  # whether there are an optimizer and a loss

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
        self.metrics: dict[str, Metric] = {}
        self._unsaved: set[str] = set()  # metrics that a warning said are not saved
        self.progress: dict[str, Any] = {}  # of a training: to resume from
        self._training = FrameLock()
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
        self._memory: Memory | None = None  # of training passes
        self._spare: list[Memory] = []  # of inference
        self.built = False
        self.rng = np.random.default_rng(self.seed)
        present: set[int] = set()  # searching the list for each layer would be quadratic
        for layer in layers or ():
            self._append(layer, present)
        self._build_if_possible()
        if not flag(trainable, "trainable"):
            self.trainable = False

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
        self._make_plan()
        self.progress = {}
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
            self._make_plan()
        return self._plan

    def _make_plan(self) -> None:
        """Make the plan, for layers that were built, compiled or patched, and memories for it."""
        self._memory, self._spare, leave = None, [], ""
        if self._compiled and not getattr(self.loss, "from_logits", False):
            leave = self.loss.output_activation
        self._plan = make_plan(self.layers, self.kernels, self.dtype, leave)

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

    # --- Weights ---

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def _by_name(self, values: Callable[[Layer], Mapping[str, T]]) -> dict[str, T]:
        """What `values` returns for each layer, by "layer/name"."""
        return {
            f"{layer.name}/{name}": value
            for layer in self.layers
            for name, value in values(layer).items()
        }

    @property
    def weights(self) -> dict[str, Array]:
        """All weights by "layer/name", in Keras's order: the arrays themselves."""
        return self._by_name(attrgetter("weights"))

    @property
    def trainable_weights(self) -> dict[str, Array]:
        """The weights that training changes, by "layer/name": the arrays themselves."""
        return self._by_name(attrgetter("trainable_weights"))

    @property
    def non_trainable_weights(self) -> dict[str, Array]:
        """The other weights: of layers that are not trained, and moving averages."""
        trained = self.trainable_weights
        return {name: array for name, array in self.weights.items() if name not in trained}

    def parameters(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """`trainable_weights` and, after a backward pass, the gradients, by "layer/name".

        The gradients of the L2 penalties are added in place.
        """
        params = self.trainable_weights
        grads = self._by_name(lambda layer: {n: layer.grads[n] for n in layer.trainable_weights})
        self._add_penalties(params, grads)
        return params, grads

    def penalties(self) -> dict[str, float]:
        """The L2 factors by "layer/name"; as in Keras, only of layers that are trained."""
        return self._by_name(
            lambda layer: {n: f for n, f in layer.penalties.items() if f and layer.trainable}
        )

    def _add_penalties(self, params: dict[str, Array], grads: dict[str, Array]) -> None:
        """Add, in place, the gradients of the L2 penalties on these parameters."""
        factors = {name: factor for name, factor in self.penalties().items() if name in params}
        if factors:
            self.kernels.l2_gradient(
                [params[name] for name in factors], [grads[name] for name in factors],
                np.array([*factors.values()]),
            )  # fmt: skip

    def penalty(self) -> float:
        """The L2 terms of the loss."""
        return float(self._write_penalty(np.zeros(1))[0])

    def _write_penalty(self, out: Array) -> Array:
        """out (1,), float64 = the L2 terms of the loss; left as it is if there are none."""
        if factors := self.penalties():
            weights = self.weights
            params = [weights[name] for name in factors]
            self.kernels.l2_penalty(params, np.array([*factors.values()]), out=out)
        return out

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
