"""LeNet as a class with a static `build`, as in many courses; trained by SGD."""

import numpy as np
from keras import backend as K
from keras.datasets import mnist
from keras.layers import Activation, Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential
from keras.optimizers import SGD
from keras.utils import to_categorical


class LeNet:
    @staticmethod
    def build(width, height, depth, classes):
        model = Sequential()
        input_shape = (height, width, depth)
        if K.image_data_format() == "channels_first":
            input_shape = (depth, height, width)
        model.add(Conv2D(20, (5, 5), padding="same", input_shape=input_shape))
        model.add(Activation("relu"))
        model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
        model.add(Conv2D(50, (5, 5), padding="same"))
        model.add(Activation("relu"))
        model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
        model.add(Flatten())
        model.add(Dense(500))
        model.add(Activation("relu"))
        model.add(Dense(classes))
        model.add(Activation("softmax"))
        return model


(train_data, train_labels), (test_data, test_labels) = mnist.load_data()
train_data = train_data[:, :, :, np.newaxis].astype("float32") / 255.0
test_data = test_data[:, :, :, np.newaxis].astype("float32") / 255.0
train_labels, test_labels = to_categorical(train_labels, 10), to_categorical(test_labels, 10)

model = LeNet.build(width=28, height=28, depth=1, classes=10)
model.compile(loss="categorical_crossentropy", optimizer=SGD(0.01), metrics=["accuracy"])
rng = np.random.default_rng(1)
model.set_weights([rng.normal(0, 0.05, w.shape) for w in model.get_weights()])
H = model.fit(train_data, train_labels, batch_size=64, epochs=1, verbose=1, shuffle=False)
loss, accuracy = model.evaluate(test_data, test_labels, batch_size=64, verbose=1)
classes = model.predict(test_data[np.newaxis, 3]).argmax(axis=1)

result = {
    "history": H.history,
    "evaluated": [loss, accuracy],
    "classes": classes.shape,
    "params": model.count_params(),
}
