"""Stops when the validation loss no longer falls, and keeps the best network in a file."""

import os

import numpy as np
from keras.callbacks import EarlyStopping, ModelCheckpoint
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential, load_model
from keras.utils import to_categorical

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0
y_train, y_test = to_categorical(y_train, 10), to_categorical(y_test, 10)

model = Sequential([Input((28, 28)), Flatten(), Dense(10, activation="softmax")])
model.compile("sgd", loss="categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(10)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
es = EarlyStopping(
    monitor="val_loss", mode="min", min_delta=0.7, verbose=1, patience=2, restore_best_weights=True
)
mc = ModelCheckpoint(
    "best_model.keras", monitor="val_accuracy", mode="max", verbose=1, save_best_only=True
)
every = ModelCheckpoint("epoch-{epoch:02d}.keras", verbose=1)
history = model.fit(
    x_train, y_train, validation_data=(x_test, y_test), epochs=8, verbose=0, shuffle=False,
    callbacks=[es, mc, every],
)  # fmt: skip
saved_model = load_model("best_model.keras")

result = {
    "history": history.history,
    "stopped": es.stopped_epoch,
    "restored": model.evaluate(x_test, y_test, verbose=0),
    "best": saved_model.evaluate(x_test, y_test, verbose=0),
    "files": sorted(os.listdir(".")),
}
