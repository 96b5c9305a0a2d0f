"""A second network of the same structure, by `from_config`, with the weights copied over."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, Input
from keras.models import Sequential
from keras.utils import set_random_seed

_, (x_test, _) = mnist.load_data()
x_test = x_test[..., np.newaxis].astype("float32") / 255
set_random_seed(1)
model = Sequential(name="original")
model.add(Input(shape=(28, 28, 1)))
model.add(Conv2D(2, 3, dilation_rate=2, use_bias=False, activation="relu", name="wide"))
model.add(Flatten())
model.add(Dense(10, activation="softmax", name="classes"))
rng = np.random.default_rng(9)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

copy = Sequential.from_config(model.get_config())
differ = bool((copy.predict(x_test, verbose=0) != model.predict(x_test, verbose=0)).any())
copy.set_weights(model.get_weights())
same = bool((copy.predict(x_test, verbose=0) == model.predict(x_test, verbose=0)).all())

result = {
    "name": copy.name,
    "layers": [layer.name for layer in copy.layers],
    "differ": differ,
    "same": same,
    "dilation": copy.get_layer("wide").dilation_rate,
    "weights": [w.shape for w in copy.get_layer("wide").get_weights()],
}
