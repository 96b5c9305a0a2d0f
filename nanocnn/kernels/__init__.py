"""The kernels: every operation of a network, in two sets of the same names.

`reference` is the specification, in plain NumPy; `fast` is its twin, compiled by numba. A set is a
module handed down from `Sequential` to its layers, loss and optimizer: there is no global switch.
The size letters of every kernel, docstring and test (N H W C F ...) are in `reference`; all arrays
are C-contiguous.

Beyond the operations, a set says by attributes what else it can do:

fuses         conv2d_relu_pool_forward and _backward, and `relu` as an argument of the products:
              neighbouring layers run as one kernel
writes_into   every operation takes `out`, so that results go into buffers that are used again
chooses       `choose` names the algorithm of each product of a convolution
calls_blas    results depend on the number of threads of BLAS
CAPTURABLE    {name: function} of the operations whose calls may be captured and replayed
              (models/passes.py)
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from ..common.errors import unknown

KERNEL_SETS = ("fast", "reference")

_DIFFERENTIABLE = (
    "conv2d", "max_pool", "average_pool", "global_max", "zero_pad", "dense", "relu", "sigmoid",
    "tanh", "leaky_relu", "elu", "gelu", "softmax", "dropout", "warp", "morphology",
    "batch_norm",
    "softmax_cross_entropy", "categorical_cross_entropy", "sigmoid_cross_entropy",
    "binary_cross_entropy", "mean_squared_error", "mean_absolute_error",
)  # fmt: skip
OPERATIONS = (
    *(f"{name}_{way}" for name in _DIFFERENTIABLE for way in ("forward", "backward")),
    "batch_norm_inference", "batch_norm_update",
    "take_images", "take_rows", "one_hot", "smooth", "shares",
    "mean_loss", "count_correct", "largest",
    "l2_penalty", "l2_gradient", "clip_scales",
    "sgd_update", "rmsprop_update", "adam_update", "adadelta_update", "nadam_update",
    "ema_update",
)  # fmt: skip


# For custom modules that do not define an attribute: their functions return new arrays.
DEFAULTS: dict[str, Any] = {
    "fuses": False,
    "writes_into": False,
    "chooses": False,
    "calls_blas": True,
    "CAPTURABLE": {},
}


def ability(kernels: ModuleType, name: str) -> Any:
    """The attribute `name` of a kernel set, or its default for a module that lacks it."""
    return getattr(kernels, name, DEFAULTS[name])


def get_kernels(name: str) -> ModuleType:
    """The kernel set called `name`: "fast" (numba) or "reference" (NumPy)."""
    if not isinstance(name, str) or name not in KERNEL_SETS:
        raise unknown("kernel set", name, KERNEL_SETS)
    return import_module(f".{name}", __name__)
