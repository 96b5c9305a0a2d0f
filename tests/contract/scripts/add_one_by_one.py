"""A network grown by `add` from an InputLayer, with its summary in a file and a picture."""

import keras
import numpy as np
from keras.layers import Conv2D, Dense, Flatten, InputLayer, MaxPool2D

model = keras.models.Sequential()
model.add(InputLayer(input_shape=(28, 28, 1)))
model.add(Conv2D(4, (3, 3), activation="relu", padding="same", name="first"))
model.add(MaxPool2D())
model.add(Conv2D(8, (3, 3), strides=2, activation="relu"))
model.add(Flatten())
model.add(Dense(10))
model.add(keras.layers.Activation("softmax"))
model.get_layer("first").trainable = False

with open("summary.txt", "w") as file:
    model.summary(print_fn=lambda text: file.write(text + "\n"))
with open("summary.txt") as file:
    lines = [line.strip() for line in file]
try:
    keras.utils.plot_model(model, to_file="model.png", show_shapes=True)
except ImportError as error:  # Keras draws with pydot and Graphviz
    print(error)
if hasattr(model, "plot"):  # not in Keras
    model.plot("network.png")

rng = np.random.default_rng(6)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
x = rng.random((3, 28, 28, 1), dtype="float32")
result = {
    "summary": [line for line in lines if "params:" in line],
    "title": [line for line in lines if line.startswith("Model:")],
    "layers": [layer.name for layer in model.layers],
    "trainable": [w.shape for w in model.get_layer(index=0).get_weights()],
    "predictions": model.predict(x, verbose=0),
}
