"""A smaller learning rate whenever the accuracy stands still."""

import numpy as np
from keras.callbacks import ReduceLROnPlateau
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten
from keras.models import Sequential
from keras.optimizers import SGD

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255

model = Sequential()
model.add(Conv2D(3, (3, 3), strides=(2, 2), activation="relu", input_shape=(28, 28, 1)))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(SGD(0.02), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(11)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
learning_rate_reduction = ReduceLROnPlateau(
    monitor="val_accuracy", patience=1, verbose=1, factor=0.5, min_lr=0.00001, min_delta=0.9
)
history = model.fit(
    x_train, y_train, batch_size=48, epochs=4, validation_data=(x_test, y_test), verbose=2,
    shuffle=False, callbacks=[learning_rate_reduction],
)  # fmt: skip

result = {"history": history.history, "rate": float(model.optimizer.learning_rate)}
