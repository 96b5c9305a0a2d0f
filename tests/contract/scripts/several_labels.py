"""Several answers for one picture: is it odd, is it above 4, has it a loop?"""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[..., None] / 255.0, x_test[..., None] / 255.0


def answers(y):
    return np.stack([y % 2, y > 4, np.isin(y, (0, 6, 8, 9))], axis=1).astype("float32")


model = Sequential()
model.add(Conv2D(4, (3, 3), strides=2, activation="relu", input_shape=(28, 28, 1)))
model.add(Flatten())
model.add(Dense(3, activation="sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="sgd", metrics=["binary_accuracy", "mae"])
rng = np.random.default_rng(24)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(
    x_train, answers(y_train), validation_data=(x_test, answers(y_test)), epochs=2, verbose=0,
    shuffle=False,
)  # fmt: skip

result = {"history": history.history, "first": model.predict(x_test[:2], verbose=0)}
