"""Trained in two parts, the second from `initial_epoch` on, with all ways to report."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential, load_model
from keras.optimizers import Adam

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0
model = Sequential([Input((28, 28)), Flatten(), Dense(10, activation="softmax")])
adam = Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999)
model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(37)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
options = dict(validation_split=0.2, shuffle=False, batch_size=None)
first = model.fit(x_train, y_train, epochs=2, verbose=1, **options)
model.save("half.keras")
model = load_model("half.keras")
second = model.fit(x_train, y_train, epochs=4, initial_epoch=2, verbose=2, **options)
scores = model.evaluate(x_test, y_test, verbose=1, return_dict=True)
predictions = model.predict(x_test, verbose=1)

result = {
    "first": [first.history, first.epoch],
    "second": [second.history, second.epoch],
    "scores": scores,
    "predictions": predictions.shape,
}
