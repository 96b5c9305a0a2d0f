"""Calls of `fit`, `evaluate` and `predict` that Keras and nanocnn answer alike: see CASES.

Each is a function of a model, compiled and with the weights of `set_weights`, and of the class that
batches are a subclass of; it returns what the library returned.
"""

import numpy as np

SPARSE, ONE_HOT = "sparse_categorical_crossentropy", "categorical_crossentropy"
LOSSES = {"one-hot rows": ONE_HOT}  # of the cases that do not use SPARSE
rng = np.random.default_rng(5)
X = rng.random((20, 6, 6, 1), np.float32)
Y = np.arange(20) % 3
WEIGHT = np.linspace(0.5, 2, 20, dtype=np.float32)


def model(library, case):
    """A small network, compiled; its weights are the same in every library."""
    made = library.Sequential(
        [
            library.Input((6, 6, 1)),
            library.layers.Conv2D(3, 3, activation="relu"),
            library.layers.Flatten(),
            library.layers.Dense(3, activation="softmax"),
        ]
    )
    numbers = np.random.default_rng(7)
    made.set_weights([numbers.normal(0, 0.3, each.shape) for each in made.get_weights()])
    made.compile("sgd", LOSSES.get(case, SPARSE), metrics=["accuracy"])
    return made


def batches(size=4, repeat=False, weighted=False, stop=20):
    """(x, y) or (x, y, sample_weight), one batch after the other."""
    while True:
        for i in range(0, stop, size):
            part = slice(i, i + size)
            yield (X[part], Y[part], WEIGHT[part]) if weighted else (X[part], Y[part])
        if not repeat:
            return


def indexed(base):
    """An object of `base` whose batches have 8, 8 and 4 samples."""

    class Batches(base):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]

    return Batches()


def fit(model, *args, **options):
    history = model.fit(*args, verbose=0, shuffle=False, **options)
    return {"history": history.history, "epoch": history.epoch, "params": history.params}


def val(**options):
    return {"validation_data": (X[:7], Y[:7]), **options}


CASES = {
    "arrays": lambda m, _: fit(m, X, Y, 8, 3, **val()),
    "positions": lambda m, _: fit(m, X, Y, 8, 2, **val(validation_batch_size=2)),
    "a list of validation": lambda m, _: fit(m, X, Y, epochs=2, validation_data=[X, Y, WEIGHT]),
    "split": lambda m, _: fit(m, X, Y, None, 2, validation_split=0.3),
    "sample weight": lambda m, _: fit(m, X, Y, 8, 2, sample_weight=WEIGHT),
    "class weight": lambda m, _: fit(m, X, Y, 8, 2, class_weight={0: 2.0, 2: 0.5}),
    "columns": lambda m, _: fit(m, X, Y[:, None], 8, 2, **val()),
    "one-hot rows": lambda m, _: fit(m, X, np.eye(3, dtype="f")[Y], 8, 2),
    "steps of arrays": lambda m, _: fit(m, X, Y, 4, 4, steps_per_epoch=2),
    "too many steps": lambda m, _: fit(m, X, Y, 4, 2, steps_per_epoch=9),
    "validation steps": lambda m, _: fit(m, X, Y, 4, 3, **val(validation_steps=1)),
    "generator": lambda m, _: fit(m, batches(repeat=True), epochs=3, steps_per_epoch=3, **val()),
    "one pass": lambda m, _: fit(m, batches()),
    "ends in the middle": lambda m, _: fit(m, batches(), epochs=2, steps_per_epoch=3),
    "weighted generator": lambda m, _: fit(
        m, batches(8, True, weighted=True), epochs=2, steps_per_epoch=3
    ),
    "validated by a generator": lambda m, _: fit(
        m, X, Y, epochs=3, validation_data=batches(8, True, stop=16), validation_steps=2
    ),
    "indexed": lambda m, base: fit(m, indexed(base), epochs=2, validation_data=indexed(base)),
    "indexed, in steps": lambda m, base: fit(m, indexed(base), epochs=2, steps_per_epoch=2),
    "evaluate": lambda m, _: m.evaluate(X, Y, verbose=0),
    "evaluate to a dict": lambda m, _: m.evaluate(X, Y, 8, 0, WEIGHT, 2, None, True),
    "evaluate a generator": lambda m, _: m.evaluate(batches(), verbose=0, steps=2),
    "evaluate indexed": lambda m, base: m.evaluate(indexed(base), verbose=0),
    "test_on_batch": lambda m, _: m.test_on_batch(X, Y, WEIGHT),
    "train_on_batch": lambda m, _: m.train_on_batch(X, Y, None, {0: 2.0}, True),
    "predict": lambda m, _: m.predict(X, 8, 0, 2),
    "predict a generator": lambda m, _: m.predict(batches(), verbose=0),
    "predict x alone": lambda m, _: m.predict(((x,) for x, _ in batches()), verbose=0, steps=2),
    "predict_on_batch": lambda m, _: m.predict_on_batch(X[:3]),
    "call": lambda m, _: np.array(m(X[:3], training=False)),
}
