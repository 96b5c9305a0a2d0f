"""Trained on the digits below 5; then its convolutions are frozen and a new end learns the rest."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Activation, Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential
from keras.optimizers import SGD
from keras.utils import to_categorical

(x_train, y_train), _ = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
below, above = y_train < 5, y_train >= 5

feature_layers = [
    Conv2D(4, 3, padding="valid", input_shape=(28, 28, 1)),
    Activation("relu"),
    MaxPooling2D(pool_size=2),
    Flatten(),
]
classification_layers = [Dense(16), Activation("relu"), Dense(5), Activation("softmax")]
model = Sequential(feature_layers + classification_layers)
rng = np.random.default_rng(22)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
options = dict(batch_size=30, epochs=2, shuffle=False, verbose=0)
model.compile(loss="categorical_crossentropy", optimizer=SGD(0.05), metrics=["accuracy"])
first = model.fit(x_train[below], to_categorical(y_train[below], 5), **options)

for layer in feature_layers:
    layer.trainable = False
frozen = [w.copy() for w in model.layers[0].get_weights()]
counts = [len(model.weights), len(model.trainable_weights), len(model.non_trainable_weights)]
model.pop()
model.pop()
model.add(Dense(5, name="new"))
model.add(Activation("softmax"))
model.get_layer("new").set_weights([rng.normal(0, 0.1, (16, 5)), np.zeros(5)])
model.compile(loss="categorical_crossentropy", optimizer=SGD(0.05), metrics=["accuracy"])
second = model.fit(x_train[above], to_categorical(y_train[above] - 5, 5), **options)
after = model.layers[0].get_weights()

result = {
    "first": first.history,
    "second": second.history,
    "counts": counts,
    "frozen": all((a == b).all() for a, b in zip(frozen, after, strict=True)),
    "layers": len(model.layers),
}
