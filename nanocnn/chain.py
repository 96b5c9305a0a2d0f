"""A chain of layers: how it is built, what weights it has, how it describes itself."""

import os
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .arrays import Array
from .checks import whole
from .errors import ShapeError
from .kernels import get_kernels
from .layers import Dense, Input, Layer, layer_config, make_names_unique
from .texts import sizes, table

# One at a time is built by its first data. A signal handler may build in between, hence an RLock.
_building = threading.RLock()


def _after_fork() -> None:
    """The thread that had the lock, if any, is not there in the child."""
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Chain:
    """The structure of a `Sequential`: its layers, one after the other, and their weights."""

    def __init__(
        self,
        layers: Sequence[Layer] = (),
        seed: int = 0,
        dtype: str = "float32",
        kernels: str = "fast",
        name: str = "sequential",
    ) -> None:
        if str(dtype) not in ("float32", "float64"):
            raise ValueError(f"dtype={dtype!r}, expected 'float32' or 'float64'")
        self.name, self.seed = name, whole(seed, "seed", 0, bits=128)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.kernel_set = kernels
        # Loaded here already: a child forked while another thread loads them would wait for ever.
        self.kernels: ModuleType = get_kernels(kernels)
        self.layers: list[Layer] = []
        self.built = False
        self.rng = np.random.default_rng(seed)
        for layer in layers:
            self._append(layer)
        self._build_if_possible()

    def add(self, layer: Layer) -> None:
        """Append a layer. The model is built anew, with new weights."""
        self._append(layer)
        self._build_if_possible()

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make all weights for inputs of `input_shape`, without the batch axis: (28, 28, 1).

        Raises `ShapeError` when a layer does not fit onto the one before it.
        """
        layers = self.layers
        if all(isinstance(layer, Input) for layer in layers):
            raise ValueError("a model without layers: give Sequential a list of layers")
        if not isinstance(layers[0], Input):
            layers = [Input(tuple(input_shape)), *layers]
        make_names_unique(layers)
        self.built = False
        rng: np.random.Generator | None = None
        while self.rng is not rng:  # once; again where a signal handler has built it in between
            self.rng = rng = np.random.default_rng(self.seed)
            shape = tuple(input_shape)
            for layer in layers:
                shape = layer.build(shape, rng, self.dtype, self.kernels)
                layer.rng = rng  # one stream of random numbers for the whole model
        self.layers, self.input_shape, self.output_shape = layers, layers[0].output_shape, shape
        self._layers_changed()
        self.built = True

    def summary(self) -> None:
        """Print the layers, their output shapes and their numbers of weights."""
        rows = [("Layer (type)", "Output shape", "Params")]
        for layer in self.layers:
            shape = ("N", *layer.output_shape) if layer.built else ("?",)
            kind = f"{layer.name} ({type(layer).__name__})"
            rows.append((kind, f"({sizes(shape)})", f"{layer.count_params():,}"))
        print(f'Model "{self.name}" ({self.dtype}, {self.kernel_set} kernels)')
        print(table(rows, right=1))
        total = self.count_params()
        state = sum(array.size for layer in self.layers for array in layer.state.values())
        print(f"Total: {total:,} weights ({total - state:,} trained), "
              f"{total * self.dtype.itemsize / 2**20:.2f} MiB")  # fmt: skip

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

    def parameters(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """What is trained, and its gradients after a backward pass, both by "layer/name"."""
        params: dict[str, Array] = {}
        grads: dict[str, Array] = {}
        for layer in self.layers:
            for name, param in layer.params.items() if layer.trainable else ():
                grad = layer.grads[name]
                if factor := layer.penalties.get(name):
                    grad += param * param.dtype.type(2 * factor)
                params[f"{layer.name}/{name}"], grads[f"{layer.name}/{name}"] = param, grad
        return params, grads

    def penalty(self) -> float:
        """The L2 terms of the loss."""
        return sum(
            factor * float(np.square(layer.params[name], dtype=np.float64).sum())
            for layer in self.layers
            for name, factor in layer.penalties.items()
        )

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras's order and shapes."""
        return [array.copy() for array in self.weights.values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take weights from a list such as `get_weights` or a Keras model's gives."""
        self._require_built()
        mine = self.weights
        if len(weights) != len(mine):
            raise ShapeError(f"{len(weights)} weight arrays, expected {len(mine)}: {list(mine)}")
        arrays = [np.asarray(array) for array in weights]
        for (name, array), new in zip(mine.items(), arrays, strict=True):
            if new.shape != array.shape:
                raise ShapeError(f"{name}: shape {new.shape}, expected {array.shape}")
        for array, new in zip(mine.values(), arrays, strict=True):
            array[...] = new

    def get_config(self) -> dict[str, Any]:
        """The model's structure, JSON-able."""
        layers = [layer_config(layer) for layer in self.layers]
        return {"name": self.name, "dtype": str(self.dtype), "seed": self.seed, "layers": layers}

    def _append(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"layer {len(self.layers)}: {layer!r}, expected a Layer")
        if any(layer is other for other in self.layers):
            raise ValueError(f"layer {layer.name!r} is in the model already: layers are not shared")
        if isinstance(layer, Input) and self.layers:
            raise ValueError("Input: expected as the first layer only")
        self.layers.append(layer)

    def _build_if_possible(self) -> None:
        if len(self.layers) > 1 and isinstance(self.layers[0], Input):
            self.build(self.layers[0].shape)

    def _layers_changed(self) -> None:
        """Called when all layers have been built anew."""

    def _build_for(self, x: Any) -> None:
        if self.built:
            return
        with _building:
            if not self.built:
                shape = np.shape(x)[1:]
                if not shape:
                    raise ShapeError(f"x: shape {np.shape(x)}, expected (N, ...) samples")
                if len(shape) == 2 and not isinstance((*self.layers, None)[0], Dense):
                    shape = (*shape, 1)
                self.build(shape)

    def _require_built(self) -> None:
        if not self.built:
            raise RuntimeError("the model has no weights yet: start it with Input(shape)")
