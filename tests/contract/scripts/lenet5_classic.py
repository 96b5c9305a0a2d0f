"""LeNet-5 as the paper draws it, with ReLU and max-pooling, layers added by name of module."""

import keras.layers as kl
import numpy as np
from keras import Sequential
from keras.datasets import mnist
from keras.utils import to_categorical

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(x_train.shape[0], 28, 28, 1) / 255.0
x_test = x_test.reshape(x_test.shape[0], 28, 28, 1) / 255.0
y_train, y_test = to_categorical(y_train), to_categorical(y_test)

model = Sequential(name="lenet5")
model.add(kl.Conv2D(6, 5, activation="relu", input_shape=(28, 28, 1), name="C1"))
model.add(kl.MaxPool2D(name="S2"))
model.add(kl.Conv2D(16, 5, activation="relu", name="C3"))
model.add(kl.MaxPool2D(2, 2, name="S4"))
model.add(kl.Flatten())
model.add(kl.Dense(units=120, activation="relu", name="C5"))
model.add(kl.Dense(units=84, activation="relu", name="F6"))
model.add(kl.Dense(units=10, activation="softmax", name="output"))
model.compile("sgd", "categorical_crossentropy", metrics=["acc"])
rng = np.random.default_rng(4)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(x_train, y_train, 32, 2, 0, shuffle=False, validation_data=(x_test, y_test))

result = {
    "history": history.history,
    "names": [layer.name for layer in model.layers],
    "model": model.name,
    "f6": [w.shape for w in model.get_layer("F6").get_weights()],
    "metrics": model.evaluate(x_test, y_test, 32, 0),
}
