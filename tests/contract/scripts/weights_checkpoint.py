"""Only the weights in each checkpoint: the last ones are loaded into a new network."""

import os

import numpy as np
from keras.callbacks import ModelCheckpoint
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0


def create_model():
    model = Sequential([Input((28, 28)), Flatten(), Dense(16, "relu"), Dense(10, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


model = create_model()
rng = np.random.default_rng(19)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
cp_callback = ModelCheckpoint(
    filepath="cp-{epoch:04d}.weights.h5", verbose=1, save_weights_only=True, save_freq="epoch"
)
model.fit(
    x_train, y_train, epochs=2, callbacks=[cp_callback], validation_data=(x_test, y_test),
    verbose=0, shuffle=False,
)  # fmt: skip
fresh = create_model()
fresh.load_weights("cp-0002.weights.h5")

result = {
    "files": sorted(os.listdir(".")),
    "trained": model.evaluate(x_test, y_test, verbose=0),
    "loaded": fresh.evaluate(x_test, y_test, verbose=0),
}
