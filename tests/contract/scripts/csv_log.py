"""The history of a training in a CSV file, to which a second training appends."""

import csv

import numpy as np
from keras.callbacks import CSVLogger
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0
model = Sequential([Input((28, 28)), Flatten(), Dense(10, activation="softmax")])
model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
rng = np.random.default_rng(15)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

for append in (False, True):
    csv_logger = CSVLogger("training.log", separator=";", append=append)
    model.fit(
        x_train, y_train, epochs=2, callbacks=[csv_logger], verbose=0, shuffle=False,
        validation_data=(x_test, y_test),
    )  # fmt: skip
with open("training.log") as file:
    header, *rows = csv.reader(file, delimiter=";")

result = {"header": header, "rows": [[float(value) for value in row] for row in rows]}
