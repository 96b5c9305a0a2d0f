"""Layers without an input shape: the network is built by `build`, or by the first batch."""

import numpy as np
from keras.datasets import mnist
from keras.layers import AveragePooling2D, Conv2D, Dense, Flatten
from keras.models import Sequential


def make():
    return Sequential(
        [Conv2D(4, 5, activation="tanh"), AveragePooling2D(2), Flatten(), Dense(10, "softmax")]
    )


(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[..., None] / 255, x_test[..., None] / 255
model = make()
built = [model.built]
model.build((None, 28, 28, 1))
built.append(model.built)
rng = np.random.default_rng(7)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, epochs=1, batch_size=24, shuffle=False, verbose=0)

later = make()
later.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy")
later.fit(x_train, y_train, verbose=0)

result = {
    "built": built,
    "history": history.history,
    "later": [w.shape for w in later.get_weights()],
    "predictions": later.predict(x_test, verbose=0).shape,
}
