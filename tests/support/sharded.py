"""Trainings in shards that tests run on one process and on several, and compare bit by bit."""

import hashlib
from functools import partial

import numpy as np

from nanocnn import (
    SGD,
    Activation,
    Adam,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    RMSprop,
    Sequential,
)
from nanocnn.metrics import Recall, TopKCategoricalAccuracy
from support.small_models import SPARSE, bits, digits

SHARDS, BATCH = 12, 24
VALIDATION = digits(70, seed=1)


class Noisy(Layer):
    """y = gain * (x - mean) + noise: gradients, state and random numbers of its own."""

    untrained = ("mean",)

    def shapes(self, input_shape):
        return input_shape, {"gain": input_shape[-1:], "mean": input_shape[-1:]}

    def initial(self, name, shape):
        return "zeros" if name == "mean" else np.linspace(0.5, 1.5, *shape)

    def forward(self, x, training=False):
        self.x = x - self.state["mean"]
        y = self.params["gain"] * self.x
        if training:
            mean = self.state["mean"]
            mean += (x.mean(axis=tuple(range(x.ndim - 1))) - mean) * mean.dtype.type(0.1)
            y = y + self.rng.normal(0, 0.1, x.shape[1:]).astype(x.dtype)
        return y

    def backward(self, dy):
        self.grads["gain"] = (dy * self.x).sum(axis=tuple(range(dy.ndim - 1)))
        return self.params["gain"] * dy


def confidence(target, prediction):
    """A metric of one's own."""
    return prediction.max(axis=1)


def network(
    kernels="fast", dtype="float32", synchronized=False, optimizer="adam", custom=(), metrics=(),
    rate=0.3, normalized=True,
):  # fmt: skip
    """Every layer there is; compiled."""
    layers = [
        Input((12, 10, 1)),
        Conv2D(6, 3, activation="relu", kernel_regularizer="l2"),
        *[BatchNormalization(momentum=0.8, synchronized=synchronized)] * normalized,
        MaxPooling2D(2),
        Dropout(rate),
        *custom,
        Conv2D(8, (3, 2), padding="same"),
        *[BatchNormalization(momentum=0.8, synchronized=synchronized)] * normalized,
        Activation("tanh"),
        AveragePooling2D(2, strides=1),
        Flatten(),
        Dense(16, activation="relu", kernel_regularizer="l2"),
        Dropout(rate),
        Dense(10, activation="softmax"),
    ]
    model = Sequential(layers, seed=3, dtype=dtype, kernels=kernels)
    model.compile(optimizer, SPARSE, metrics=["accuracy", *metrics])
    return model


def adam():
    return Adam(0.01, global_clipnorm=1.0, weight_decay=0.01)


# By name: options of `network`, the number of samples, and options of `fit`. Of 106 samples the
# last batch has 10, fewer than shards; of 113 it has 17, of which shards get one or two.
CASES = {
    "own statistics": lambda: (
        {"optimizer": adam()},
        113,
        {"class_weight": {i: 1 + i / 10 for i in range(10)}, "validation_data": VALIDATION},
    ),
    "synchronized": lambda: (
        {"synchronized": True, "optimizer": SGD(0.05, momentum=0.9, nesterov=True)},
        106,
        {"sample_weight": np.linspace(0, 2, 106), "validation_split": 0.3},
    ),
    "float64": lambda: (
        {"dtype": "float64", "synchronized": True, "optimizer": RMSprop(0.002, centered=True)},
        113,
        {"shuffle": False},
    ),
    "custom": lambda: (
        {
            "custom": [Noisy()], "optimizer": adam(),
            "metrics": [confidence, "precision", Recall(0.1), TopKCategoricalAccuracy(3)],
        },
        106,
        {"validation_data": VALIDATION},
    ),
    "custom, synchronized": lambda: (
        {"custom": [Noisy()], "metrics": [confidence], "synchronized": True},
        113,
        {},
    ),
    "custom, frozen": lambda: ({"custom": [Noisy(trainable=False)]}, 50, {}),
    "reference": lambda: ({"kernels": "reference", "optimizer": adam()}, 106, {}),
    "reference, synchronized": lambda: (
        {"kernels": "reference", "dtype": "float64", "synchronized": True},
        113,
        {"validation_data": VALIDATION},
    ),
}  # fmt: skip


def train(case, epochs=2, **more):
    """The model and the history of a case."""
    of_network, samples, of_fit = CASES[case]()
    model = network(**of_network)
    x, y = digits(samples)
    options = {"shards": SHARDS, "verbose": 0, **of_fit, **more}
    return model, model.fit(x, y, BATCH, epochs, **options)


def frozen_and_trained_again():
    """The processes have to agree each time on what is trained, and how random numbers go on."""
    model = network(synchronized=True, optimizer=adam())
    x, y = digits(50)  # of the last 2 samples, most shards have none
    for frozen in ([], [1], [2]):
        for number, layer in enumerate(model.layers):
            layer.trainable = number not in frozen
        model.fit(x, y, BATCH, shards=SHARDS, verbose=0)
    model.fit(x, y, 2 * BATCH, shards=2 * SHARDS, verbose=0)
    model.train_on_batch(x, y)
    return model, model.fit(x, y, BATCH, shards=SHARDS, verbose=0)


def few(samples, **options):
    """Shards and processes that have no samples."""
    model = network(optimizer=adam(), **options)
    return model, model.fit(*digits(samples), BATCH, 2, shards=SHARDS, verbose=0)


def dense(*units, use_bias=True):
    layers = [Dense(n, use_bias=use_bias, activation="relu") for n in units]
    model = Sequential([Input((12, 10, 1)), Flatten(), *layers], seed=1)
    model.compile("sgd", "mse")
    x, _ = digits(50)
    y = np.random.default_rng(0).random((50, units[-1]))
    return model, model.fit(x, y, BATCH, 2, shards=SHARDS, verbose=0)


TRAININGS = {
    **{case: partial(train, case) for case in CASES},
    "frozen and trained again": frozen_and_trained_again,
    "one sample": lambda: few(1),
    "five samples, synchronized": lambda: few(5, synchronized=True),
    "several buckets": lambda: dense(3000, 300, 10),
    "fewer weights in a bucket than processes": lambda: dense(1, 1, 1, use_bias=False),
}


def result(name):
    """Hashes of everything that a training leaves: weights and state, history, predictions."""
    model, history = TRAININGS[name]()
    state, random = bits(model)
    return {
        "weights and slots": _hash(state),
        "random state": str(random),
        "history": str(history.history),
        "predictions": _hash(model.predict(VALIDATION[0]).tobytes()),
    }


def _hash(content):
    return f"{len(content):,} bytes {hashlib.sha256(content).hexdigest()[:16]}"
