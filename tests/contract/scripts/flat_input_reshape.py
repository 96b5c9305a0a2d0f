"""Rows of 784 pixels, as CSV files have them, reshaped into images by the network itself."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D, Reshape
from keras.models import Sequential
from keras.utils import to_categorical

(x_train, y_train), (x_test, y_test) = mnist.load_data()
rows = np.concatenate([x_train, x_test]).reshape(-1, 784)
labels = np.concatenate([y_train, y_test])
X, y = rows / 255.0, to_categorical(labels, num_classes=10)

model = Sequential()
model.add(Reshape((28, 28, 1), input_shape=(784,)))
model.add(Conv2D(4, (3, 3), padding="same", activation="relu"))
model.add(MaxPooling2D((4, 4)))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
rng = np.random.default_rng(34)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(X, y, validation_split=0.25, epochs=2, shuffle=False, verbose=0)
submission = np.argmax(model.predict(X[-5:], verbose=0), axis=1)

result = {"history": history.history, "submission": submission, "one": model.predict(X[:1]).shape}
