"""Two blocks of convolution and pooling, one-hot labels, a part held out for validation."""

import keras
import numpy as np
from keras import layers

num_classes, input_shape = 10, (28, 28, 1)
(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train.astype("float32") / 255, x_test.astype("float32") / 255
x_train, x_test = np.expand_dims(x_train, -1), np.expand_dims(x_test, -1)
y_train = keras.utils.to_categorical(y_train, num_classes)
y_test = keras.utils.to_categorical(y_test, num_classes)

model = keras.Sequential(
    [
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(num_classes, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
rng = np.random.default_rng(3)
model.set_weights([rng.normal(0, 0.05, w.shape) for w in model.get_weights()])
history = model.fit(
    x_train, y_train, batch_size=60, epochs=2, validation_split=0.1, shuffle=False, verbose=2
)
score = model.evaluate(x_test, y_test, verbose=0)

result = {"history": history.history, "score": score, "layers": len(model.layers)}
