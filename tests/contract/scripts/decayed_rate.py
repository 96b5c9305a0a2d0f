"""Optimizers with a learning rate that falls by a schedule, step by step."""

import keras
import numpy as np
from keras.optimizers.schedules import CosineDecay, ExponentialDecay

(x_train, y_train), _ = keras.datasets.mnist.load_data()
x_train = x_train.reshape(-1, 784) / 255.0


def train(optimizer):
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    rng = np.random.default_rng(13)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    history = model.fit(x_train, y_train, batch_size=16, epochs=2, shuffle=False, verbose=0)
    return history.history["loss"]


lr_schedule = ExponentialDecay(
    initial_learning_rate=0.05, decay_steps=5, decay_rate=0.8, staircase=True
)
piecewise = keras.optimizers.schedules.PiecewiseConstantDecay([5, 10], [0.1, 0.05, 0.01])
result = {
    "exponential": train(keras.optimizers.SGD(learning_rate=lr_schedule)),
    "cosine": train(keras.optimizers.Adam(CosineDecay(0.01, decay_steps=20))),
    "piecewise": train(keras.optimizers.SGD(piecewise, momentum=0.9)),
    "rates": [float(lr_schedule(step)) for step in (0, 4, 5, 12)],
}
