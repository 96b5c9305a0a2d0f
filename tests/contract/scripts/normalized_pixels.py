"""Pixels normalized by the mean and the variance of the training data, which a layer learns."""

import keras
import numpy as np
from keras import layers

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = (x[..., np.newaxis].astype("float32") for x in (x_train, x_test))
normalization_layer = layers.Normalization()
normalization_layer.adapt(x_train)

model = keras.Sequential()
model.add(keras.Input(shape=(28, 28, 1)))
model.add(normalization_layer)
model.add(layers.Conv2D(4, 3, strides=2, activation="relu"))
model.add(layers.Flatten())
model.add(layers.Dense(10, activation="softmax"))
model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(36)
for layer in model.layers[1:]:
    layer.set_weights([rng.normal(0, 0.1, w.shape) for w in layer.get_weights()])
history = model.fit(
    x_train, y_train, validation_data=(x_test, y_test), epochs=2, shuffle=False, verbose=0
)
fixed = keras.Sequential(
    [keras.Input(shape=(28, 28, 1)), layers.Normalization(mean=33.0, variance=6000.0)]
)

result = {
    "history": history.history,
    "normalized": fixed.predict(x_test[:1], verbose=0)[0, 14, ::4, 0],
}
