"""Small callbacks without a class: a list of losses, a line an epoch, one at the end."""

import numpy as np
from keras.callbacks import LambdaCallback
from keras.datasets import mnist
from keras.layers import Dense, Reshape
from keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
model = Sequential([Reshape((784,), input_shape=(28, 28)), Dense(10, activation="softmax")])
model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
rng = np.random.default_rng(14)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

batches, losses, epochs, ended = [], [], [], []
record = LambdaCallback(
    on_train_batch_begin=lambda batch, logs: batches.append(batch),
    on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]),
    on_epoch_end=lambda epoch, logs: epochs.append([epoch, sorted(logs)]),
    on_train_end=lambda logs: ended.append(True),
)
model.fit(
    x_train / 255.0, y_train, batch_size=100, epochs=2, callbacks=[record], shuffle=False,
    validation_data=(x_test / 255.0, y_test), verbose=0,
)  # fmt: skip

result = {"batches": batches, "losses": losses, "epochs": epochs, "ended": ended}
