"""The scalar L that a gradient check differentiates: of a model, layer, stage or loss, in float64.

L is a function of the parameters and the input. A `Scalar` gives its value, its gradient by
backward, and the choices of its ReLUs and max-pools: where these do not change, L is smooth.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import ModuleType
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import as_array
from ..data.batches import take
from ..kernels import reference
from ..kernels.memory import Memory
from ..layers import GlobalMaxPooling2D, Layer, MaxPooling2D
from ..layers.activation import BaseActivation
from ..layers.linear import Linear
from ..losses import Loss
from ..models.record import unchanged
from ..models.sequential import Sequential
from ..models.stages import Stage


class Scalar:
    """L = sum(weight * output) of stages one after the other, with or without a loss at their end.

    `arrays` are the variables of L by name: all parameters and the input.
    """

    def __init__(
        self, stages: Sequence[Any], layers: Sequence[Layer], x: Array, training: bool,
        rng: np.random.Generator, loss: "_Loss | None" = None,
    ) -> None:  # fmt: skip
        self.stages, self.layers, self.x, self.training = stages, layers, x, training
        self.loss, self.memory = loss, Memory()
        if loss is not None:
            self.weight = rng.uniform(0.5, 1.5, len(x)) / len(x)
        else:
            with unchanged(layers):
                self.weight = rng.standard_normal(self.output().shape)
            self.weight /= np.sqrt(self.weight.size)
        params = {f"{layer.name}/{k}": v for layer in layers for k, v in layer.params.items()}
        self.arrays = {**params, "input" if stages else "prediction": x}

    def output(self) -> Array:
        """The output of the last stage, or the loss of each sample."""
        y = self.x
        for stage in self.stages:
            y = stage.forward(y, self.training, self.memory)
        return y if self.loss is None else self.loss.forward(y, self.memory)

    def value(self) -> float:
        """L, with the same random numbers in every call."""
        with unchanged(self.layers):
            return float((self.weight * self.output()).sum())

    def gradient(self) -> dict[str, Array]:
        """The gradient of L by backward for each of `arrays`; 0 where backward returns none."""
        with unchanged(self.layers):
            self.output()
            d = self.weight if self.loss is None else self.loss.backward(self.weight, self.memory)
            for stage in reversed(self.stages):
                d = stage.backward(d, True, self.memory)
                if d is None:
                    raise ValueError(f"{stage.name}: backward returned None, expected dL/dx")
            found = {f"{each.name}/{k}": v for each in self.layers for k, v in each.grads.items()}
            *_, last = self.arrays
            found[last] = d.reshape(self.x.shape)
        for name, array in self.arrays.items():
            found[name] = np.array(found.get(name, np.zeros_like(array)))
            if found[name].shape != array.shape:
                raise ShapeError(
                    f"dL/d {name} has shape {found[name].shape}, expected {array.shape}"
                )
        return found

    def choices(self) -> list[Array]:
        """Which inputs of the ReLUs are positive, and the argmax of the max-pools.

        Computed layer by layer, since a fused stage does not return them.
        """
        found, y, memory = [], self.x, Memory()
        with unchanged(self.layers):
            for layer in self.layers:
                if isinstance(layer, GlobalMaxPooling2D):
                    found.append(y == y.max(axis=(1, 2), keepdims=True))
                if isinstance(layer, MaxPooling2D):
                    found.append(reference.max_pool_forward(y, layer.window)[1])
                y = layer.run_forward(y, self.training, memory)
                function = layer.activation if isinstance(layer, Linear) else layer
                if isinstance(function, BaseActivation) and "relu" in function.activation:
                    found += [y > 0, *(y < top for top in function.arguments[2:])]
        return found

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Restore the current values of all arrays at the end."""
        before = {name: array.copy() for name, array in self.arrays.items()}
        try:
            yield
        finally:
            for name, array in before.items():
                self.arrays[name][...] = array


class _Loss:
    """A loss with its labels and kernels."""

    def __init__(
        self, loss: Loss, labels: Array, shape: tuple[int, ...], kernels: ModuleType, logits: bool
    ) -> None:
        self.target = loss.target(labels, shape, np.float64)
        self.loss, self.kernels, self.logits = loss, kernels, logits

    def forward(self, prediction: Array, memory: Memory) -> Array:
        return self.loss.forward(prediction, self.target, self.kernels, memory, self.logits)[0]

    def backward(self, weight: Array, memory: Memory) -> Array:
        return self.loss.backward(weight, self.kernels, memory)


def of(target: Any, x: Any, y: Any, training: bool, rng: np.random.Generator) -> Scalar:
    """The `Scalar` of a model, layer, stage or loss for input x and labels y.

    Raises ValueError for any other target.
    """
    if isinstance(target, Sequential):
        return _of_model(target, x, y, training, rng)
    if not isinstance(target, (Layer, Stage, Loss)):
        raise ValueError(
            f"target={target!r:.80}, expected a Sequential, a Layer, a Stage or a Loss"
        )
    x = _numbers(x)
    if isinstance(target, Loss):
        if y is None:
            raise ValueError(f"y=None, expected the labels of {type(target).__name__}")
        shape, logits = x.shape[1:], bool(getattr(target, "from_logits", False))
        labels = target.labels(y, shape)
        if len(labels) != len(x):
            raise ShapeError(
                f"x has {len(x)} samples and y has {len(labels)}, expected as many labels"
            )
        return Scalar((), (), x, training, rng, _Loss(target, labels, shape, reference, logits))
    if isinstance(target, Layer):
        if not target.built:
            target.build(x.shape[1:], rng=rng, dtype="float64")
        target = Stage(target)
    if y is not None:
        raise ValueError(f"y: labels for {target.name}, which has no loss; expected y=None")
    if not all(layer.built and layer.dtype == np.float64 for layer in target.layers):
        raise ValueError(
            f"{target.name}: expected layers built with dtype 'float64', or the whole model, "
            "which is checked as a float64 copy"
        )
    target.layers[0]._check(x)
    return Scalar([target], target.layers, x, training, rng)


def _of_model(
    model: Sequential, x: Any, y: Any, training: bool, rng: np.random.Generator
) -> Scalar:
    model._build_for(x)
    model = in_float64(model)
    plan, loss = model.execution_plan, None
    stages: list[Any] = list(plan.stages)
    if y is None:
        images = model._images(x)
        if plan.final is not None:
            stages.append(Stage(plan.final))
    else:
        images, labels, _ = model._checked_data(x, y)
        fused = plan.final is not None
        loss = _Loss(model.loss, labels, model.output_shape, model.kernels, fused)
    x = take(images, slice(None), model.dtype).copy()
    return Scalar(stages, model.layers, x, training, rng, loss)


def in_float64(model: Sequential) -> Sequential:
    """The model itself, or a float64 copy that includes custom layers and their kernels."""
    if model.dtype == np.float64:
        return model
    shared = {id(layer.kernels): layer.kernels for layer in model.layers}
    layers = [deepcopy(layer, dict(shared)) for layer in model.chain]
    for layer in layers:
        layer.in_model = False  # to be built again
    copy = Sequential(
        layers, dtype="float64", kernels=model.kernel_set, scale_uint8=model.scale_uint8
    )
    copy.set_weights(model.get_weights())
    if model._compiled:
        copy.compile("sgd", model.loss)
    for mine, theirs in zip(copy.layers, model.layers, strict=True):
        mine.kernels = theirs.kernels
    return copy


def _numbers(x: Any) -> Array:
    """A float64 copy of x (N, ...)."""
    x = as_array(x, "x")
    if x.dtype.kind not in "buif":
        raise ValueError(f"x: expected an array of numbers, got dtype {x.dtype}")
    if x.ndim < 2 or x.size == 0:
        raise ShapeError(f"x: shape {x.shape}, expected (N, ...) with N at least 1")
    if not np.isfinite(x).all():
        raise NonFiniteError("x: NaN or infinity, expected finite numbers")
    return np.array(x, np.float64)
