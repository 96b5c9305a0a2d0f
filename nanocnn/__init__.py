"""nanocnn: a small, fast convolutional network engine on NumPy and numba, made to be read.

Start with `Sequential`; `nanocnn.kernels.reference` is the mathematics, `nanocnn.kernels.fast` the
speed. Names are loaded when they are first used: importing nanocnn is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import data, gradcheck, plots, trace
    from .callbacks import (
        Callback,
        EarlyStopping,
        LearningRateScheduler,
        ModelCheckpoint,
        ReduceLROnPlateau,
    )
    from .errors import (
        DatasetError,
        MissingExtraError,
        ModelFileError,
        NonFiniteError,
        ShapeError,
    )
    from .history import History
    from .layers import (
        Activation,
        AveragePooling2D,
        BatchNormalization,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        Input,
        Layer,
        MaxPooling2D,
    )
    from .losses import (
        CategoricalCrossentropy,
        Loss,
        MeanSquaredError,
        SparseCategoricalCrossentropy,
    )
    from .optimizers import SGD, Adam, AdamW, Optimizer, RMSProp, RMSprop
    from .regularizers import L2
    from .schedules import (
        CosineDecay,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
        Schedule,
    )
    from .sequential import Sequential, load_model
    from .threads import get_num_threads, set_num_threads

# Where each public name lives.
_HOMES = {
    "callbacks": "Callback EarlyStopping LearningRateScheduler ModelCheckpoint ReduceLROnPlateau",
    "errors": "DatasetError MissingExtraError ModelFileError NonFiniteError ShapeError",
    "history": "History",
    "layers": "Activation AveragePooling2D BatchNormalization Conv2D Dense Dropout Flatten Input "
    "Layer MaxPooling2D",
    "losses": "CategoricalCrossentropy Loss MeanSquaredError SparseCategoricalCrossentropy",
    "optimizers": "SGD Adam AdamW Optimizer RMSProp RMSprop",
    "regularizers": "L2",
    "schedules": "CosineDecay ExponentialDecay InverseTimeDecay PiecewiseConstantDecay "
    "PolynomialDecay Schedule",
    "sequential": "Sequential load_model",
    "threads": "get_num_threads set_num_threads",
}
_MODULES = ("data", "gradcheck", "plots", "trace")
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "L2",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "AveragePooling2D",
    "BatchNormalization",
    "Callback",
    "CategoricalCrossentropy",
    "Conv2D",
    "CosineDecay",
    "DatasetError",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "ExponentialDecay",
    "Flatten",
    "History",
    "Input",
    "InverseTimeDecay",
    "Layer",
    "LearningRateScheduler",
    "Loss",
    "MaxPooling2D",
    "MeanSquaredError",
    "MissingExtraError",
    "ModelCheckpoint",
    "ModelFileError",
    "NonFiniteError",
    "Optimizer",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "RMSProp",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "Sequential",
    "ShapeError",
    "SparseCategoricalCrossentropy",
    "data",
    "get_num_threads",
    "gradcheck",
    "load_model",
    "plots",
    "set_num_threads",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nanocnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
