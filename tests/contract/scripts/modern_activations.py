"""Activations other than ReLU, as layers and by name."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Activation, Conv2D, Dense, Flatten, Input, LeakyReLU, ReLU, Softmax
from keras.models import Sequential
from keras.optimizers import SGD

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[..., None] / 255.0, x_test[..., None] / 255.0


def train(*layers):
    model = Sequential([Input((28, 28, 1)), *layers, Flatten(), Dense(10), Softmax()])
    model.compile(SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(32)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model.fit(x_train, y_train, 40, 2, shuffle=False, verbose=0).history


def conv(activation=None):
    return Conv2D(3, 3, strides=2, activation=activation)


result = {
    "LeakyReLU": train(conv(), LeakyReLU(negative_slope=0.1), conv(), LeakyReLU()),
    "ReLU": train(conv(), ReLU(), conv(), ReLU(max_value=6.0)),
    "elu": train(conv("elu"), conv(), Activation("elu")),
    "gelu": train(conv("gelu"), conv(), Activation("gelu")),
    "leaky_relu": train(conv("leaky_relu"), conv("leaky_relu")),
}
