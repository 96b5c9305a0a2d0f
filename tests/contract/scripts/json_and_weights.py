"""The old way to keep a network: its structure as JSON, its weights in a file of their own."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential, model_from_json

_, (x_test, y_test) = mnist.load_data()
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255
model = Sequential()
model.add(Conv2D(3, (5, 5), activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D(pool_size=(3, 3), strides=2, padding="same"))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
rng = np.random.default_rng(20)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

model_json = model.to_json()
with open("model.json", "w") as json_file:
    json_file.write(model_json)
model.save_weights("model.weights.h5")

with open("model.json") as json_file:
    loaded_model = model_from_json(json_file.read())
loaded_model.load_weights("model.weights.h5")
loaded_model.compile(
    loss="sparse_categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"]
)

result = {
    "score": loaded_model.evaluate(x_test, y_test, verbose=0),
    "names": [layer.name for layer in loaded_model.layers],
    "text": isinstance(model_json, str),
}
