"""A loss and a metric that are functions of one's own."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential
from keras.utils import to_categorical

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0
y_train, y_test = to_categorical(y_train, 10), to_categorical(y_test, 10)


def cautious_loss(y_true, y_pred):
    return (y_true - y_pred) ** 2 * (1 + 3 * y_true)


def error_of_zero(y_true, y_pred):
    return abs(y_true - y_pred)[:, 0]


model = Sequential([Input((28, 28)), Flatten(), Dense(10, activation="softmax")])
model.compile(optimizer="sgd", loss=cautious_loss, metrics=[error_of_zero, "accuracy"])
rng = np.random.default_rng(28)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(
    x_train, y_train, epochs=2, batch_size=20, validation_data=(x_test, y_test), shuffle=False,
    verbose=0,
)  # fmt: skip

result = {"history": history.history, "test": model.evaluate(x_test, y_test, verbose=0)}
