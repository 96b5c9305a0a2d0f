"""A training loop of one's own over batches, with the loss of each as a list and as a dict."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential
from keras.optimizers import SGD

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255
model = Sequential()
model.add(Conv2D(4, 3, activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D())
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(SGD(0.05), "sparse_categorical_crossentropy")
rng = np.random.default_rng(29)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

losses = []
for epoch in range(2):
    for start in range(0, len(x_train), 60):
        batch = slice(start, start + 60)
        losses.append(model.train_on_batch(x_train[batch], y_train[batch]))
    print(f"Epoch {epoch + 1}, loss {float(losses[-1]):.4f}")

result = {
    "losses": losses,
    "kind": [np.ndim(losses[0]), np.ndim(model.test_on_batch(x_test, y_test))],
    "keys": sorted(model.train_on_batch(x_train[:30], y_train[:30], return_dict=True)),
    "tested": model.test_on_batch(x_test, y_test, return_dict=True),
    "predicted": model.predict_on_batch(x_test[:3]),
    "weighted": model.test_on_batch(x_test, y_test, sample_weight=np.arange(len(x_test)) / 40),
}
