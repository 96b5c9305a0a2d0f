"""Two classes from one sigmoid unit, counted by accuracy, precision and recall."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.losses import BinaryCrossentropy
from keras.metrics import BinaryAccuracy, Precision, Recall
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0
y_train, y_test = y_train % 2, y_test % 2

model = Sequential([Input((28, 28)), Flatten(), Dense(16, "relu"), Dense(1, activation="sigmoid")])
model.compile(
    optimizer="sgd",
    loss=BinaryCrossentropy(),
    metrics=["accuracy", BinaryAccuracy(threshold=0.6), Precision(), Recall(name="found")],
)
rng = np.random.default_rng(23)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(
    x_train, y_train, batch_size=24, epochs=2, shuffle=False, verbose=0,
    class_weight={0: 1.0, 1: 1.5}, validation_data=(x_test, y_test),
)  # fmt: skip
predictions = model.predict(x_test, verbose=0)
odd = (predictions > 0.5).astype("int32")

result = {
    "history": history.history,
    "predictions": predictions[:5],
    "shape": odd.shape,
    "dict": model.evaluate(x_test, y_test, verbose=0, return_dict=True),
}
