"""What Keras 3's callbacks do, for keras_callbacks.json: run `python make_keras_callbacks.py`."""

import json
import os
import tempfile
from pathlib import Path

import keras
import numpy as np
from callback_cases import CASES, answers, overflow, record


def main():
    target = Path(__file__).with_name("keras_callbacks.json")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = {name: answers(keras.callbacks, name) for name in CASES}
    x, y = np.zeros((20, 2), np.float32), np.zeros(20, int)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    events = record(keras.callbacks, model, x, y)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    made = {
        "keras": keras.__version__,
        "cases": found,
        "record": events,
        "overflow": overflow(keras.callbacks, model),
    }
    target.write_text(json.dumps(made, indent=1) + "\n")


main()
