"""A look at filters, at weights, and at the output of a call, for a blog post."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential

_, (x_test, y_test) = mnist.load_data()
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255
model = Sequential()
model.add(Conv2D(4, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Conv2D(6, kernel_size=(3, 3), activation="relu"))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
rng = np.random.default_rng(30)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

filters, biases = model.layers[0].get_weights()
f_min, f_max = filters.min(), filters.max()
filters = (filters - f_min) / (f_max - f_min)
last = model.layers[-1]
kernel, bias = last.get_weights()
last.set_weights([kernel, bias + np.arange(10)])
convolutions = [layer for layer in model.layers if "conv" in layer.name]

result = {
    "filters": filters[..., 0],
    "biases": biases.shape,
    "names": [layer.name for layer in model.layers],
    "classes": [type(layer).__name__ for layer in model.layers],
    "filter shapes": [layer.get_weights()[0].shape for layer in convolutions],
    "units": [last.units, convolutions[0].filters, convolutions[0].kernel_size],
    "trainable weights": len(model.trainable_weights),
    "of a layer": len(last.trainable_weights),
    "called": np.asarray(model(x_test[:2])),
    "training": np.asarray(model(x_test[:2], training=False)).shape,
    "classes of three": np.argmax(model.predict(x_test[:3], batch_size=None), axis=-1),
}
