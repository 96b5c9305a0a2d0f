"""No convolution: pixels in a row, `input_dim`, tanh, momentum; the error on the test set."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Activation, Dense
from keras.models import Sequential
from keras.optimizers import SGD
from keras.utils import to_categorical

(X_train, y_train), (X_test, y_test) = mnist.load_data()
num_pixels = X_train.shape[1] * X_train.shape[2]
X_train = X_train.reshape((X_train.shape[0], num_pixels)).astype("float32") / 255
X_test = X_test.reshape((X_test.shape[0], num_pixels)).astype("float32") / 255
y_train, y_test = to_categorical(y_train), to_categorical(y_test)
num_classes = y_test.shape[1]

model = Sequential()
model.add(Dense(64, input_dim=num_pixels, kernel_initializer="he_uniform", activation="tanh"))
model.add(Dense(32, kernel_initializer="glorot_uniform", bias_initializer="zeros"))
model.add(Activation("sigmoid"))
model.add(Dense(num_classes, kernel_initializer="he_normal", activation="softmax"))
sgd = SGD(learning_rate=0.05, momentum=0.9, nesterov=True)
model.compile(loss="categorical_crossentropy", optimizer=sgd, metrics=["accuracy"])
rng = np.random.default_rng(5)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
fitted = model.fit(
    X_train, y_train, validation_data=(X_test, y_test), epochs=2, batch_size=40, verbose=2,
    shuffle=False,
)  # fmt: skip
scores = model.evaluate(X_test, y_test, verbose=0)
print(f"Baseline Error: {100 - scores[1] * 100:.2f}%")

result = {"history": fitted.history, "scores": scores, "params": model.count_params()}
