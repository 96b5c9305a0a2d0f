"""Squared error on one-hot labels, tanh, average pooling, and Nesterov's momentum."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Activation, AveragePooling2D, Conv2D, Dense, Flatten
from keras.models import Sequential
from keras.optimizers import SGD
from keras.utils import to_categorical

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = (x.reshape(-1, 28, 28, 1).astype("float32") / 255 for x in (x_train, x_test))
y_train, y_test = to_categorical(y_train, 10), to_categorical(y_test, 10)

model = Sequential()
model.add(Conv2D(6, kernel_size=(5, 5), strides=(1, 1), activation="tanh", input_shape=(28, 28, 1)))
model.add(AveragePooling2D(pool_size=(2, 2), strides=(2, 2)))
model.add(Conv2D(8, kernel_size=(5, 5), padding="same"))
model.add(Activation("tanh"))
model.add(AveragePooling2D((3, 3), strides=3, padding="same"))
model.add(Flatten())
model.add(Dense(10, activation="sigmoid"))
model.compile(
    loss="mean_squared_error", optimizer=SGD(0.1, momentum=0.9, nesterov=True), metrics=["accuracy"]
)
rng = np.random.default_rng(26)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(
    x=x_train, y=y_train, epochs=2, batch_size=32, validation_data=(x_test, y_test), verbose=0,
    shuffle=False,
)  # fmt: skip

result = {"history": history.history}
