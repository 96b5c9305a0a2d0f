"""Everything by its full name from `import keras`, with weight penalties on each layer."""

import keras
import numpy as np

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train = np.expand_dims(x_train.astype("float32") / 255.0, -1)
x_test = np.expand_dims(x_test.astype("float32") / 255.0, -1)

l2 = keras.regularizers.l2
model = keras.models.Sequential(
    [
        keras.layers.InputLayer(shape=(28, 28, 1)),
        keras.layers.Conv2D(6, (3, 3), activation="relu", kernel_regularizer=l2(0.001)),
        keras.layers.MaxPooling2D((2, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(16, activation="relu", kernel_regularizer="l2"),
        keras.layers.Dense(
            10, activation="softmax", kernel_regularizer=keras.regularizers.L2(l2=0.01)
        ),
    ]
)
model.compile(
    optimizer=keras.optimizers.SGD(learning_rate=0.02, momentum=0.5),
    loss=keras.losses.SparseCategoricalCrossentropy(),
    metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
)
rng = np.random.default_rng(8)
model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
stop = keras.callbacks.EarlyStopping(monitor="loss")
history = model.fit(
    x_train, y_train, batch_size=50, epochs=2, shuffle=False, callbacks=stop, verbose=0
)

result = {"history": history.history, "test": model.evaluate(x_test, y_test, verbose=0)}
