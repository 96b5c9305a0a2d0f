"""Curves for TensorBoard in a folder of logs."""

import os

from keras.callbacks import TensorBoard
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
model = Sequential([Input((28, 28)), Flatten(), Dense(10, activation="softmax")])
model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
tensorboard = TensorBoard(log_dir="logs", histogram_freq=0, write_graph=False)
model.fit(
    x_train / 255.0, y_train, epochs=1, callbacks=[tensorboard], verbose=0,
    validation_data=(x_test / 255.0, y_test),
)  # fmt: skip

result = {
    "runs": sorted(os.listdir("logs")),
    "files": [len(os.listdir(os.path.join("logs", run))) for run in ("train", "validation")],
}
