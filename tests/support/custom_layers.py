"""Layers of one's own, and small models with them."""

import numpy as np

from nanocnn import Dense, Flatten, Input, Layer, Sequential

RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((24, 6, 5, 2), dtype="f"), RNG.integers(0, 3, 24)


class Scale(Layer):
    """y = gain * x, by channel."""

    def shapes(self, input_shape):
        return input_shape, {"gain": input_shape[-1:]}

    def initial(self, name, shape):
        return np.linspace(0.5, 1.5, *shape)

    def forward(self, x):
        self.x = x
        return self.params["gain"] * x

    def backward(self, dy):
        self.grads["gain"] = (dy * self.x).sum(axis=tuple(range(dy.ndim - 1)))
        return self.params["gain"] * dy


class Leaky(Layer):
    """Made by its arguments, with a scalar for its weight and no shapes of its own."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope
        self.params["slope"] = np.float64(slope)

    def forward(self, x, training):
        self.kept, self.training = x, training
        return np.where(x > 0, x, self.params["slope"] * x)

    def backward(self, dy):
        self.grads["slope"] = np.sum(dy * np.minimum(self.kept, 0))
        return np.where(self.kept > 0, dy, self.params["slope"] * dy)


class Mirrored(Layer):
    """Returns views, written backwards in memory; no weights; the rest by NumPy."""

    def shapes(self, input_shape):
        return (input_shape[0] * input_shape[1], input_shape[2]), {}

    def forward(self, x, training=False):
        self.shape = x.shape
        return x.reshape(len(x), -1, x.shape[-1])[:, ::-1]

    def backward(self, dy):
        return dy[:, ::-1].reshape(self.shape)


class Doubled(Dense):
    """Both passes of a layer that is there, with something of one's own around."""

    def forward(self, x, training=False):
        return 2 * super().forward(x, training)

    def backward(self, dy):
        return super().backward(2 * dy)


def model_of(*layers, kernels="fast", compiled=False, dtype="float32", shape=(6, 5, 2)):
    layers = [Input(shape), *layers, Flatten(), Dense(3, activation="softmax")]
    model = Sequential(layers, seed=1, kernels=kernels, dtype=dtype)
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def learns(model):
    """Whether training moves every parameter of every layer and makes the loss smaller."""
    before = model.get_weights()
    losses = model.fit(X, Y, batch_size=8, epochs=3, verbose=0).history["loss"]
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    return all(moved) and losses[-1] < losses[0]
