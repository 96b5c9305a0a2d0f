"""nanocnn: a small, fast convolutional network engine on NumPy and numba, made to be read.

Start with `Sequential`. `nanocnn.kernels.reference` holds the mathematics, `nanocnn.kernels.fast`
the fast versions. Names are loaded when first used, so that importing nanocnn is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .common import processes
from .common.moved import MOVED
from .common.version import VERSION
from .jit.launcher import launch

# ruff: noqa: F403  (imports of all names, for type checkers only)

__version__ = VERSION

# The module of each public name.
_HOMES = {
    "callbacks": "CSVLogger Callback EarlyStopping History LambdaCallback LearningRateScheduler "
    "ModelCheckpoint ReduceLROnPlateau StopAugmentation SwapEMAWeights TensorBoard TerminateOnNaN",
    "common.errors": "DatasetError MissingExtraError ModelFileError NonFiniteError ShapeError",
    "layers": "Activation AveragePooling2D BatchNormalization Conv2D Dense Dropout Flatten "
    "GlobalAveragePooling2D GlobalMaxPooling2D Input Layer LeakyReLU MaxPooling2D Normalization "
    "RandomElastic RandomErasing RandomMorphology RandomRotation RandomShear RandomTranslation "
    "RandomZoom ReLU Rescaling Reshape Softmax ZeroPadding2D",
    "losses": "BinaryCrossentropy CategoricalCrossentropy Loss MeanAbsoluteError "
    "MeanSquaredError SparseCategoricalCrossentropy",
    "optimizers": "SGD Adadelta Adam AdamW Nadam Optimizer RMSProp RMSprop",
    "regularizers": "L2",
    "optimizers.schedules": "CosineDecay ExponentialDecay InverseTimeDecay OneCycle "
    "PiecewiseConstantDecay PolynomialDecay Schedule",
    "models": "Sequential load_model",
    "explore": "Explorer",
    "jit.threads": "get_num_threads set_num_threads",
}
_MODULES = ("data", "distributed", "explore", "gradcheck", "plots", "trace")
# Keras's modules, which `import *` leaves out.
_KERAS_MODULES = (
    "activations", "backend", "callbacks", "datasets", "initializers", "layers", "losses",
    "metrics", "models", "optimizers", "preprocessing", "regularizers", "utils",
)  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted([*_MODULES, *_HOME])

if TYPE_CHECKING:  # for type checkers, which cannot follow `__getattr__`
    from . import (
        data as data,
        distributed as distributed,
        gradcheck as gradcheck,
        plots as plots,
        trace as trace,
    )
    from .callbacks import *
    from .common.errors import *
    from .explore import *
    from .jit.threads import *
    from .layers import *
    from .losses import *
    from .models import *
    from .optimizers import *
    from .optimizers.schedules import *
    from .regularizers import *


def __getattr__(name: str) -> Any:
    if name in _MODULES or name in _KERAS_MODULES or f"{__name__}.{name}" in MOVED:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    names = import_module(".common.names", __name__)  # it takes longer than all the rest
    if name in names.ALIASES["nanocnn.layers"]:
        return getattr(import_module(".layers", __name__), name)
    raise names.no_attribute("module 'nanocnn'", name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_KERAS_MODULES})


def _join_launched() -> None:
    """Join the other processes now: one that ends before would leave them waiting."""
    if launch().size > 1:
        from .distributed import join

        processes.first = launch().rank == 0
        join()


_join_launched()
