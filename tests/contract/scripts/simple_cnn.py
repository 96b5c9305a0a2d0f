"""A first network: one convolution, dropout, labels as numbers, saved at the end."""

import keras
from keras import layers
from keras.datasets import mnist

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train.reshape((-1, 28, 28, 1)).astype("float32") / 255.0
x_test = x_test.reshape((-1, 28, 28, 1)).astype("float32") / 255.0

model = keras.Sequential(
    [
        layers.Conv2D(32, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=64, epochs=2, validation_data=(x_test, y_test))
test_loss, test_acc = model.evaluate(x_test, y_test, verbose=2)
print("Test accuracy:", test_acc)
model.save("mnist_simple.h5")
again = keras.models.load_model("mnist_simple.h5")

result = {
    "keys": list(history.history),
    "epochs": history.epoch,
    "params": history.params["epochs"],
    "lengths": [len(values) for values in history.history.values()],
    "evaluated": isinstance(test_loss, float) and isinstance(test_acc, float),
    "learns": history.history["loss"][1] < history.history["loss"][0],
    "reloaded": abs(again.evaluate(x_test, y_test, verbose=0)[0] - test_loss) < 1e-5,
    "weights": [w.shape for w in model.get_weights()],
}
