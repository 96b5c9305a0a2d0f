"""What the gradient checks' tests share: layers and models of every kind, and planted mistakes."""

from functools import partial

import numpy as np

from nanocnn import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    LeakyReLU,
    MaxPooling2D,
    Normalization,
    RandomElastic,
    RandomErasing,
    RandomMorphology,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    ReLU,
    Rescaling,
    Reshape,
    Sequential,
    Softmax,
    ZeroPadding2D,
)
from nanocnn.kernels.transforms import FILL_MODES
from nanocnn.layers.activation import ACTIVATIONS

N, K = 3, 4
IMAGES, ROWS = (N, 7, 6, 2), (N, 10)


def distinct(shape, seed=0):
    """A shuffle of evenly spaced numbers between -1 and 1, none of them 0."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) + 0.5) / size * 2 - 1


def built(layer, shape, kernels):
    """The layer with random parameters, biases and gamma not at their 0 and 1."""
    layer.build(shape[1:], rng=1, dtype="float64", kernels=kernels)
    rng = np.random.default_rng(2)
    for param in layer.params.values():
        param += 0.2 * rng.standard_normal(param.shape)
    return layer


GEOMETRIC = {
    "random translation": partial(RandomTranslation, 0.4, (-0.7, 0.2)),
    "random rotation": partial(RandomRotation, 0.4),
    "random zoom": partial(RandomZoom, (-0.5, 0.8)),
    "random zoom of both": partial(RandomZoom, 0.6, (-0.4, 0.1)),
    "random shear": partial(RandomShear, (0.1, 0.6), 0.3),
    "random elastic": partial(RandomElastic, 0.3),
}
LAYERS = {
    "conv": lambda: Conv2D(3, 3),
    "conv same": lambda: Conv2D(3, 3, padding="same", activation="relu"),
    "conv even same": lambda: Conv2D(2, (4, 2), padding="same", activation="tanh"),
    "conv 1x1": lambda: Conv2D(5, 1, activation="sigmoid"),
    "conv strides": lambda: Conv2D(3, (3, 2), strides=(2, 1), activation="relu"),
    "conv strides same": lambda: Conv2D(3, 3, strides=(3, 2), padding="same", use_bias=False),
    "conv dilation": lambda: Conv2D(2, (2, 3), dilation_rate=(3, 2), activation="tanh"),
    "conv dilation same": lambda: Conv2D(2, 3, dilation_rate=2, padding="same"),
    "conv softmax": lambda: Conv2D(3, 2, activation="softmax", use_bias=False),
    "conv whole image": lambda: Conv2D(17, (7, 6)),
    "max pool": lambda: MaxPooling2D(2),
    "max pool same": lambda: MaxPooling2D((3, 2), padding="same"),
    "max pool overlapping": lambda: MaxPooling2D(3, strides=(1, 2)),
    "max pool overlapping same": lambda: MaxPooling2D(3, strides=1, padding="same"),
    "max pool gaps": lambda: MaxPooling2D(2, strides=3),
    "average pool": lambda: AveragePooling2D(2),
    "average pool same": lambda: AveragePooling2D((2, 4), strides=(3, 1), padding="same"),
    "average pool overlapping": lambda: AveragePooling2D(3, strides=1),
    "global average pool": lambda: GlobalAveragePooling2D(),
    "global max pool": lambda: GlobalMaxPooling2D(),
    "global max pool keepdims": lambda: GlobalMaxPooling2D(keepdims=True),
    "zero padding": lambda: ZeroPadding2D(((1, 0), (2, 3))),
    "reshape": lambda: Reshape((2, -1, 3)),
    "rescaling": lambda: Rescaling([0.5, -2.0], [0.1, 0.2]),
    "normalization": lambda: Normalization(mean=[0.5, 1.0], variance=[2.0, 0.25]),
    "normalization inverted": lambda: Normalization(None, 0.5, 2.0, invert=True),
    "relu": lambda: ReLU(),
    "relu of three": lambda: ReLU(max_value=0.7, negative_slope=0.3, threshold=0.2),
    "leaky relu": lambda: LeakyReLU(),
    "image softmax layer": lambda: Softmax(),
    "dropout": lambda: Dropout(0.4),
    "dropout none": lambda: Dropout(0.0),
    "dropout all": lambda: Dropout(1.0),
    "flatten": lambda: Flatten(),
    "batch norm": lambda: BatchNormalization(),
    "batch norm bare": lambda: BatchNormalization(center=False, scale=False, epsilon=1e-5),
    "batch norm no center": lambda: BatchNormalization(center=False),
    "batch norm no scale": lambda: BatchNormalization(scale=False),
    "random elastic of two cells": lambda: RandomElastic(0.3, cells=2),
    "random erasing": lambda: RandomErasing((1.0, 1.0), (0.2, 0.5), 0.7),
    "random erasing of some": lambda: RandomErasing((0.0, 1.0), 0.9),
    "random morphology": lambda: RandomMorphology(1.0),
    "random dilation": lambda: RandomMorphology((0.5, 0.9)),
    "random erosion": lambda: RandomMorphology((-1.0, -0.2)),
    **{f"{name} {mode}": lambda make=make, mode=mode: make(fill_mode=mode, fill_value=0.3)
       for name, make in GEOMETRIC.items() for mode in FILL_MODES},
    **{f"image {name}": lambda name=name: Activation(name)
       for name in ACTIVATIONS},
}  # fmt: skip
ROW_LAYERS = {
    "dense": lambda: Dense(4),
    "dense no bias": lambda: Dense(17, use_bias=False, activation="relu"),
    **{f"dense {name}": lambda name=name: Dense(5, activation=name)
       for name in ACTIVATIONS},
    **{name: lambda name=name: Activation(name)
       for name in ACTIVATIONS},
    "row dropout": lambda: Dropout(0.5),
    "row batch norm": lambda: BatchNormalization(),
}  # fmt: skip


def model_of(kernels, *layers, shape=IMAGES, loss=None, dtype="float64"):
    model = Sequential([Input(shape[1:]), *layers], seed=3, dtype=dtype, kernels=kernels)
    if loss is not None:
        model.compile("sgd", loss)
    return model


def wrong(report):
    """The names of the gradients found wrong."""
    return {array.name for array in report.arrays if not array.passed}


def plant(monkeypatch, kernels, name, change):
    """Let kernel `name` return change(result, *arguments)."""
    right = getattr(kernels, name)
    monkeypatch.setattr(
        kernels, name, lambda *args, **kw: change(right(*args, **kw), *args), raising=True
    )
