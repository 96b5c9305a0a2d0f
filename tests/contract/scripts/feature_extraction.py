"""The layers before the last as a network that makes features, for a nearest-neighbour rule."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255
model = Sequential(
    [
        Conv2D(4, (3, 3), activation="relu", input_shape=(28, 28, 1)),
        MaxPooling2D((2, 2)),
        Flatten(),
        Dense(16, activation="relu", name="features"),
        Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
rng = np.random.default_rng(21)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
model.fit(x_train, y_train, epochs=1, batch_size=60, shuffle=False, verbose=0)

extractor = Sequential(model.layers[:-1])
train_features = extractor.predict(x_train, verbose=0)
test_features = extractor.predict(x_test, verbose=0)
distances = ((test_features[:, None] - train_features[None]) ** 2).sum(axis=2)
labels = y_train[distances.argmin(axis=1)]
first_two = Sequential(model.layers[:2])

result = {
    "shape": test_features.shape,
    "features": test_features[0],
    "accuracy": float(np.mean(labels == y_test)),
    "maps": first_two.predict(x_test[:1], verbose=0).shape,
    "shared": extractor.get_layer("features") is model.get_layer("features"),
}
