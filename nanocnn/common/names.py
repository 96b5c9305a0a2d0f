"""Keras's names: its other names of things, and what to use for those that are not here."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from .errors import advice
from .moved import MOVED

# By module: Keras's other names.
ALIASES = {
    "nanocnn.layers": {
        "AvgPool2D": "AveragePooling2D", "GlobalAvgPool2D": "GlobalAveragePooling2D",
        "GlobalMaxPool2D": "GlobalMaxPooling2D", "InputLayer": "Input", "MaxPool2D": "MaxPooling2D",
    },
}  # fmt: skip
# What to use for the names of Keras that are not here, wherever it has them.
_ADVICE = {
    "models are chains of layers: use Sequential":
    "Model Functional Add Average Concatenate Maximum Merge Multiply add concatenate merge",
    "use Conv2D": "Convolution2D",
    "subclass Layer, with forward and backward": "Lambda",
    "kernels have an L2 penalty only: use L2": "L1 L1L2 l1 l1_l2",
    "give fit a generator of batches (x, y)": "RandomFlip image_dataset_from_directory",
    "use RandomElastic": "RandomElasticTransform",
    "read the images into an array and use flow": "flow_from_directory flow_from_dataframe "
    "load_img img_to_array",
    "use next(datagen.flow(x)), or the layers RandomRotation, RandomTranslation, RandomZoom":
    "random_transform apply_transform get_random_transform",
    "rescale= is all it does": "standardize",
    "use nanocnn.data.mnist.load(name='fashion_mnist')": "fashion_mnist",
    "arrays are NumPy's: use numpy": "ops",
    "use nanocnn.sklearn.CNNClassifier": "wrappers",
    "leave it out: images are (N, height, width, channels)": "set_image_dim_ordering "
    "set_image_data_format",
    "use image_data_format": "image_dim_ordering",
    "there are no constraints": "constraints",
    "there are no trained networks here; load_model opens those of Keras": "applications",
    "assign it: model.optimizer.learning_rate = 0.001": "set_value",
    "use fit, which takes a generator": "fit_generator",
    "use evaluate, which takes a generator": "evaluate_generator",
    "use predict, which takes a generator": "predict_generator",
    "use predict(x).argmax(axis=1), or predict(x) > 0.5 for one output": "predict_classes",
    "use predict": "predict_proba",
    "use 'accuracy', or metrics=['acc']": "acc",
    "use 'val_accuracy', or metrics=['acc']": "val_acc",
}  # fmt: skip
ADVICE = {name: advice for advice, names in _ADVICE.items() for name in names.split()}


def no_attribute(place: str, name: str, known: Iterable[str] = ()) -> AttributeError:
    """The error for a name that `place` does not have: what to use instead, and what is there."""
    hint = advice(name, known, ADVICE.get(name, ""))
    return AttributeError(f"{place} has no attribute {name!r}{hint}")


class Record(dict[str, Any]):
    """A dict by name, such as of a history, whose KeyError tells what is there."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(str(no_attribute("the history", name, self)))


def names_of(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module: `ALIASES`, modules that moved, errors that help."""

    def __getattr__(name: str) -> Any:
        if f"{module}.{name}" in MOVED:
            return import_module(f"{module}.{name}")
        here = vars(sys.modules[module])
        if (other := ALIASES.get(module, {}).get(name)) in here:
            return here[other]
        public = {k: v for k, v in here.items() if callable(v) and not k.startswith("_")}
        own = [k for k, v in public.items() if getattr(v, "__module__", "").startswith(module)]
        raise no_attribute(f"module {module!r}", name, own)

    return __getattr__
