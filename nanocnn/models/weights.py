"""The weights of a chain of layers, and the L2 penalties on them."""

from types import ModuleType

import numpy as np

from ..common.arrays import Array
from ..layers import Layer
from ..layers.weights import Weighted


class ChainWeights(Weighted):
    """The weights of `layers`, by "layer/name"."""

    layers: list[Layer]
    kernels: ModuleType

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    @property
    def weights(self) -> dict[str, Array]:
        """All weights by "layer/name", in Keras's order: the arrays themselves."""
        return {
            f"{layer.name}/{name}": array
            for layer in self.layers
            for name, array in layer.weights.items()
        }

    @property
    def trainable_weights(self) -> dict[str, Array]:
        """The weights that training changes, by "layer/name": the arrays themselves."""
        return {
            f"{layer.name}/{name}": param
            for layer in self.layers
            for name, param in layer.trainable_weights.items()
        }

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
        grads = {
            f"{layer.name}/{name}": layer.grads[name]
            for layer in self.layers
            for name in layer.trainable_weights
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
