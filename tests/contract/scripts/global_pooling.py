"""Padding by hand, batch normalization, and one number a channel at the end."""

import numpy as np
from keras.datasets import mnist
from keras.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    ZeroPadding2D,
)
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255


def train(pooling):
    model = Sequential()
    model.add(ZeroPadding2D((1, 1), input_shape=(28, 28, 1)))
    model.add(Conv2D(8, (3, 3), strides=(2, 2)))
    model.add(BatchNormalization())
    model.add(Activation("relu"))
    model.add(ZeroPadding2D(padding=((0, 1), (0, 1))))
    model.add(Conv2D(8, (3, 3), activation="relu"))
    model.add(pooling)
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
    rng = np.random.default_rng(33)
    model.set_weights([rng.random(w.shape) / 2 for w in model.get_weights()])
    history = model.fit(
        x_train, y_train, batch_size=48, epochs=2, verbose=0, shuffle=False,
        validation_data=(x_test, y_test),
    )  # fmt: skip
    return [history.history, [w.shape for w in model.get_weights()]]


result = {"average": train(GlobalAveragePooling2D()), "max": train(GlobalMaxPooling2D())}
