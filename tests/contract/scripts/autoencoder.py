"""Dense layers that squeeze a digit into 16 numbers and draw it again."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Dense
from keras.losses import MeanAbsoluteError
from keras.models import Sequential
from keras.optimizers import SGD

(x_train, _), (x_test, _) = mnist.load_data()
x_train = x_train.astype("float32").reshape(len(x_train), 784) / 255.0
x_test = x_test.astype("float32").reshape(len(x_test), 784) / 255.0


def make():
    model = Sequential()
    model.add(Dense(16, activation="relu", input_shape=(784,)))
    model.add(Dense(784, activation="sigmoid"))
    rng = np.random.default_rng(25)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def train(loss, metrics):
    model = make()
    model.compile(optimizer=SGD(10.0), loss=loss, metrics=metrics)
    return model, model.fit(
        x_train, x_train, epochs=2, batch_size=64, shuffle=False, verbose=0,
        validation_data=(x_test, x_test),
    ).history  # fmt: skip


autoencoder, by_square = train("mse", ["mae"])
_, by_size = train(MeanAbsoluteError(), ["mean_squared_error"])
_, by_bits = train("binary_crossentropy", None)
encoder = Sequential(autoencoder.layers[:1])

result = {
    "mse": by_square,
    "mae": by_size,
    "bits": by_bits,
    "codes": encoder.predict(x_test, verbose=0).shape,
    "drawn": autoencoder.predict(x_test, verbose=0).mean(axis=0)[::100],
}
