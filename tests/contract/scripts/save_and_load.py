"""A trained network saved in each format and opened again, to predict and to train on."""

import numpy as np
from keras.datasets import mnist
from keras.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from keras.models import Sequential, load_model

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255

model = Sequential()
model.add(Input(shape=(28, 28, 1)))
model.add(Conv2D(4, kernel_size=3, padding="same"))
model.add(BatchNormalization())
model.add(MaxPooling2D(2))
model.add(Dropout(0.0))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
settings = dict(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.compile(optimizer="adam", **settings)
rng = np.random.default_rng(18)
model.set_weights([0.1 + 0.1 * rng.random(w.shape) for w in model.get_weights()])
model.fit(x_train, y_train, batch_size=48, epochs=1, shuffle=False, verbose=0)

same, histories = [], []
for path in ("mnist.keras", "mnist.h5"):
    model.save(path)
    loaded = load_model(path)
    difference = loaded.predict(x_test, verbose=0) - model.predict(x_test, verbose=0)
    same.append(bool(abs(difference).max() < 1e-6))
    if path.endswith(".h5"):  # Keras 3 does not go on from the optimizer in there
        loaded.compile(optimizer="sgd", **settings)
    histories.append(loaded.fit(x_train, y_train, 48, 1, shuffle=False, verbose=0).history)

result = {"same": same, "histories": histories}
