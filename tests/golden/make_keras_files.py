"""Make the model files that real Keras wrote: `python tests/golden/make_keras_files.py`.

With Keras 3 it writes keras3.h5 and keras3.keras, with tf_keras (Keras 2, in an environment without
Keras 3 in front) keras2.h5 and keras2_old.h5, the latter by an optimizer from before 2.11. Beside
them keras_files.json keeps what Keras itself says of each: predictions, weights, optimizer state.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).parent

import numpy as np  # noqa: E402

if "--keras2" in sys.argv:
    import tf_keras as keras
else:
    import keras

x = np.random.default_rng(0).random((8, 6, 5, 1)).astype(np.float32)
labels = np.arange(8) % 3


def train(optimizer, steps=3):
    """A small model after a few steps."""
    layers, penalty = keras.layers, keras.regularizers.L2(1e-3)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            layers.InputLayer((6, 5, 1)),
            layers.Conv2D(2, 3, padding="same", activation="relu", kernel_regularizer=penalty),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ],
        name="small",
    )
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    for _ in range(steps):
        model.train_on_batch(x, labels)
    return model


def describe(model, slots):
    """What Keras says of the model; `slots` are lists of variables by nanocnn's slot names."""
    names = ["conv2d/kernel", "conv2d/bias", "batch_normalization/gamma"]
    names += ["batch_normalization/beta", "dense/kernel", "dense/bias"]
    state = {
        f"{name}/{slot}": np.asarray(variable).ravel().tolist()
        for slot, variables in slots.items()
        for name, variable in zip(names, variables, strict=True)
    }
    return {
        "keras": keras.__version__,
        "predictions": model.predict(x, verbose=0).tolist(),
        "weights": [w.ravel().tolist() for w in model.get_weights()],
        "iteration": int(model.optimizer.iterations),
        "optimizer": state,
    }


path = HERE / "keras_files.json"
values = json.loads(path.read_text()) if path.exists() else {}
values["x"] = x.tolist()
if "--keras2" in sys.argv:
    new = keras.optimizers.RMSprop(0.01, momentum=0.5, centered=True)
    model = train(new)
    model.save(HERE / "keras2.h5")
    slots = {"v": new._velocities, "buffer": new._momentums, "average": new._average_gradients}
    values["keras2.h5"] = describe(model, slots)
    keras.backend.clear_session()
    old = keras.optimizers.legacy.Adam(0.01)
    model = train(old)
    model.save(HERE / "keras2_old.h5")
    slots = {s: [old.get_slot(w, s) for w in model.trainable_weights] for s in ("m", "v")}
    values["keras2_old.h5"] = describe(model, slots)
else:
    adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 100), clipnorm=1.0)
    model = train(adam)
    slots = {"m": adam._momentums, "v": adam._velocities}
    # Saving .h5 takes the optimizer out of the config that .keras is written from: .keras first.
    for name in ("keras3.keras", "keras3.h5"):
        model.save(HERE / name)
        values[name] = describe(model, slots)
path.write_text(json.dumps(values, indent=None, separators=(",", ":")) + "\n")
