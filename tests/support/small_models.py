"""Small models and data that several tests train, and what is left of a model as bytes."""

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Activation,
    Adadelta,
    Adam,
    AdamW,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    CosineDecay,
    Dense,
    Dropout,
    ExponentialDecay,
    Flatten,
    Input,
    InverseTimeDecay,
    MaxPooling2D,
    Nadam,
    OneCycle,
    PiecewiseConstantDecay,
    PolynomialDecay,
    RMSprop,
    Sequential,
)
from nanocnn.kernels import KERNEL_SETS

BOTH_SETS = pytest.mark.parametrize("kernels", sorted(KERNEL_SETS, reverse=True))
SPARSE = "sparse_categorical_crossentropy"

# Each kind of optimizer and of schedule.
OPTIMIZERS = {
    "sgd": lambda: SGD(0.05, momentum=0.9, nesterov=True, clipnorm=0.5),
    "rmsprop": lambda: RMSprop(0.002, momentum=0.5, centered=True, clipvalue=0.1),
    "amsgrad": lambda: Adam(0.002, amsgrad=True),
    "cosine": lambda: Adam(CosineDecay(0.001, 20, warmup_target=0.01, warmup_steps=4)),
    "exponential": lambda: AdamW(ExponentialDecay(0.01, 3, 0.7, staircase=True)),
    "steps": lambda: SGD(PiecewiseConstantDecay([3, 5], [0.1, 0.05, 0.01])),
    "polynomial": lambda: RMSprop(PolynomialDecay(0.01, 7, power=2.0)),
    "adadelta": lambda: Adadelta(0.5, rho=0.9),
    "nadam": lambda: Nadam(0.002, clipvalue=0.1),
    "inverse time": lambda: Adam(InverseTimeDecay(0.01, 3, 0.5)),
    "one cycle": lambda: Adam(OneCycle(0.01, 9)),
    "averaged": lambda: RMSprop(
        0.002, centered=True, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3
    ),
}


def digits(count, seed=0, classes=10, shape=(12, 10)):
    """Noisy uint8 images (N,H,W), each with one bright block whose place is the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=count)
    x = rng.integers(0, 60, size=(count, *shape), dtype=np.uint8)
    for image, label in zip(x, y, strict=True):
        row, column = divmod(int(label), 3)
        image[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 150
    return x, y


def small_model(kernels="reference", seed=0, dtype="float32", optimizer="adam", loss=SPARSE):
    """Convolution, pool, dense, for `digits`; compiled."""
    model = Sequential(
        [
            Input((12, 10, 1)),
            Conv2D(6, 3, activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dense(24, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        seed=seed, dtype=dtype, kernels=kernels,
    )  # fmt: skip
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def every_layer(kernels="reference", seed=0, dtype="float32", optimizer="adam"):
    """Every layer, both paddings, strides, dilation, each activation and an L2 term; compiled."""
    model = Sequential(
        [
            Input((12, 10, 1)),
            Conv2D(8, 3, padding="same", use_bias=False, kernel_regularizer="l2"),
            BatchNormalization(momentum=0.8),
            Activation("relu"),
            MaxPooling2D(2),
            Dropout(0.2),
            Conv2D(9, (3, 2), padding="same", activation="relu"),
            AveragePooling2D(3, strides=1, padding="same"),
            Conv2D(7, 2, dilation_rate=2, activation="tanh"),
            Conv2D(5, 2, strides=2, padding="same", activation="relu"),
            MaxPooling2D(2, strides=1, padding="same"),
            Flatten(),
            Dense(33, activation="sigmoid"),
            Dropout(0.3),
            Dense(21, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        seed=seed, dtype=dtype, kernels=kernels,
    )  # fmt: skip
    model.compile(optimizer, SPARSE, metrics=["accuracy"])
    return model


def bits(model):
    """Weights, optimizer state and random state, byte for byte."""
    snapshot = model.snapshot()
    arrays = [*snapshot.weights.values(), *snapshot.optimizer.values()]
    return b"".join(array.tobytes() for array in arrays), snapshot.progress["random_state"]
