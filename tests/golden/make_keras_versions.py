"""Make files of many versions of Keras: `python tests/golden/make_keras_versions.py`.

It writes to golden/keras the files of FILES for the version of Keras that is imported, and what
Keras predicts to golden/keras/predictions.json. Older versions run on a current TensorFlow from a
folder of their own: pip install --no-deps --target FOLDER keras==2.12.0, then
TF_USE_LEGACY_KERAS=1 PYTHONPATH=FOLDER:TF_KERAS python tests/golden/make_keras_versions.py (3.0
needs dm-tree too).
"""

import collections
import inspect
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).parent / "keras"

import numpy as np  # noqa: E402

FILES = {
    "2.12": ["nested.keras", "v3_nested.keras", "functional.h5", "old_flat.h5"],
    "2.14": ["v3_nested.keras", "flat.weights.h5"],
    "3.0": ["flat.h5"],
    "3.15": ["nested.keras", "nested.h5", "flat.weights.h5", "mixed.keras"],
}

if os.environ.get("TF_USE_LEGACY_KERAS"):  # what these versions of Keras miss in Python, TensorFlow
    inspect.ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
    import tensorflow
    import tensorflow.compat.v2

    for library in (tensorflow, tensorflow.compat.v2):
        library.__internal__.register_load_context_function = lambda function: None
import keras  # noqa: E402
from keras import layers  # noqa: E402

x = np.random.default_rng(0).random((4, 6, 6, 1)).astype(np.float32)


def flat(**options):
    return [
        layers.Conv2D(2, 3, activation="relu", **options), layers.BatchNormalization(**options),
        layers.Flatten(**options), layers.Dense(3, activation="softmax"),
    ]  # fmt: skip


def model_of(kind):
    """A small model that is not compiled, with random weights."""
    if kind == "functional":
        first = tensor = keras.Input((6, 6, 1))
        for layer in flat():
            tensor = layer(tensor)
        return keras.Model(first, tensor, name=kind)
    if kind == "nested":
        inner = [layers.BatchNormalization(), layers.MaxPooling2D(2), layers.Conv2D(2, 2)]
        head = keras.Sequential([layers.Flatten(), layers.Dense(2), layers.Dense(3)], name="head")
        parts = [layers.Conv2D(2, 1), keras.Sequential(inner, name="inner"), head]
    else:
        parts = flat(**({"dtype": "mixed_float16"} if kind == "mixed" else {}))
    return keras.Sequential([layers.InputLayer((6, 6, 1)), *parts], name=kind)


version = ".".join(keras.__version__.split(".")[:2])
path = HERE / "predictions.json"
values = json.loads(path.read_text()) if path.exists() else {"x": x.tolist()}
HERE.mkdir(exist_ok=True)
for name in FILES[version]:
    form, _, kind = name.partition(".")[0].rpartition("_")
    model = model_of(kind)
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    file = HERE / f"{version}_{name}"
    if form == "old" or name.endswith(".weights.h5"):
        model.save_weights(file)
    else:
        model.save(file, **({"save_format": "keras_v3"} if form == "v3" else {}))
    values[file.name] = model.predict(x, verbose=0).tolist()
path.write_text(json.dumps(values, separators=(",", ":")) + "\n")
