"""A callback of one's own that records every event, and what the logs of each hold."""

import keras
import numpy as np
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
events = []


class Recorder(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        events.append(["train begin", sorted(self.params), self.params["epochs"]])

    def on_train_end(self, logs=None):
        events.append(["train end", sorted(logs or {})])

    def on_epoch_begin(self, epoch, logs=None):
        events.append(["epoch begin", epoch])

    def on_epoch_end(self, epoch, logs=None):
        events.append(["epoch end", epoch, sorted(logs)])

    def on_train_batch_begin(self, batch, logs=None):
        events.append(["train batch begin", batch])

    def on_train_batch_end(self, batch, logs=None):
        events.append(["train batch end", batch, sorted(logs), logs["loss"]])

    def on_test_begin(self, logs=None):
        events.append(["test begin"])

    def on_test_batch_end(self, batch, logs=None):
        events.append(["test batch end", batch, sorted(logs)])

    def on_test_end(self, logs=None):
        events.append(["test end", sorted(logs)])

    def on_predict_begin(self, logs=None):
        events.append(["predict begin"])

    def on_predict_batch_end(self, batch, logs=None):
        events.append(["predict batch end", batch, sorted(logs), len(logs["outputs"])])

    def on_predict_end(self, logs=None):
        events.append(["predict end", type(self.model).__name__])


model = Sequential([Input((28, 28)), Flatten(), Dense(10, activation="softmax")])
model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
rng = np.random.default_rng(17)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
recorder = Recorder()
model.fit(
    x_train / 255.0, y_train, batch_size=120, callbacks=[recorder], verbose=0, shuffle=False,
    validation_data=(x_test / 255.0, y_test),
)  # fmt: skip
model.evaluate(x_test / 255.0, y_test, batch_size=50, callbacks=[recorder], verbose=0)
model.predict(x_test / 255.0, batch_size=50, callbacks=recorder, verbose=0)

result = {"events": events}
