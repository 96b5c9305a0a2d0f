"""Endless batches from a generator that shifts digits; also to evaluate and to predict."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential
from keras.optimizers import SGD

(x_train, y_train), (x_test, y_test) = mnist.load_data()


def shifted(images, labels, batch_size, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].astype("float32") / 255
            yield (
                np.roll(batch, rng.integers(-2, 3), axis=1)[..., None],
                labels[start : start + batch_size],
            )


def whole_test_set():
    while True:
        yield x_test[..., None].astype("float32") / 255, y_test


def pixels(batch_size):
    for start in range(0, len(x_test), batch_size):
        yield (x_test[start : start + batch_size, :, :, None].astype("float32") / 255,)


model = Sequential(
    [
        Conv2D(4, 3, activation="relu", input_shape=(28, 28, 1)),
        MaxPooling2D(),
        Flatten(),
        Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer=SGD(0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(9)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(
    shifted(x_train, y_train, 32), steps_per_epoch=6, epochs=2,
    validation_data=whole_test_set(), validation_steps=1, verbose=1,
)  # fmt: skip

result = {
    "history": history.history,
    "evaluated": model.evaluate(shifted(x_test, y_test, 20), steps=4, verbose=0),
    "two steps": model.predict(shifted(x_test, y_test, 20), steps=2, verbose=0).shape,
    "all": model.predict(pixels(30), verbose=0).sum(axis=0),
}
