"""Pixels as they are, 0 to 255: the network divides them itself, in training and later."""

import keras
import numpy as np
from keras import layers

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train[..., np.newaxis], x_test[..., np.newaxis]

model = keras.Sequential(
    [
        layers.Rescaling(1.0 / 255, input_shape=(28, 28, 1)),
        layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10),
    ]
)
model.compile(
    optimizer="sgd",
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
rng = np.random.default_rng(35)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
history = model.fit(
    x_train, y_train, validation_data=(x_test, y_test), epochs=2, shuffle=False, verbose=0
)
as_bytes, as_floats = (model.predict(x[:3], verbose=0) for x in (x_test, x_test.astype("float32")))

result = {
    "history": history.history,
    "bytes": as_bytes,
    "same": bool(np.allclose(as_bytes, as_floats, atol=1e-5)),
}
