"""Old Keras: batches of an ImageDataGenerator, here without ranges, so that nothing is random."""

import numpy as np
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential
from keras.preprocessing.image import ImageDataGenerator
from keras.utils import to_categorical

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape(-1, 28, 28, 1)
x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255
y_train, y_test = to_categorical(y_train, 10), to_categorical(y_test, 10)

datagen = ImageDataGenerator(
    featurewise_center=False, samplewise_center=False, featurewise_std_normalization=False,
    samplewise_std_normalization=False, zca_whitening=False, rotation_range=0, zoom_range=0.0,
    width_shift_range=0, height_shift_range=0.0, shear_range=0, horizontal_flip=False,
    vertical_flip=False, rescale=1.0 / 255,
)  # fmt: skip
datagen.fit(x_train)

model = Sequential()
model.add(Conv2D(4, (5, 5), padding="same", activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D((2, 2)))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(optimizer="sgd", loss="categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(21)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])

flow = datagen.flow(x_train, y_train, batch_size=60, shuffle=False)
first, labels = next(flow)
history = model.fit(
    datagen.flow(x_train, y_train, batch_size=60, shuffle=False), epochs=2,
    steps_per_epoch=x_train.shape[0] // 60, validation_data=(x_test, y_test), shuffle=False,
    verbose=2,
)  # fmt: skip
again = model.fit(datagen.flow(x_train, y_train, 60, False), epochs=2, shuffle=False, verbose=0)

split = ImageDataGenerator(validation_split=0.25, rescale=1 / 255)
parts = [split.flow(x_train, y_train, 32, False, subset=s) for s in ("training", "validation")]

result = {
    "batches": [len(flow), flow.n, flow.batch_size, str(first.dtype), first.shape, labels.shape],
    "pixels": [float(first.max()), float(first.sum())],
    "history": history.history,
    "again": again.history,
    "evaluated": model.evaluate(datagen.flow(x_train, y_train, 80, False), verbose=0),
    "predicted": model.predict(datagen.flow(x_train, None, 80, False), verbose=0)[:3],
    "parts": [[part.n, float(next(part)[0].sum())] for part in parts],
}
