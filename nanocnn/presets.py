"""Small networks for MNIST, ready to train."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .callbacks import Callback, StopAugmentation
from .common.arrays import Array
from .common.config import serialize
from .common.errors import unknown
from .layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    RandomElastic,
    RandomMorphology,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from .layers.augmentation import RandomTransform
from .losses import SparseCategoricalCrossentropy
from .models.sequential import Sequential
from .optimizers.schedules import OneCycle


def lenet() -> list[Layer]:
    """LeNet as taught in many courses: two 5x5 convolutions, each pooled, and 500 hidden units."""
    return [
        Input((28, 28, 1)),
        Conv2D(20, 5, padding="same", activation="relu"),
        MaxPooling2D(2),
        Conv2D(50, 5, padding="same", activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(500, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def simple() -> list[Layer]:
    """One 3x3 convolution."""
    return [
        Input((28, 28, 1)),
        Conv2D(32, 3, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dropout(0.2),
        Dense(128, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def dropout() -> list[Layer]:
    """Two 3x3 convolutions before the pooling, and dropout twice."""
    return [
        Input((28, 28, 1)),
        Conv2D(32, 3, activation="relu"),
        Conv2D(64, 3, activation="relu"),
        MaxPooling2D(2),
        Dropout(0.25),
        Flatten(),
        Dense(128, activation="relu"),
        Dropout(0.5),
        Dense(10, activation="softmax"),
    ]


def two_block() -> list[Layer]:
    """Two 3x3 convolutions, each pooled."""
    return [
        Input((28, 28, 1)),
        Conv2D(32, 3, activation="relu"),
        MaxPooling2D(2),
        Conv2D(64, 3, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(64, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def lenet5() -> list[Layer]:
    """LeNet-5 (LeCun et al. 1998), as libraries time it: ReLU, max-pooling, no padding."""
    return [
        Input((28, 28, 1)),
        Conv2D(6, 5, activation="relu"),
        MaxPooling2D(2),
        Conv2D(16, 5, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(120, activation="relu"),
        Dense(84, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def record() -> list[Layer]:
    """For accuracy: five convolutions, and digits with other strokes, turned, moved and bent.

    What each part gives is in examples/how_to_reach_99_7.ipynb.
    """
    return [
        Input((28, 28, 1)),
        RandomMorphology((-0.75, 1.0)),
        RandomRotation(15 / 360, "constant"),
        RandomZoom(0.15, 0.15, "constant"),
        RandomTranslation(3 / 28, 3 / 28, "constant"),
        RandomElastic(2 / 28, fill_mode="constant"),
        _conv(32, 5, padding="valid"),
        MaxPooling2D(2),
        BatchNormalization(),
        _conv(64),
        _conv(64),
        MaxPooling2D(2),
        BatchNormalization(),
        _conv(128),
        _conv(128),
        BatchNormalization(),
        Flatten(),
        Dropout(0.4),
        Dense(10, activation="softmax"),
    ]


def _conv(filters: int, size: int = 3, padding: str = "same") -> Layer:
    return Conv2D(filters, size, padding=padding, activation="relu", kernel_initializer="he_normal")


def sprint() -> list[Layer]:
    """For time: what reaches 99% in one epoch (after github.com/tuomaso/train_mnist_fast)."""
    return [
        Input((28, 28, 1)),
        Conv2D(24, 5, activation="relu"),
        MaxPooling2D(2),
        Conv2D(32, 3, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(256, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def one_cycle(name: str, cycle: OneCycle, **arguments: Any) -> dict[str, Any]:
    """The config of an optimizer with this learning rate."""
    return {"class_name": name, "config": {"learning_rate": serialize(cycle), **arguments}}


class Preset(NamedTuple):
    """A network, how it is trained, and the file name of the saved model."""

    layers: Callable[[], list[Layer]]
    file: str
    optimizer: str | dict[str, Any] = "adam"
    epochs: int = 10
    loss: str = "sparse_categorical_crossentropy"
    plain: float = 0.0  # the share of the epochs, at the end, that is not augmented


PRESETS = {
    "lenet": Preset(lenet, "mnist_LeNet.h5"),
    "simple": Preset(simple, "mnist_simple.h5", epochs=8),
    "dropout": Preset(dropout, "cnn_model.h5", optimizer="rmsprop"),
    "two-block": Preset(two_block, "mnist_two_block.h5", loss="categorical_crossentropy"),
    "lenet5": Preset(lenet5, "mnist_lenet5.h5"),
    # For 60,000 images in batches of 128; for others see `end_with`.
    "record": Preset(
        record, "mnist_record.npz",
        one_cycle(
            "AdamW", OneCycle(3e-3, 30 * 469),
            weight_decay=1e-4, use_ema=True, ema_momentum=0.995,
        ),
        epochs=30, plain=0.1,
    ),
    "sprint": Preset(
        sprint, "mnist_sprint.npz",
        one_cycle("Adam", OneCycle(8e-3, 469, pct_start=0.2), beta_1=0.7, beta_2=0.9), epochs=1,
    ),
}  # fmt: skip


def build(
    name: str = "lenet",
    seed: int = 0,
    kernels: str = "fast",
    dtype: str = "float32",
    optimizer: str | None = None,
) -> Sequential:
    """The preset called `name`, compiled with `optimizer` (default: the preset's)."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    preset = PRESETS[name]
    model = Sequential(preset.layers(), name=name, seed=seed, dtype=dtype, kernels=kernels)
    model.compile(optimizer or preset.optimizer, preset.loss, metrics=["accuracy"])
    return model


def end_with(model: Sequential, steps: int) -> None:
    """Let the model's learning rate, if it is a `OneCycle`, end after so many steps in all.

    An average of the weights is then one of the last 70th of the steps, or of fewer.
    """
    optimizer = model.optimizer
    if isinstance(optimizer.learning_rate, OneCycle):
        optimizer.learning_rate = replace(optimizer.learning_rate, total_steps=steps)
        if optimizer.use_ema:  # else a short training would end with a part of its first weights
            optimizer.ema_momentum = max(0.0, min(optimizer.ema_momentum, 1 - 70 / steps))


def callbacks(model: Sequential, epochs: int) -> list[Callback]:
    """What the preset of the model's name is trained with for so many epochs."""
    count = round(PRESETS[model.name].plain * epochs)
    augments = any(isinstance(layer, RandomTransform) for layer in model.layers)
    return [StopAugmentation(count)] if count and augments else []


def labels_for(model: Sequential, digits: Array) -> Array:
    """Class numbers (N,) in the form that the model's loss takes: unchanged, or one-hot (N,K)."""
    if isinstance(model.loss, SparseCategoricalCrossentropy) or model.output_shape == (1,):
        return digits
    return np.eye(model.output_shape[-1], dtype=np.uint8)[digits]
