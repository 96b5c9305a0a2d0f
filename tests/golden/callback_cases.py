"""What callbacks do with the same events, under Keras and under nanocnn.

`make_keras_callbacks.py` writes Keras's answers to keras_callbacks.json; test_keras_callbacks.py
compares nanocnn's with them.
"""

import contextlib
import io
import os
from pathlib import Path

import numpy as np

# Each number has few binary digits: Keras computes in float32.
LOSSES = [3.0, 2.0, 2.5, 2.0, 1.5, 1.5, 1.75, 1.0]
# name: (class, arguments, the values of val_loss, one an epoch)
CASES = {
    "stop": ("EarlyStopping", {}, LOSSES),
    "stop by position": ("EarlyStopping", ["val_loss", 0, 2, 1, "min", None, True, 1], LOSSES),
    "stop after patience": ("EarlyStopping", {"patience": 2}, LOSSES),
    "restore": ("EarlyStopping", {"patience": 1, "restore_best_weights": True}, LOSSES),
    "restore at the end": ("EarlyStopping", {"patience": 9, "restore_best_weights": True}, LOSSES),
    "stop, delta": ("EarlyStopping", {"patience": 1, "min_delta": 0.5}, [3.0, 2.5, 1.75, 1.5]),
    "stop, max": ("EarlyStopping", {"mode": "max"}, LOSSES),
    "baseline": ("EarlyStopping", {"patience": 3, "baseline": 1.75}, LOSSES),
    "never below the baseline": (
        "EarlyStopping", {"patience": 2, "baseline": 1.0, "restore_best_weights": True}, LOSSES,
    ),
    "start later": ("EarlyStopping", {"start_from_epoch": 3, "patience": 1}, LOSSES),
    "plateau": ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5}, LOSSES),
    "plateau by position": (
        "ReduceLROnPlateau", ["val_loss", 0.5, 1, 1, "min", 0.25, 1, 0.125], LOSSES,
    ),
    "plateau, cooldown": (
        "ReduceLROnPlateau", {"patience": 1, "factor": 0.5, "cooldown": 2}, [1.0] * 8,
    ),
    "plateau, least rate": (
        "ReduceLROnPlateau", {"patience": 1, "factor": 0.25, "min_lr": 0.125}, [1.0] * 6,
    ),
    "plateau, max": ("ReduceLROnPlateau", {"patience": 2, "factor": 0.5, "mode": "max"}, LOSSES),
    "save": ("ModelCheckpoint", {"filepath": "{epoch:02d}-{val_loss:.2f}.keras"}, LOSSES[:3]),
    "save the best": (
        "ModelCheckpoint", {"filepath": "best-{epoch}.h5", "save_best_only": True}, LOSSES,
    ),
    "save by position": (
        "ModelCheckpoint",
        ["{epoch}.weights.h5", "val_loss", 1, True, True, "max", "epoch", 2.25], LOSSES,
    ),
    "save weights": (
        "ModelCheckpoint", {"filepath": "{epoch}.weights.h5", "save_weights_only": True}, LOSSES[:2]
    ),
    "save after batches": (
        "ModelCheckpoint", {"filepath": "{epoch}-{batch}.keras", "save_freq": 4}, LOSSES[:3],
    ),
    "save the best after batches": (
        "ModelCheckpoint",
        {"filepath": "a.keras", "monitor": "loss", "save_freq": 2, "save_best_only": True},
        LOSSES[:3],
    ),
    "schedule": ("LearningRateScheduler", {"schedule": lambda epoch, rate: rate * 0.5}, LOSSES[:3]),
    "schedule of the epoch": (
        "LearningRateScheduler", [lambda epoch: [1.0, 0.5, 0.25][epoch], 1], LOSSES[:3]
    ),
    "csv": ("CSVLogger", {"filename": "log.csv"}, LOSSES[:2]),
    "csv by position": ("CSVLogger", ["log.csv", ";", True], LOSSES[:2]),
    "csv without validation": ("CSVLogger", {"filename": "log.csv"}, [None, None]),
}  # fmt: skip
BATCHES = 3  # an epoch


class Optimizer:
    learning_rate = 1.0


class Model:
    """As much of a model as these callbacks see."""

    def __init__(self):
        self.stop_training = False
        self.optimizer = Optimizer()
        self.metrics = {}
        self.weights = {"w": np.zeros(1)}
        self.saved = []

    def get_weights(self):
        return [array.copy() for array in self.weights.values()]

    def set_weights(self, weights):
        self.weights["w"][:] = weights[0]

    def save(self, path, overwrite=True):
        self.saved.append(os.fspath(path))

    def save_weights(self, path, overwrite=True):
        self.saved.append(os.fspath(path))


def answers(callbacks, name):
    """What the callback of a case does: {"epochs", "rates", "saved", "weights", "said", ...}."""
    kind, arguments, values = CASES[name]
    if isinstance(arguments, dict):
        more = {} if kind == "CSVLogger" else {"verbose": 1}
        callback = getattr(callbacks, kind)(**arguments, **more)
    else:
        callback = getattr(callbacks, kind)(*arguments)
    model, rates = Model(), []
    callback.set_params({"epochs": len(values), "steps": BATCHES, "verbose": 0})
    callback.set_model(model)
    Path("log.csv").unlink(missing_ok=True)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        callback.on_train_begin({})
        for epoch, value in enumerate(values):
            callback.on_epoch_begin(epoch, {})
            for batch in range(BATCHES):
                callback.on_train_batch_end(batch, {"loss": 5.0 - epoch + 0.25 * batch})
            model.weights["w"][:] = epoch
            logs = {"loss": 5.5 - epoch, "accuracy": 0.125 * epoch}
            logs |= {} if value is None else {"val_loss": value}
            callback.on_epoch_end(epoch, logs)
            if hasattr(callback, "on_epoch_saved"):  # nanocnn's own
                callback.on_epoch_saved(epoch, logs)
            rates.append(logs.get("learning_rate"))
            if model.stop_training:
                break
        callback.on_train_end({})
    found = {
        "rates": rates, "last rate": float(model.optimizer.learning_rate), "saved": model.saved,
        "weights": float(model.weights["w"][0]),
        "said": [line for line in said.getvalue().splitlines() if line],
        "file": Path("log.csv").read_bytes().decode() if Path("log.csv").exists() else "",
    }  # fmt: skip
    for attribute in ("stopped_epoch", "best_epoch", "best", "wait"):
        found[attribute] = getattr(callback, attribute, None)
    return found


EVENTS = [
    f"on_{what}_{when}"
    for what in ("train", "epoch", "train_batch", "test", "test_batch", "predict", "predict_batch")
    for when in ("begin", "end")
]


def record(callbacks, model, x, y):
    """Every event of a fit, an evaluation and a prediction: [name, number, names in the logs]."""
    events = []

    def listener(name):
        numbered = "batch" in name or "epoch" in name
        if numbered:
            return lambda number, logs: events.append([name, number, sorted(logs or {})])
        return lambda logs: events.append([name, None, sorted(logs or {})])

    callback = callbacks.LambdaCallback(**{name: listener(name) for name in EVENTS})
    params = []
    model.fit(x, y, batch_size=8, epochs=2, validation_data=(x, y), callbacks=[callback], verbose=0)
    params.append(dict(callback.params))
    model.evaluate(x, y, batch_size=12, callbacks=[callback], verbose=0)
    params.append(dict(callback.params))
    model.predict(x, batch_size=16, callbacks=[callback], verbose=0)
    params.append(dict(callback.params))
    return {"events": events, "params": params}


def overflow(callbacks, model):
    """What a training says and records in which the second batch has an infinite loss."""
    x, y = np.ones((12, 2), np.float32), np.ones((12, 1), np.float32)
    x[5] = 1e30
    model.set_weights([np.full((2, 1), 0.5, np.float32), np.zeros(1, np.float32)])
    seen = []
    see = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        history = model.fit(
            x, y, batch_size=4, epochs=3, shuffle=False, validation_data=(x, y), verbose=0,
            callbacks=[callbacks.TerminateOnNaN(), see],
        )  # fmt: skip
    finite = {key: [bool(np.isfinite(v)) for v in vs] for key, vs in history.history.items()}
    said = [line for line in said.getvalue().splitlines() if line]
    return {"said": said, "seen": seen, "epoch": history.epoch, "finite": finite}
