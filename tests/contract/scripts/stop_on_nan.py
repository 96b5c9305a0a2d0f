"""A learning rate that is far too high: the training ends at the first loss that is NaN."""

import numpy as np
from keras.callbacks import TerminateOnNaN
from keras.datasets import mnist
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential
from keras.optimizers import SGD

(x_train, y_train), _ = mnist.load_data()
model = Sequential([Input((28, 28)), Flatten(), Dense(16), Dense(10)])
model.compile(SGD(1e25), loss="mse")
rng = np.random.default_rng(16)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
y = np.eye(10)[y_train]
history = model.fit(
    x_train / 255.0, y, epochs=5, callbacks=[TerminateOnNaN()], verbose=0, shuffle=False
)

result = {
    "epochs": len(history.epoch),
    "keys": list(history.history),
    "finite": bool(np.isfinite(history.history["loss"][0])),
    "stopped": model.stop_training,
}
