"""The learning rate as a function of the epoch: of one argument, and of two."""

import math

import numpy as np
from keras.callbacks import LearningRateScheduler
from keras.datasets import mnist
from keras.layers import Dense, Flatten
from keras.models import Sequential
from keras.optimizers import RMSprop

(x_train, y_train), _ = mnist.load_data()
x_train = x_train.astype("float32") / 255.0


def step_decay(epoch):
    return 0.002 * math.pow(0.5, math.floor((1 + epoch) / 2.0))


def warm_down(epoch, lr):
    return lr if epoch < 1 else lr * math.exp(-0.1)


model = Sequential([Flatten(input_shape=(28, 28)), Dense(10, activation="softmax")])
model.compile(RMSprop(learning_rate=0.002), "sparse_categorical_crossentropy")
rng = np.random.default_rng(12)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
options = dict(batch_size=60, shuffle=False, verbose=0)
first = model.fit(
    x_train, y_train, epochs=3, callbacks=[LearningRateScheduler(step_decay, verbose=1)], **options
)
model.optimizer.learning_rate = 0.001
second = model.fit(
    x_train, y_train, epochs=2, callbacks=LearningRateScheduler(warm_down), **options
)

result = {"first": first.history, "second": second.history}
