"""A model that begins with augmentation layers: all of it that is not random."""

import keras
import numpy as np
from keras import layers

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train = x_train.astype("float32")[..., np.newaxis] / 255
x_test = x_test.astype("float32")[..., np.newaxis] / 255

data_augmentation = [
    layers.RandomRotation(0.03, fill_mode="constant"),
    layers.RandomTranslation(height_factor=0.1, width_factor=0.1, fill_mode="constant"),
    layers.RandomZoom(0.1, fill_mode="constant", interpolation="bilinear", fill_value=0.0),
]


def build(augmentation):
    model = keras.Sequential(
        [
            keras.Input(shape=(28, 28, 1)),
            *augmentation,
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


model = build(data_augmentation)
before = model.evaluate(x_test, y_test, verbose=0)
random = model.fit(x_train, y_train, epochs=1, batch_size=48, verbose=0)
trained = model.predict(x_test, verbose=0)
model.save("augmented.keras")
loaded = keras.models.load_model("augmented.keras")

# Amounts that are not random: half a turn and a shift by whole pixels.
fixed = build(
    [
        layers.RandomRotation((0.5, 0.5), fill_mode="nearest"),
        layers.RandomTranslation((0.25, 0.25), (-0.25, -0.25), fill_mode="reflect"),
        layers.RandomZoom((0.0, 0.0), (0.5, 0.5), fill_mode="nearest"),
        layers.RandomErasing(factor=0.0, fill_value=0.5, value_range=(0, 1)),
    ]
)
history = fixed.fit(
    x_train, y_train, epochs=2, batch_size=48, shuffle=False, validation_data=(x_test, y_test),
    verbose=0,
)  # fmt: skip

result = {
    "names": [layer.name for layer in model.layers],
    "weights": [w.shape for w in model.get_weights()],
    "before": before,
    "keys": list(random.history),
    "not in inference": bool(np.allclose(model.predict(x_test, verbose=0), trained)),
    "after loading": bool(np.allclose(loaded.predict(x_test, verbose=0), trained, atol=1e-6)),
    "evaluated alike": bool(
        np.allclose(
            loaded.evaluate(x_test, y_test, verbose=0), model.evaluate(x_test, y_test, verbose=0)
        )
    ),
    "augmented": np.asarray(fixed(x_test[:2], training=True)),
    "history": history.history,
    "predicted": fixed.predict(x_test[:4], verbose=0),
}
